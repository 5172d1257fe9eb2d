"""What a mirror can do wrong, once and always, whatever is known of the film before, on one mirror and on three."""

import gzip
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from tests.support.downloads import MUSIC, PAGE, fetch
from tests.support.fault_server import Act, Faulty, Move, cdn, redirect
from tests.support.media_faults import (
    FILM,
    GOOD,
    HASTY,
    KNOWN,
    LIMITS,
    MDAT,
    PART,
    SIZE,
    assert_whole,
    breaking_off,
    crossed,
    film,
)
from tikhub_mcp.errors import FileError, MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media.transfer import Limits

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        for hop in range(20):
            running.on(f"/hop{hop}", redirect(f"/hop{hop + 1}"))
        running.on("/hop20", GOOD)
        running.on("/circle", redirect("/circle?"))
        running.on("/circle?", redirect("/circle"))
        yield running


def typed(kind: str, body: bytes = PAGE) -> Act:
    return Act(headers=[("Content-Type", kind)], body=body)


def refusal(status: int, after: str = "") -> Act:
    return Act(status=status, headers=[("Retry-After", after)] if after else (), body=PAGE)


def length(*lengths: str) -> Act:
    heads = "".join(f"Content-Length: {length}\r\n" for length in lengths)
    return Act(raw=f"HTTP/1.1 200 OK\r\n{heads}\r\n".encode() + FILM)


def zipped(body: bytes) -> Act:
    return Act(headers=[("Content-Encoding", "gzip")], body=gzip.compress(body))


Kind = type[FileError]
GONE, WRONG = MediaUnavailable, MediaInvalid

