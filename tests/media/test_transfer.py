"""transfer.py over real sockets: going on where a connection broke off, and never splicing two objects."""

import hashlib
import time
from pathlib import Path
from typing import Literal

import pytest

from tests.support.downloads import GOOD, MEDIA, PAGE, SIZE, VIDEO, fetch, rendition
from tests.support.fault_server import Act, Faulty, redirect
from tikhub_mcp.errors import MediaInvalid, MediaUnavailable
from tikhub_mcp.media import transfer
from tikhub_mcp.media.transfer import Limits

pytestmark = pytest.mark.usefixtures("small_pieces")

CUT = 20_000
ETAG = '"an-object"'
OTHER = (MEDIA / "h265.mp4").read_bytes()


def begun(
    cut: int | None = CUT, end: Literal["close", "reset", "stall"] = "close", headers: tuple[tuple[str, str], ...] = ()
) -> Act:
    """The whole file promised, and only its beginning sent."""
    return Act(headers=headers or [("ETag", ETAG)], body=VIDEO, cut=cut, end=end)


def rest(
    start: int = CUT,
    cut: int | None = None,
    *,
    span: str | None = f"bytes {CUT}-{SIZE - 1}/{SIZE}",
    etag: str = ETAG,
    more: tuple[tuple[str, str], ...] = (),
) -> Act:
    """The answer to a range."""
    named = [("ETag", etag)] if etag else []
    placed = [("Content-Range", span)] if span else []
    return Act(status=206, headers=[*named, *placed, *more], body=VIDEO[start:], cut=cut)


@pytest.mark.parametrize("end", ["close", "stall", "reset"])
@pytest.mark.parametrize("size", [SIZE, None])
def test_what_broke_off_goes_on_where_it_was(
    server: Faulty, target: Path, end: Literal["close", "reset", "stall"], size: int | None
) -> None:
    saved = fetch(rendition(server.on("/a", begun(end=end), rest()), size=size), target)
    assert (target.read_bytes(), saved.size, saved.warnings) == (VIDEO, SIZE, ())
    first, second = server.requests
    assert not {"range", "if-range"} & first.headers.keys()
    assert (second.headers["range"], second.headers["if-range"]) == (f"bytes={CUT}-", ETAG)
    assert second.headers["referer"] == first.headers["referer"]


def test_it_goes_on_as_long_as_each_connection_brings_something(server: Faulty, target: Path) -> None:
    starts = range(7000, SIZE, 7000)
    acts = [rest(start, 7000, span=f"bytes {start}-{SIZE - 1}/{SIZE}") for start in starts]
    fetch(rendition(server.on("/a", begun(7000), *acts)), target)
    assert target.read_bytes() == VIDEO
    assert [request.headers.get("range") for request in server.requests[1:]] == [f"bytes={start}-" for start in starts]


