"""Nothing is paid for that could not be kept."""

import os
import shutil
from collections.abc import Callable

import pytest

from tests.support.failing_disk import Watch
from tests.support.mcp_session import Desk, Era, content
from tikhub_mcp.sandbox import good_links
from tikhub_mcp.storage.archive import MIN_FREE_BYTES_TO_PAY

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="as POSIX has it"), pytest.mark.slow]

LINKS = good_links(50)


@pytest.fixture
def era() -> Era:
    """One of the two: nothing here depends on it."""
    return "auto"


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every disk have so many bytes free."""

    def change(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 0, size))

    return change


@pytest.mark.parametrize("again", [1, 2])
async def test_with_too_little_room_nothing_is_paid_for_however_often_it_is_asked(
    desk: Desk, free: Callable[[int], None], again: int
) -> None:
    free(MIN_FREE_BYTES_TO_PAY - 1)
    for _ in range(again):
        reply = await desk.batch(LINKS)
        assert (reply["status"], reply["error"]["code"], reply["cost"]["api_calls"]) == ("stopped", "disk_full", 0)
        assert set(reply.statuses) == {"failed", "skipped"}
        assert reply["failed"] <= 10
        assert len(reply["retry_urls"]) == reply["skipped"]
    one = await desk.one(LINKS[0])
    assert (one.code, one["error"]["retryable"], one["cost"]["api_calls"]) == ("disk_full", False, 0)
    assert "Nothing was paid for" in one.message
    assert not desk.asked
    free(MIN_FREE_BYTES_TO_PAY)
    assert (await desk.one(LINKS[0]))["status"] == "ok"


async def test_an_answer_that_could_not_be_written_ends_the_payments_of_its_call_and_of_the_next(desk: Desk) -> None:
    await desk.one(LINKS[0])
    before = len(desk.asked)
    with Watch(desk.root / "raw", room=0):  # as with a quota: the disk itself has room
        first = await desk.batch(LINKS)
        paid = len(desk.asked) - before
        assert (first["status"], first["error"]["code"]) == ("stopped", "disk_full")
        assert paid == first["cost"]["api_calls"] <= 10
        assert first["skipped"] >= 50 - 1 - 10
        second = await desk.batch(LINKS)
        assert (second["status"], second["error"]["code"], second["cost"]["api_calls"]) == ("stopped", "disk_full", 0)
    third = await desk.batch(LINKS)
    assert (third["status"], third["succeeded"], third["cost"]["api_calls"]) == ("complete", 50, 49 - paid)
    assert len(desk.asked) == 50


async def test_what_could_not_be_written_is_known_before_the_first_payment_of_a_process(desk: Desk) -> None:
    with Watch(desk.root / "raw", room=10_000):
        reply = await desk.batch(LINKS)
    assert (reply["status"], reply["error"]["code"], reply["cost"]["api_calls"]) == ("stopped", "disk_full", 0)
    assert not desk.asked


async def test_a_raw_folder_that_cannot_be_written_costs_nothing(desk: Desk) -> None:
    desk.root.mkdir()
    (desk.root / "raw").write_text("no folder")
    reply = await desk.batch(LINKS[:20])
    assert (reply["succeeded"], reply["cost"]["api_calls"]) == (0, 0)
    assert {item["error"]["code"] for item in reply["results"] if item["error"]} == {"not_writable"}
    assert not desk.asked


async def test_what_is_there_already_and_what_is_not_to_be_saved_needs_no_room(
    desk: Desk, free: Callable[[int], None]
) -> None:
    await desk.batch(LINKS[:3])
    free(MIN_FREE_BYTES_TO_PAY - 1)
    reply = await desk.batch(LINKS[:4])
    assert sorted(reply.statuses) == ["failed", "ok", "ok", "ok"]
    unsaved = await desk.batch(LINKS[:6], save_raw=False, metrics_only=True)
    assert (unsaved["status"], unsaved["succeeded"]) == ("complete", 6)


async def test_a_full_disk_for_videos_stops_no_payment_for_numbers(desk: Desk) -> None:
    with Watch(desk.root / "videos", room=0):
        reply = await desk.batch(LINKS[:12])
    assert (reply["status"], reply["failed"], reply["cost"]["api_calls"]) == ("complete", 12, 12)
    assert {item["error"]["code"] for item in reply["results"]} == {"disk_full"}
    assert all(content(item["raw_json_path"]) for item in reply["results"])
