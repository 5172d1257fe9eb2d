"""A server that is asked two hundred times in a row holds no more than after the first fifty."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.stdio_client import Wire, wait
from tikhub_mcp.sandbox import Sandbox, good_links, link

pytestmark = pytest.mark.slow

CALLS, FIRST = 200, 50
EVERY = 20  # so many calls, one download is a new one: TikHub is asked ten times a second at most
MIB = 2**20


class Held(NamedTuple):
    """What a process holds."""

    files: int
    threads: int
    memory: int

    @classmethod
    def by(cls, number: int) -> "Held":
        process = Path("/proc") / str(number)
        pages = int((process / "statm").read_text().split()[1])
        return cls(
            len(list((process / "fd").iterdir())),
            len(list((process / "task").iterdir())),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )


class Asker:
    """Who asks: now and then for a new video, and else for what costs nothing."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._fresh, self._seen = wire, iter(good_links(CALLS)), list[str]()

    def ask(self, number: int) -> None:
        url, code = self._chosen(number)
        reply = self._wire.call(number, "download_video", {"url": url})
        assert (reply.code, reply.is_error) == (code, code is not None)
        if code is None:
            assert reply["file"]["reused"] is (number % EVERY != 0)

    def _chosen(self, number: int) -> tuple[str, str | None]:
        """The link, and the error that it comes to."""
        if number % EVERY == 0:
            self._seen.append(next(self._fresh))
            return self._seen[-1], None
        if number % 3 == 0:
            return f"https://example.com/{number}", "unsupported_link"
        if number % 3 == 1:
            return link("private"), "post_unavailable"
        return self._seen[number % len(self._seen)], None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="nothing tells what is in use")
def test_two_hundred_calls_in_a_row_hold_no_more_files_threads_and_memory_than_the_first_fifty(
    wire: Wire, sandbox: Sandbox, root: Path
) -> None:
    wire.shake_hands()
    asker = Asker(wire)
    for number in range(FIRST):
        asker.ask(number)
    before = Held.by(wire.process.pid)
    for number in range(FIRST, CALLS):
        asker.ask(number)
    wait(lambda: Held.by(wire.process.pid).files <= before.files, 5)  # the last connection may still be closing
    after = Held.by(wire.process.pid)
    assert after.threads <= before.threads + 2  # helpers that come as they are needed, up to a few
    assert after.memory <= before.memory + 6 * MIB
    assert len(list(root.rglob("*.mp4"))) == CALLS // EVERY
    assert len(sandbox.calls) == CALLS // EVERY + 1
    assert wire.end()[0] == 0
