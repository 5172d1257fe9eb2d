"""What the tests of the media's faults share: a film on one or three mirrors, with more or less known of it before."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.downloads import MEDIA, QUICK
from tests.support.fault_server import Act, End, Faulty, Move, Request, cdn, spoiled
from tests.support.make_media import retouched
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.renditions import Rendition

FILM = (MEDIA / "h264_large.mp4").read_bytes()
SIZE = len(FILM)
PART = SIZE // 4  # what a connection brings before it breaks; all of it fits into a socket's buffer, and is read
MDAT = FILM.index(b"mdat") + 4
OTHER = retouched(FILM)  # a film with the same boxes, and as long: the trap
GOOD = cdn(FILM)
LIMITS = replace(QUICK, header_timeout=3.0, read_timeout=1.5, longest_pause=0.05)
HASTY = replace(LIMITS, header_timeout=0.4, read_timeout=0.2, slow_seconds=0.2)  # for those who keep one waiting
BROKEN_OFF = spoiled(GOOD, cut=PART, end="reset")

# what TikHub said of the film: its size and its MD5
KNOWN = {
    "no metadata": (None, ""),
    "data_size": (SIZE, ""),
    "data_size and file_hash": (SIZE, hashlib.md5(FILM).hexdigest()),
}


# The two ends: nothing known and no other mirror, everything known and others to go to.
crossed = pytest.mark.parametrize(("known", "mirrors"), [("no metadata", 1), ("data_size and file_hash", 3)])


def film(server: Faulty, known: str, mirrors: int, *moves: Move, others: tuple[Move, ...] = (GOOD,)) -> Rendition:
    """FILM on so many mirrors; the first of them makes these moves, the rest those of `others`."""
    paths = [f"/{number}" for number in range(1, mirrors + 1)]
    urls = [server.on(path, *(others if turn else moves)) for turn, path in enumerate(paths)]
    size, file_hash = KNOWN[known]
    return Rendition("h264", 576, 1024, 0, size, file_hash, tuple(urls), None)


def assert_whole(saved: Saved, target: Path, content: bytes = FILM) -> None:
    """The file is all of one object, and what is said of it is true."""
    assert target.read_bytes() == content
    assert (saved.path, saved.size, saved.reused) == (target, len(content), False)
    assert saved.sha256 == hashlib.sha256(content).hexdigest()


def breaking_off(end: End, move: Move = GOOD) -> Callable[[Request], Act]:
    """Each connection ends so, and only the first of them brings something."""

    def answer(request: Request) -> Act:
        return spoiled(move, cut=0 if "range" in request.headers else PART, end=end)(request)

    return answer
