"""The time of a call: what is pending and joined, what a client hears meanwhile, what a cancellation ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from tests.support.held_summaries import Held, cancel, start
from tests.support.mcp_session import SLOW, Desk, Reply, patience, until
from tikhub_mcp.sandbox import good_links, link

pytestmark = [pytest.mark.anyio, pytest.mark.both_eras, pytest.mark.slow]

GOOD = good_links(4)
Ask = Callable[[Desk], Awaitable[Reply]]


async def test_what_takes_longer_than_the_call_is_pending_and_joined_without_paying(desk: Desk) -> None:
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    desk.sandbox.media_bytes_per_second = 100_000  # 1.6 s a file
    began = time.monotonic()
    first = await desk.one(link("tiktok"))
    assert 0.9 < time.monotonic() - began < patience(1.5)
    assert (first["status"], first.is_error, first["file"], first["error"]) == ("pending", False, None, None)
    assert "Call again with the same arguments" in first["note"]
    assert "ends with it" in first["note"]
    assert first["metrics"]["likes"] > 0  # what is done is reported
    assert first["raw_json_path"]
    assert first["cost"]["api_calls"] == 1
    desk.environ["TIKHUB_CALL_SECONDS"] = "20"
    second = await desk.one(link("tiktok"))
    assert (second["status"], second["note"]) == ("ok", None)
    assert second["cost"]["api_calls"] == 0
    assert (len(desk.asked), len(desk.sandbox.media_requests)) == (1, 1)


async def test_a_batch_that_is_not_done_in_time_is_partial_and_goes_on(desk: Desk) -> None:
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    await desk.one(GOOD[0])
    desk.sandbox.latency = 1.3
    first = await desk.batch([GOOD[0], GOOD[1], "no link"])
    assert (first["status"], first.is_error) == ("partial", False)
    assert first.statuses == ["ok", "pending", "failed"]
    assert first["pending"] == 1
    assert "No saved answer is paid for again" in first["note"]
    assert first["retry_urls"] == [GOOD[1]]
    desk.environ["TIKHUB_CALL_SECONDS"] = "20"
    second = await desk.batch(first["retry_urls"])
    assert (second["status"], second["note"], second["succeeded"]) == ("complete", None, 1)
    assert desk.asked == GOOD[:2]


async def test_nothing_is_paid_for_once_nobody_waits(desk: Desk) -> None:
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    desk.sandbox.latency = 0.7
    reply = await desk.batch(GOOD, max_workers=1)
    assert reply["status"] == "partial"
    assert set(reply.statuses[2:]) == {"pending"}
    paid = len(desk.asked)
    assert 0 < paid <= 2
    await asyncio.sleep(0.7)
    assert len(desk.asked) == paid
    desk.sandbox.latency = 0.0
    assert (await desk.batch(GOOD))["status"] == "complete"
    assert len(desk.asked) == 4


async def test_a_call_with_a_refresh_that_is_joined_does_not_pay_twice(desk: Desk) -> None:
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    desk.sandbox.latency = 1.3
    first = await desk.one(link("tiktok"), refresh=True, metrics_only=True)
    assert first["status"] == "pending"
    desk.environ["TIKHUB_CALL_SECONDS"] = "20"
    second = await desk.one(link("tiktok"), refresh=True, metrics_only=True)
    assert (second["status"], len(desk.asked)) == ("ok", 1)


async def test_progress_only_rises_at_most_four_times_a_second_and_ends_with_the_result(desk: Desk) -> None:
    desk.heard = []
    desk.sandbox.media_bytes_per_second = 130_000
    began = time.monotonic()
    assert (await desk.one(link("tiktok")))["status"] == "ok"
    heard = list(desk.heard)
    assert 2 <= len(heard) <= 4 * (time.monotonic() - began)
    assert all(after.done > before.done for before, after in pairwise(heard))
    assert all(0 < progress.done <= 1 == progress.total for progress in heard)
    assert heard[-1].message == f"{heard[-1].done:.0%}"
    await asyncio.sleep(0.4)
    assert desk.heard == heard


async def test_the_progress_of_a_batch_counts_its_posts(desk: Desk) -> None:
    desk.heard = []
    desk.sandbox.latency = 0.4
    await desk.batch([*GOOD[:2], GOOD[0], "no link"], max_workers=1)
    assert desk.heard
    assert {progress.total for progress in desk.heard} == {2.0}  # distinct posts
    assert any(progress.message == "1 of 2 done" for progress in desk.heard)


ASKS: dict[str, Ask] = {
    "download_video": lambda desk: desk.one(link("tiktok")),
    "batch_download": lambda desk: desk.batch([link("tiktok"), *GOOD]),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_a_cancelled_call_ends_its_work_at_once_and_keeps_what_was_paid_for(desk: Desk, ask: Ask) -> None:
    desk.sandbox.media_bytes_per_second = SLOW
    call = start(ask(desk))
    await until(lambda: desk.sandbox.media_requests and desk.parts and all(c.status for c in desk.sandbox.calls))
    await until(lambda: len(list((desk.root / "raw").glob("*.json"))) == len(desk.asked))
    await cancel(call)
    assert await until(lambda: not desk.parts) < patience(1)
    paid = len(desk.asked)
    assert not desk.videos
    desk.sandbox.media_bytes_per_second = 0
    reply = await ask(desk)
    assert reply["cost"]["api_calls"] == len(desk.asked) - paid == 0
    assert reply["status"] in ("ok", "complete")
    assert not desk.parts


@pytest.mark.parametrize("refresh", [False, True], ids=["", "refresh"])
@pytest.mark.parametrize("patient", [True, False], ids=["asked later", "asked again at once"])
async def test_a_call_cancelled_while_tikhub_works_has_its_answer_kept(
    desk: Desk, patient: bool, refresh: bool
) -> None:
    desk.sandbox.latency = 0.5
    call = start(desk.one(link("tiktok"), refresh=refresh))
    await until(lambda: desk.asked)
    await cancel(call)
    if patient:
        await until(lambda: list((desk.root / "raw").glob("*.json")))
    reply = await desk.one(link("tiktok"), refresh=refresh)
    assert reply["status"] == "ok"
    assert reply["cost"] == {"api_calls": 0, "reused_answer": True}
    assert len(desk.asked) == 1


async def test_no_new_call_is_paid_for_after_a_cancellation(desk: Desk) -> None:
    desk.sandbox.latency = 0.3
    call = start(desk.batch(GOOD, max_workers=1))
    await until(lambda: len(desk.asked) == 2)
    await cancel(call)
    await asyncio.sleep(0.7)
    assert len(desk.asked) == 2


async def test_a_cancelled_call_leaves_the_work_to_another_that_waits_for_it(desk: Desk) -> None:
    desk.sandbox.media_bytes_per_second = 200_000
    first, second = start(desk.one(link("tiktok"))), start(desk.batch([link("tiktok")]))
    await until(lambda: desk.parts)
    await cancel(first)
    assert (await second)["succeeded"] == 1
    assert (len(desk.asked), len(desk.sandbox.media_requests)) == (1, 1)


async def test_calls_cancelled_one_after_the_other_leave_nothing_behind(desk: Desk) -> None:
    desk.sandbox.media_bytes_per_second = SLOW
    for _ in range(5):
        call = start(desk.batch(GOOD))
        await asyncio.sleep(0.05)
        await cancel(call)
    assert await until(lambda: not desk.parts) < patience(1)
    desk.sandbox.media_bytes_per_second = 0
    assert (await desk.batch(GOOD))["succeeded"] == 4
    assert len(desk.asked) == 4


async def test_a_summary_that_is_not_done_in_time_is_pending_and_joined(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.one(link("tiktok"), metrics_only=True)
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    held = Held(monkeypatch)
    first = await desk.ask("summarize_raw")
    assert (first["status"], first.is_error, first["csv_path"]) == ("pending", False, None)
    assert "Call again with the same arguments" in first["note"]
    held.go.set()
    second = await desk.ask("summarize_raw")
    assert (second["status"], second["rows"], held.runs) == ("ok", 1, 1)
    assert (await desk.ask("summarize_raw"))["rows"] == 1
    assert held.runs == 2


async def test_a_cancelled_summary_stops_and_the_next_begins_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.one(link("tiktok"), metrics_only=True)
    held = Held(monkeypatch)
    call = start(desk.ask("summarize_raw"))
    await until(lambda: held.runs)
    await cancel(call)
    assert await until(lambda: held.ended) < patience(1)
    assert held.told
    assert not list((desk.root / "reports").glob("*"))
    held.go.set()
    assert (await desk.ask("summarize_raw"))["rows"] == 1
    assert held.runs == 2
