"""The renditions of one answer: which are asked for and in which order, and which one a file on disk is."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.downloads import ENCRYPTED, GOOD, H266, MEDIA, MUSIC, PAGE, QUICK, SIZE, VIDEO, fetch, rendition
from tests.support.fault_server import Act, Faulty, Move
from tikhub_mcp.errors import FileError, MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media import digests, library
from tikhub_mcp.media.library import existing
from tikhub_mcp.posts.renditions import Rendition

pytestmark = pytest.mark.usefixtures("small_pieces")

GONE = Act(status=404, body=PAGE)
NOT_FIRST = "this is not the first choice (h264, 720x1280): "
SILENT = (MEDIA / "h265_silent.mp4").read_bytes()
MD5 = hashlib.md5(VIDEO).hexdigest()


def wanted(*urls: str, size: int | None = None, file_hash: str = "") -> Rendition:
    """What NOT_FIRST describes."""
    return replace(rendition(*urls, size=size, file_hash=file_hash), width=720, height=1280)


@pytest.fixture
def files(server: Faulty) -> Callable[..., list[Rendition]]:
    """The renditions a, b, c, …, each with the moves of its mirrors, all of them as large as VIDEO if they say so."""

    def make(*mirrors: tuple[Move, ...], size: int | None = None) -> list[Rendition]:
        names = [
            [server.on(f"/{name}{number}", move) for number, move in enumerate(moves, 1)]
            for name, moves in zip("abcdef", mirrors, strict=False)
        ]
        return [wanted(*urls, size=size) for urls in names]

    return make


def test_the_first_choice_then_two_others_once_then_the_first_choice_again(
    server: Faulty, target: Path, files: Callable[..., list[Rendition]]
) -> None:
    first, *others = files(*[(GONE, GONE)] * 4)
    started = time.monotonic()
    with pytest.raises(MediaUnavailable, match=r"\(mirrors: 2, attempts: 4, other renditions: 2\): the CDN answered"):
        fetch(first, target, replace(QUICK, pause=0.1), others=others)
    assert server.asked() == ["/a1", "/a2", "/b1", "/b2", "/c1", "/c2", "/a1", "/a2"]
    assert time.monotonic() - started >= 0.1


REFUSED: dict[str, tuple[Act, str]] = {
    "gone": (GONE, "the CDN answered HTTP 404"),
    "encrypted": (Act(body=ENCRYPTED), "it is encrypted"),
    "sound alone": (Act(body=MUSIC), "it has no video track"),
    "H.266": (Act(body=H266), "it is coded in ByteDance's H.266, which nothing plays"),
    "a page": (Act(headers=[("Content-Type", "text/html")], body=PAGE), "the CDN sent a web page instead of a video"),
    "half of it": (Act(body=VIDEO[: SIZE // 2]), "bytes missing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_first_choice_that_cannot_be_had_costs_a_warning_with_the_reason(
    server: Faulty, target: Path, files: Callable[..., list[Rendition]], what: str
) -> None:
    act, why = REFUSED[what]
    first, *others = files((act,), (GONE,), (GOOD,), (GOOD,))
    saved = fetch(first, target, others=others)
    assert (target.read_bytes(), saved.size, saved.first_choice) == (VIDEO, SIZE, False)
    (warning,) = saved.warnings
    assert warning.startswith(NOT_FIRST)
    assert why in warning
    assert server.asked() == ["/a1", "/b1", "/c1"]


def test_what_is_to_be_known_of_another_rendition_is_said_too(
    target: Path, files: Callable[..., list[Rendition]]
) -> None:
    first, other = files((GONE,), (Act(body=VIDEO, framing="none"),))
    saved = fetch(first, target, others=[other])
    assert ["no size was given" in warning for warning in saved.warnings] == [False, True]


@pytest.mark.parametrize("what", REFUSED)
def test_when_nothing_can_be_had_the_error_is_that_of_the_first_choice_and_tells_whether_new_links_would_help(
    target: Path, files: Callable[..., list[Rendition]], what: str
) -> None:
    act, why = REFUSED[what]
    hopeless = what in ("encrypted", "sound alone", "H.266")
    for first, other in ((act, GONE), (GONE, act)):
        one, two = files((first,), (other,))
        with pytest.raises(FileError) as caught:
            fetch(one, target, others=[two])
        assert (why in caught.value.message) == (first is act or what == "gone")
        assert isinstance(caught.value, MediaUnavailable if first is GONE else MediaInvalid)
        assert caught.value.refused_content == hopeless


def test_where_every_rendition_is_too_large_the_first_choice_says_so(
    target: Path, files: Callable[..., list[Rendition]]
) -> None:
    for size in (SIZE, None):  # according to the answer, and to the mirrors
        first, other = files((GOOD,), (GOOD,), size=size)
        with pytest.raises(TooLarge, match=f"{SIZE:,} bytes"):
            fetch(first, target, replace(QUICK, largest=SIZE - 1), others=[other])


SLOW = Act(body=VIDEO, cut=SIZE // 2, end="stall")


@pytest.mark.parametrize(
    ("moves", "why"),
    [((SLOW, GOOD), "did not arrive within 0.3 s"), ((GONE, SLOW), "the CDN answered HTTP 404")],
    ids=["in the first choice", "in another"],
)
def test_one_limit_of_time_holds_for_all_renditions(
    target: Path, files: Callable[..., list[Rendition]], moves: tuple[Move, Move], why: str
) -> None:
    first, other = files(*[(move,) for move in moves])
    started = time.monotonic()
    with pytest.raises(MediaUnavailable, match=why):
        fetch(first, target, replace(QUICK, seconds=0.3, read_timeout=9), others=[other])
    assert time.monotonic() - started < 3


# What is there already


@pytest.mark.parametrize(
    ("there", "over", "replaced"),
    [
        (VIDEO, {"width": 144, "height": 256}, True),
        (VIDEO, {"width": 256, "height": 144}, True),
        (VIDEO, {"width": 142, "height": 256}, False),
        (VIDEO, {"tracks": "picture"}, False),
        (SILENT, {"width": 360, "height": 640, "tracks": "picture"}, True),
        (VIDEO[:-1], {"width": 9, "height": 9, "tracks": "picture"}, True),
    ],
)
def test_only_the_first_choice_replaces_a_better_video(
    server: Faulty,
    target: Path,
    files: Callable[..., list[Rendition]],
    there: bytes,
    over: dict[str, Any],
    replaced: bool,
) -> None:
    target.write_bytes(there)
    first, other = files((GONE,), (GOOD,))
    other = replace(other, **over)
    if replaced:
        assert fetch(first, target, others=[other]).size == SIZE
    else:
        with pytest.raises(MediaUnavailable):
            fetch(first, target, others=[other])
        assert target.read_bytes() == there
    assert ("/b1" in server.asked()) == replaced


def test_a_video_that_a_link_leads_to_is_not_looked_at(
    target: Path, tmp_path: Path, files: Callable[..., list[Rendition]]
) -> None:
    (tmp_path / "elsewhere.mp4").write_bytes((MEDIA / "h264_large.mp4").read_bytes())
    target.symlink_to(tmp_path / "elsewhere.mp4")
    first, other = files((GONE,), (GOOD,))
    assert fetch(first, target, others=[replace(other, width=144, height=256)]).size == SIZE


File = tuple[int | None, str]  # size in bytes, file_hash


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([(SIZE, ""), (9, "")], 0),
        ([(9, ""), (SIZE, "")], 1),
        ([(9, ""), (8, ""), (7, ""), (SIZE, "")], 3),
        ([(None, ""), (9, "")], 0),
        ([(None, ""), (SIZE, "")], 1),  # what says its size is more likely than what does not
        ([(SIZE, ""), (SIZE, "")], 0),
        ([(SIZE, "0" * 32), (SIZE, MD5)], 1),
        ([(SIZE, "0" * 32), (SIZE, "1" * 32)], 0),  # the hash need not be an MD5
        ([(SIZE, ""), (SIZE, MD5)], 1),
        ([(SIZE, "odd"), (SIZE, "")], 0),
        ([(9, MD5), (8, MD5)], None),
    ],
)
def test_a_video_on_disk_is_compared_with_every_rendition(target: Path, said: list[File], found: int | None) -> None:
    target.write_bytes(VIDEO)
    first, *others = (wanted("x", size=size, file_hash=told) for size, told in said)
    saved = existing(target, first, *others)
    if found is None:
        assert saved is None
        return
    assert saved is not None
    assert saved.first_choice == (found == 0)
    assert saved.written == target.stat().st_mtime
    said_so = [warning for warning in saved.warnings if warning.startswith(NOT_FIRST + "another one was saved before")]
    assert len(said_so) == (found > 0)


# Hashes


def test_the_md5_is_computed_only_for_a_comparison(
    server: Faulty, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = list[bool]()
    real = digests.Digests

    def noting(wants_md5: bool) -> digests.Digests:
        computed.append(wants_md5)
        return real(wants_md5)

    for module in ("library", "transfer"):
        monkeypatch.setattr(f"tikhub_mcp.media.{module}.Digests", noting)
    monkeypatch.setattr(library, "_inspected", {})
    for file_hash in ("", "odd", MD5):
        file = rendition(server.on("/a", GOOD), file_hash=file_hash)
        assert fetch(file, target).warnings == ()
        saved = existing(target, file)
        assert saved is not None
        assert saved.warnings == ()
        assert set(computed) == {file_hash == MD5}
        assert saved.sha256 == hashlib.sha256(VIDEO).hexdigest()
        computed.clear()


def test_a_digest_that_is_not_wanted_is_empty() -> None:
    for wanted in (False, True):
        both = digests.Digests(wanted)
        both.add(VIDEO[:9])
        both.add(VIDEO[9:])
        assert (both.sha256, both.md5) == (hashlib.sha256(VIDEO).hexdigest(), MD5 if wanted else "")


@pytest.mark.parametrize("told_by", ["the answer", "the mirrors"])
def test_a_first_choice_that_is_too_large_gives_way_to_a_smaller_one(
    server: Faulty, target: Path, files: Callable[..., list[Rendition]], told_by: str
) -> None:
    large, small = files((Act(body=VIDEO + bytes(1000)),), (GOOD,))
    large = replace(large, size=SIZE + 1000 if told_by == "the answer" else None)
    saved = fetch(large, target, replace(QUICK, largest=SIZE), others=[small])
    assert (target.read_bytes(), saved.first_choice) == (VIDEO, False)
    assert f"{SIZE + 1000:,} bytes" in saved.warnings[0]
    assert server.asked() == (["/b1"] if told_by == "the answer" else ["/a1", "/b1"])