# name: what a mirror does, and what it comes to when all do it always: with the size known, and without
FAULTS: dict[str, tuple[Move, Kind, Kind]] = {
    "reset in the middle": (breaking_off("reset"), GONE, GONE),
    "reset at once": (Act(raw=b"H", end="reset"), GONE, GONE),
    "hung up at once": (Act(raw=b"\r\n"), GONE, GONE),
    "hung up in the middle": (breaking_off("close"), GONE, GONE),
    "short of its length": (breaking_off("close", cdn(FILM, "")), GONE, GONE),
    "short without a length": (Act(body=FILM, framing="none", cut=PART), GONE, WRONG),
    "chunks that break off": (Act(body=FILM, framing="chunked", cut=PART), GONE, GONE),
    "chunks without an end": (Act(body=FILM, framing="chunked", terminated=False), GONE, GONE),
    "206 unasked": (Act(status=206, body=FILM), GONE, GONE),
    "reset, weak ETag": (breaking_off("reset", cdn(FILM, 'W/"one"')), GONE, GONE),
    "reset, no ETag": (breaking_off("reset", cdn(FILM, "")), GONE, GONE),
    **{f"{status}": (refusal(status), GONE, GONE) for status in (403, 404, 410, 500)},
    **{f"{status} for a day": (refusal(status, "86400"), GONE, GONE) for status in (429, 503)},
    "a page": (typed("text/html; charset=utf-8"), WRONG, WRONG),
    "JSON": (typed("application/json", b'{"code":403}'), WRONG, WRONG),
    "a film as text": (typed("text/plain", FILM), WRONG, WRONG),
    "a page as a film": (typed("video/mp4"), WRONG, WRONG),
    "empty": (Act(), WRONG, WRONG),
    "music as a film": (typed("video/mp4", MUSIC), WRONG, WRONG),
    "more than all of it": (Act(body=FILM + PAGE, framing="none"), WRONG, WRONG),
    "a length of 10^15": (length("1" + "0" * 15), WRONG, TooLarge),
    "a length of 30 digits": (length("1" * 30), GONE, GONE),
    **{f"a length of {bad}": (length(*bad.split(" and ")), GONE, GONE) for bad in ("-1", "1,2", "+5", "9 and 10")},
    "compressed": (zipped(FILM), WRONG, WRONG),
    "a bomb": (zipped(bytes(8 << 20)), WRONG, WRONG),
    "stalled at once": (Act(raw=b"HTTP/1.1", end="stall"), GONE, GONE),
    "stalled after the head": (Act(body=FILM, cut=0, end="stall"), GONE, GONE),
    "stalled in the middle": (breaking_off("stall"), GONE, GONE),
    "dripping": (Act(body=FILM, drip=20), GONE, GONE),
    "a head that drips": (Act(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, drip=1), GONE, GONE),
    "redirected in circles": (redirect("/circle"), GONE, GONE),
    "redirected 20 times": (redirect("/hop0"), GONE, GONE),
    "redirected to nowhere": (redirect(None), GONE, GONE),
    "303 to itself": (redirect("", 303), GONE, GONE),
    "redirected to a file": (redirect("file:///etc/passwd"), GONE, GONE),
    "halves swapped": (typed("video/mp4", FILM[SIZE // 2 :] + FILM[: SIZE // 2]), WRONG, WRONG),
    "zeros after the head": (typed("video/mp4", FILM[: MDAT // 2] + bytes(SIZE - MDAT // 2)), WRONG, WRONG),
    "HTTP/1.0, short of its length": (Act(body=FILM, cut=PART, version="1.0"), GONE, GONE),
    "HTTP/1.0, short without a length": (Act(body=FILM, framing="none", cut=PART, version="1.0"), GONE, WRONG),
}


def limits_for(name: str) -> Limits:
    return HASTY if "stalled" in name or "drip" in name else LIMITS


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("name", FAULTS)
def test_what_every_mirror_always_does_wrong_is_a_clean_error_after_a_bounded_number_of_requests(
    server: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    move, *kinds = FAULTS[name]
    started = time.monotonic()
    with pytest.raises(FileError) as caught:
        fetch(film(server, known, mirrors, move, others=(move,)), target, limits_for(name))
    assert caught.value.code == kinds[known == "no metadata"].code
    assert server.base_url not in caught.value.message
    assert not target.exists()
    turns = 2 * mirrors
    assert len(server.requests) <= turns * (6 if "redirected" in name else 3)
    assert time.monotonic() - started < 5 + turns * 3 * HASTY.header_timeout


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_that_strikes_once_is_recovered(
    server: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    file = film(server, known, mirrors, FAULTS[name][0], GOOD)
    if TooLarge in FAULTS[name] and not file.size and mirrors == 1:  # the only one there is says so
        with pytest.raises(TooLarge):
            fetch(file, target, LIMITS)
        return
    saved = fetch(file, target, limits_for(name))
    assert_whole(saved, target)
    assert saved.warnings == ()


@crossed
def test_what_follows_after_the_promised_length_is_cut_off(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    more = Act(raw=f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode() + FILM + PAGE)
    saved = fetch(film(server, known, mirrors, more), target, LIMITS)
    assert_whole(saved, target)
    assert server.asked() == ["/1"]


@crossed
def test_a_body_without_an_end_is_never_more_on_the_disk_than_the_limit(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    endless = Act(body=FILM * 8, framing="none")
    file = film(server, known, mirrors, endless, others=(endless,))
    with pytest.raises(MediaInvalid if file.size else TooLarge):
        fetch(file, target, replace(LIMITS, largest=2 * SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN)
def test_a_cdn_that_asks_for_time_gets_it_from_the_next_round(server: Faulty, target: Path, known: str) -> None:
    limits = replace(LIMITS, longest_pause=5.0)
    started = time.monotonic()
    saved = fetch(film(server, known, 1, refusal(429, "1"), GOOD), target, limits)
    assert_whole(saved, target)
    assert 1 <= time.monotonic() - started < 4
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("99999999999", 0.2, 2), (formatdate(time.time() + 9e5, usegmt=True), 0.2, 2), ("-5", 0, 1), ("soon", 0, 1)],
    ids=["too many seconds", "a far date", "a negative number", "no number"],
)
def test_how_much_time_a_cdn_gets_is_capped_and_what_it_asked_for_is_told(
    server: Faulty, target: Path, asked: str, least: float, most: float
) -> None:
    started = time.monotonic()
    with pytest.raises(MediaUnavailable) as caught:
        fetch(film(server, "data_size", 1, refusal(503, asked)), target, replace(LIMITS, longest_pause=0.2))
    assert least <= time.monotonic() - started < most
    assert (caught.value.retry_after is not None) == (least > 0)


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN)
def test_slow_but_honest_is_let_finish_and_its_progress_only_grows(server: Faulty, target: Path, known: str) -> None:
    told: list[int] = []
    slow = Act(body=FILM, drip=SIZE // 16, pause=0.06)  # a second in all, five times the window
    assert_whole(fetch(film(server, known, 1, slow), target, LIMITS, progress=told.append), target)
    assert len(told) > 8
    assert told == sorted(told)
    assert (told[-1], server.asked()) == (SIZE, ["/1"])


@crossed
def test_http_behind_https_is_taken_only_when_its_size_can_be_held_to_a_known_one(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": f"http://cdn.example{request.url.path}"})
        content = FILM[:-9] if request.url.path == "/1" else FILM
        return httpx.Response(200, stream=httpx.ByteStream(content))

    file = film(server, known, mirrors, GOOD)
    urls = tuple(f"https://cdn.example/{number}" for number in range(1, mirrors + 1))
    file, transport = replace(file, urls=urls), httpx.MockTransport(answer)
    if file.size and mirrors > 1:
        assert_whole(fetch(file, target, LIMITS, transport=transport), target)
        return
    words = "the connection failed" if file.size else "from https to http"
    with pytest.raises(MediaUnavailable, match=words):
        fetch(file, target, LIMITS, transport=transport)