def test_it_goes_on_for_so_many_connections_and_no_more(
    server: Faulty, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MAX_CONNECTIONS_PER_MIRROR", 3)
    acts = [rest(start, 1000, span=f"bytes {start}-{SIZE - 1}/{SIZE}") for start in range(1000, 9000, 1000)]
    fetch(rendition(server.on("/a", begun(1000), *acts), server.on("/b", GOOD)), target)
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=1000-", "bytes=2000-", None]
    assert server.asked() == ["/a", "/a", "/a", "/b"]


def test_it_goes_on_at_the_address_that_served_the_beginning(server: Faulty, target: Path) -> None:
    server.on("/b", begun(), rest())
    fetch(rendition(server.on("/a", redirect("/b"))), target)
    assert server.asked() == ["/a", "/b", "/b"]
    assert target.read_bytes() == VIDEO


@pytest.mark.parametrize("total", [str(SIZE), None])
def test_a_file_that_only_lacked_its_end_mark_is_whole_when_the_cdn_says_that_nothing_follows(
    server: Faulty, target: Path, total: str | None
) -> None:
    unended = Act(headers=[("ETag", ETAG)], body=VIDEO, framing="chunked", terminated=False)
    nothing_follows = Act(status=416, headers=[("Content-Range", f"bytes */{SIZE}")], body=PAGE)
    saved = fetch(rendition(server.on("/a", unended, nothing_follows), size=SIZE if total else None), target)
    assert (saved.size, target.read_bytes()) == (SIZE, VIDEO)


ANOTHER_OBJECT = {
    "another start": rest(span=f"bytes {CUT - 1}-{SIZE - 1}/{SIZE}"),
    "another end": rest(span=f"bytes {CUT}-{SIZE - 2}/{SIZE}"),
    "another total": rest(span=f"bytes {CUT}-{SIZE}/{SIZE + 1}"),
    "no total": rest(span=f"bytes {CUT}-{SIZE - 1}/*"),
    "nonsense": rest(span="bytes 1"),
    "no range at all": rest(span=None),
    "several ranges": rest(span=None, more=(("Content-Type", "multipart/byteranges; boundary=x"),)),
    "another ETag": rest(etag='"another"'),
    "no ETag": rest(etag=""),
    "a weak ETag": rest(etag=f"W/{ETAG}"),
    "compressed": rest(more=(("Content-Encoding", "gzip"),)),
    "nothing follows, of another total": Act(status=416, headers=[("Content-Range", f"bytes */{SIZE}")]),
    "nothing follows, and no total": Act(status=416),
    "refused": Act(status=403, body=PAGE),
    "a redirect to nowhere": redirect(None),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ANOTHER_OBJECT)
def test_what_is_not_the_rest_of_the_same_object_is_never_added_to_it(server: Faulty, target: Path, what: str) -> None:
    urls = server.on("/a", begun(), ANOTHER_OBJECT[what], begun()), server.on("/b", GOOD)
    fetch(rendition(*urls), target)
    assert target.read_bytes() == VIDEO
    assert server.asked() == ["/a", "/a", "/b"]
    assert "range" not in server.requests[-1].headers


@pytest.mark.parametrize("what", ANOTHER_OBJECT)
def test_the_only_mirror_is_asked_for_all_of_it_in_its_second_turn(server: Faulty, target: Path, what: str) -> None:
    fetch(rendition(server.on("/a", begun(), ANOTHER_OBJECT[what], GOOD)), target)
    assert target.read_bytes() == VIDEO
    assert "range" not in server.requests[-1].headers


@pytest.mark.parametrize("etag", [ETAG, '"another"', ""])
def test_a_mirror_that_sends_all_of_it_again_is_taken_at_its_word(server: Faulty, target: Path, etag: str) -> None:
    whole = Act(headers=[("ETag", etag)] if etag else [("Server", "x")], body=VIDEO)
    fetch(rendition(server.on("/a", begun(), whole)), target)
    assert target.read_bytes() == VIDEO
    assert len(server.requests) == 2


def test_an_object_that_changed_meanwhile_is_taken_whole(server: Faulty, target: Path) -> None:
    changed = Act(headers=[("ETag", '"another"')], body=OTHER)
    saved = fetch(rendition(server.on("/a", begun(), changed), size=None), target)
    assert (target.read_bytes(), saved.size, saved.media.codec) == (OTHER, len(OTHER), "h265")


@pytest.mark.parametrize(
    "headers",
    [("ETag", f"W/{ETAG}"), ("ETag", "bare"), ("Last-Modified", "Tue, 01 Jul 2025 00:00:00 GMT"), ("Server", "x")],
)
def test_without_a_strong_etag_nothing_is_resumed(server: Faulty, target: Path, headers: tuple[str, str]) -> None:
    fetch(rendition(server.on("/a", begun(headers=(headers,)), GOOD)), target)
    assert target.read_bytes() == VIDEO
    assert not any({"range", "if-range"} & request.headers.keys() for request in server.requests)


@pytest.mark.parametrize(("status", "requests"), [(429, 3), (500, 3), (403, 2), (499, 2)])
def test_a_lone_mirror_is_asked_a_third_time_only_after_a_status_that_may_pass(
    server: Faulty, target: Path, status: int, requests: int
) -> None:
    with pytest.raises(MediaUnavailable):
        fetch(rendition(server.on("/a", Act(status=status))), target)
    assert len(server.requests) == requests


def test_a_length_that_differs_from_the_answers_is_refused_before_the_body(server: Faulty, target: Path) -> None:
    with pytest.raises(MediaInvalid, match=f"promised {SIZE:,} bytes, and TikHub's answer {SIZE + 1:,} bytes"):
        fetch(rendition(server.on("/a", GOOD), size=SIZE + 1), target)


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_that_is_said_to_be_as_it_is_is_taken(server: Faulty, target: Path, encoding: str) -> None:
    fetch(rendition(server.on("/a", Act(headers=[("Content-Encoding", encoding)], body=VIDEO))), target)
    assert target.read_bytes() == VIDEO
    assert len(server.requests) == 1


@pytest.mark.parametrize(("asked", "waited"), [("60", 0.3), ("0", 0.0), ("soon", 0.0)])
def test_a_mirror_that_asks_for_time_gets_it_within_reason(
    server: Faulty, target: Path, asked: str, waited: float
) -> None:
    busy = Act(status=429, headers=[("Retry-After", asked)])
    limits = Limits(pause=0.0, longest_pause=0.3)
    started = time.monotonic()
    fetch(rendition(server.on("/a", busy, GOOD)), target, limits)
    assert waited <= time.monotonic() - started < waited + 5


def test_a_mirror_that_brings_nothing_new_twice_makes_room_for_the_next(server: Faulty, target: Path) -> None:
    urls = server.on("/a", begun(), rest(cut=0)), server.on("/b", GOOD)
    fetch(rendition(*urls), target)
    assert server.asked() == ["/a", "/a", "/a", "/b"]
    assert target.read_bytes() == VIDEO


def test_of_a_longer_object_that_broke_off_nothing_is_left_when_a_shorter_one_comes_in_its_place(
    server: Faulty, target: Path
) -> None:
    longer = (MEDIA / "h264_large.mp4").read_bytes()
    cut = len(VIDEO) + 9000  # more than the shorter one has is in the part file by then
    assert cut < len(longer)
    first = Act(headers=[("ETag", ETAG)], body=longer, cut=cut)
    saved = fetch(rendition(server.on("/a", first, GOOD), size=None), target)
    assert target.read_bytes() == VIDEO
    assert (saved.size, saved.sha256) == (SIZE, hashlib.sha256(VIDEO).hexdigest())
    assert len(server.requests) == 2  # a third one would have mended what was left behind
