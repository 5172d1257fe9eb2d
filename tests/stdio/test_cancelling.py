"""A client that changes its mind, over stdio: nothing more is done or paid for, and nothing that was done is lost."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.mcp_session import SLOW, patience
from tests.support.stdio_client import DISCOVERY, Caller, Environment, Wire, downloading, parts, wait
from tikhub_mcp.jobs.model import MAX_TRANSFERS
from tikhub_mcp.sandbox import Sandbox, good_links, link

pytestmark = pytest.mark.slow

QUICK = 3  # files that come at once; the others take 8 s each
LINKS = good_links(QUICK + MAX_TRANSFERS + 3)


class Uneven(Sandbox):
    """A sandbox whose first files come at once, and the others slowly."""

    quick, slow = QUICK, SLOW

    async def _stream(self, content: bytes) -> AsyncIterator[bytes]:
        self.quick -= 1
        self.media_bytes_per_second = self.slow if self.quick < 0 else 0  # read below before anybody else has a turn
        async for piece in super()._stream(content):
            yield piece


@pytest.fixture
def sandbox() -> Iterator[Uneven]:
    with Uneven() as running:
        yield running


@pytest.fixture
def caller(request: pytest.FixtureRequest, environment: Environment, tmp_path: Path) -> Iterator[Caller]:
    environment["TIKHUB_CALL_SECONDS"] = "300"  # no call ends by itself
    with Wire(environment, tmp_path / "log") as wire:
        yield Caller(wire, getattr(request, "param", DISCOVERY))


def answers(root: Path) -> list[Path]:
    return sorted((root / "raw").glob("raw_*.json"))


def videos(root: Path) -> dict[Path, int]:
    """The finished files, and which they are, so that a new one under an old name is seen."""
    return {path: path.stat().st_ino for path in (root / "videos").glob("*.mp4")}


@pytest.mark.parametrize("caller", [{}, DISCOVERY], ids=["legacy", "auto"], indirect=True)
def test_a_batch_cancelled_in_the_middle_keeps_what_is_done_and_goes_on_from_there_when_asked_again(
    caller: Caller, sandbox: Uneven, root: Path
) -> None:
    caller.begin(1, "batch_download", {"urls": LINKS})
    wait(lambda: (len(videos(root)), downloading(root)) == (QUICK, MAX_TRANSFERS))
    finished, paid = videos(root), answers(root)
    assert len(paid) == len(sandbox.calls) == QUICK + MAX_TRANSFERS
    caller.cancel(1)
    assert wait(lambda: not parts(root)) < patience(1)
    assert caller.call(2, "summarize_raw", {})["rows"] == len(paid)
    assert len(sandbox.calls) == len(paid)
    assert (videos(root), answers(root)) == (finished, paid)
    sandbox.quick = len(LINKS)
    reply = caller.call(3, "batch_download", {"urls": LINKS})
    assert (reply["succeeded"], reply["cost"]["api_calls"]) == (len(LINKS), len(LINKS) - len(paid))
    assert sorted(asked.share_url for asked in sandbox.calls) == sorted(LINKS)  # each of them once
    assert finished.items() <= videos(root).items()
    assert set(paid) <= set(answers(root))
    caller.end()


def test_answers_that_are_under_way_when_a_batch_is_cancelled_are_waited_for_by_who_asks_again_at_once(
    caller: Caller, sandbox: Uneven, root: Path
) -> None:
    sandbox.latency, sandbox.quick = 0.5, len(LINKS)
    caller.begin(1, "batch_download", {"urls": LINKS})
    wait(lambda: len(sandbox.calls) == MAX_TRANSFERS)
    caller.cancel(1)
    assert not answers(root)
    reply = caller.call(2, "batch_download", {"urls": LINKS})
    assert (reply["succeeded"], reply["cost"]["api_calls"]) == (len(LINKS), len(LINKS) - MAX_TRANSFERS)
    assert sorted(asked.share_url for asked in sandbox.calls) == sorted(LINKS)
    assert not parts(root)
    caller.end()


def test_a_cancellation_of_what_is_not_under_way_does_nothing(caller: Caller, sandbox: Uneven, root: Path) -> None:
    assert caller.call(1, "download_video", {"url": link("tiktok")})["status"] == "ok"
    sandbox.quick = 0
    caller.begin(2, "download_video", {"url": link("douyin")})
    wait(lambda: sandbox.quick < 0 and downloading(root))
    for number in (1, 1, 99, "1", "an-id", "", -1, None, [2], {"id": 2}, 2.5, True):
        caller.cancel(number)
    sandbox.quick = 2
    reply = caller.call(3, "batch_download", {"urls": LINKS[:2]})  # which has been read after all of them
    assert (reply["succeeded"], reply["cost"]["api_calls"]) == (2, 2)
    assert downloading(root) == 1
    caller.cancel(2)
    caller.cancel(2)
    assert wait(lambda: not parts(root)) < patience(1)
    sandbox.quick = 1
    reply = caller.call(4, "download_video", {"url": link("douyin")})
    assert (reply["status"], reply["cost"]["api_calls"]) == ("ok", 0)
    caller.end()


def test_of_two_calls_for_one_post_the_one_that_is_not_cancelled_gets_it(
    caller: Caller, sandbox: Uneven, root: Path
) -> None:
    sandbox.quick, sandbox.slow = 0, 250_000  # a file takes 0.6 s
    caller.begin(1, "download_video", {"url": link("tiktok")})
    caller.begin(2, "download_video", {"url": link("tiktok")})
    wait(lambda: downloading(root))
    caller.cancel(1)
    said = caller.wire.answer(2)["structuredContent"]
    assert (said["status"], Path(said["file"]["path"]) in videos(root)) == ("ok", True)
    assert len(sandbox.calls) == len(sandbox.media_requests) == 1
    caller.end()


MANY = 101


def test_a_message_behind_many_calls_that_are_cancelled_at_once_is_answered_before_one_of_them_could_end(
    caller: Caller, sandbox: Uneven, root: Path
) -> None:
    sandbox.quick, sandbox.slow = 0, SLOW // 4  # a file takes half a minute
    for number, url in enumerate(good_links(MANY)):
        caller.begin(number, "download_video", {"url": url})
    for number in range(MANY):
        caller.cancel(number)
    assert caller.wire.ask(MANY, "tools/list", {"_meta": caller.meta})["tools"]
    assert not videos(root)
    wait(lambda: not parts(root))
    caller.end()


@pytest.mark.parametrize("caller", [{}, DISCOVERY], ids=["legacy", "auto"], indirect=True)
def test_calls_that_are_cancelled_before_they_begin_ask_for_nothing(caller: Caller, sandbox: Uneven) -> None:
    sandbox.quick = MANY
    calls = [
        caller.request(number, "tools/call", name="download_video", arguments={"url": url})
        for number, url in enumerate(good_links(3 * MAX_TRANSFERS))
    ]
    caller.wire.send(*calls, *map(caller.cancellation, range(len(calls))))
    assert caller.call(MANY, "download_video", {"url": LINKS[0]})["cost"]["api_calls"] == 1
    assert [asked.share_url for asked in sandbox.calls] == [LINKS[0]]
    caller.end()


def test_calls_with_one_and_the_same_id_are_all_answered(caller: Caller, sandbox: Uneven) -> None:
    sandbox.quick = MANY
    for url in good_links(MAX_TRANSFERS):
        for _ in range(8):
            caller.begin(1, "download_video", {"url": url, "metrics_only": True})
    asked = [caller.wire.answer(1)["structuredContent"] for _ in range(8 * MAX_TRANSFERS)]
    assert [reply["status"] for reply in asked] == ["ok"] * len(asked)
    assert len({reply["video_id"] for reply in asked}) == len(sandbox.calls) == MAX_TRANSFERS
    caller.end()
