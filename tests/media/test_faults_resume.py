"""Going on where a connection broke off: nothing comes twice, and no file is ever put together from two objects."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support.downloads import PAGE, fetch
from tests.support.fault_server import Act, End, Faulty, Move, Request, cdn, played, redirect, spoiled
from tests.support.media_faults import (
    BROKEN_OFF,
    FILM,
    GOOD,
    HASTY,
    KNOWN,
    LIMITS,
    OTHER,
    PART,
    SIZE,
    assert_whole,
    breaking_off,
    crossed,
    film,
)
from tikhub_mcp.errors import MediaInvalid, MediaUnavailable
from tikhub_mcp.media import transfer

pytestmark = pytest.mark.usefixtures("small_pieces")


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        running.on("/same", GOOD)
        running.on("/other", cdn(OTHER, '"two"'))
        yield running


BREAKS: dict[str, dict[str, object]] = {
    "reset": {"end": "reset"},
    "short of its length": {"end": "close"},
    "chunks that break off": {"framing": "chunked"},
    "stalled": {"end": "stall"},
    "HTTP/1.0": {"version": "1.0"},
}


@crossed
@pytest.mark.parametrize("name", BREAKS)
def test_what_broke_off_goes_on_where_it_was_and_nothing_comes_twice(
    server: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    file = film(server, known, mirrors, spoiled(GOOD, cut=PART, **BREAKS[name]), GOOD)
    saved = fetch(file, target, HASTY if name == "stalled" else LIMITS)
    assert_whole(saved, target)
    assert saved.warnings == ()
    assert server.asked() == ["/1", "/1"]
    assert (server.requests[1].headers["range"], server.requests[1].headers["if-range"]) == (f"bytes={PART}-", '"one"')
    assert server.sent <= 1.1 * SIZE


@crossed
def test_six_resets_that_each_bring_something_are_survived(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    resets = [spoiled(GOOD, cut=SIZE // 8, end="reset")] * 6
    assert_whole(fetch(film(server, known, mirrors, *resets, GOOD), target, LIMITS), target)
    assert server.asked() == ["/1"] * 7
    assert server.sent <= 1.1 * SIZE


@pytest.mark.slow
@pytest.mark.parametrize("mirrors", [1, 3])
def test_connections_have_an_end_even_when_each_brings_something(
    server: Faulty, target: Path, mirrors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mirrors > 1:
        monkeypatch.setattr("tikhub_mcp.media.transfer.MAX_CONNECTIONS_PER_MIRROR", 7)
    crumbs = spoiled(GOOD, cut=100)
    with pytest.raises(MediaUnavailable, match="RemoteProtocolError"):
        fetch(film(server, "data_size", mirrors, crumbs, others=(crumbs,)), target, LIMITS)
    assert len(server.requests) == 2 * mirrors * transfer.MAX_CONNECTIONS_PER_MIRROR


@crossed
def test_a_reconnection_that_fails_once_does_not_lose_what_is_there(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    hung_up = Act(raw=b"\r\n")
    moves = BROKEN_OFF, hung_up, BROKEN_OFF, hung_up, GOOD
    assert_whole(fetch(film(server, known, mirrors, *moves), target, LIMITS), target)
    assert server.asked() == ["/1"] * 5
    assert server.sent <= 1.1 * SIZE


@crossed
def test_a_reconnection_that_fails_twice_leaves_it_to_the_next_mirror_from_its_beginning(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    hung_up = Act(raw=b"\r\n")
    assert_whole(fetch(film(server, known, mirrors, BROKEN_OFF, hung_up, hung_up, GOOD), target, LIMITS), target)
    assert server.asked() == ["/1", "/1", "/1", "/1" if mirrors == 1 else "/2"]
    assert "range" not in server.requests[-1].headers


def test_a_transfer_goes_on_at_the_address_that_a_redirect_led_to(server: Faulty, target: Path) -> None:
    server.on("/cdn", BROKEN_OFF, GOOD)
    assert_whole(fetch(film(server, "data_size", 1, redirect("/cdn")), target, LIMITS), target)
    assert server.asked() == ["/1", "/cdn", "/cdn"]


def rest(place: str, body: bytes, *, etag: str = '"one"', status: int = 206, **headers: str) -> Act:
    """A 206 that says this of itself; the names of headers with _ for -, and what is empty is left out."""
    said = {"Content_Type": "video/mp4", "ETag": etag, "Content_Range": place} | headers
    return Act(
        status=status, headers=[(name.replace("_", "-"), text) for name, text in said.items() if text], body=body
    )


def unsatisfied(place: str, etag: str = '"one"') -> Act:
    return rest(place, b"", etag=etag, status=416)


REST, TRAP = FILM[PART:], OTHER[PART:]
HERE = f"bytes {PART}-{SIZE - 1}/{SIZE}"
MULTIPART = "multipart/byteranges; boundary=x"
PARTS = b"--x\r\nContent-Range: " + HERE.encode() + b"\r\n\r\n" + TRAP + b"\r\n--x--\r\n"

HONOURED = "changed, If-Range honoured"

# What comes in place of the rest; what it brings would make a file of two objects, or of one in disorder.
INSTEAD: dict[str, Move] = {
    "200, the whole film": Act(body=FILM),
    "200, a page": Act(headers=[("Content-Type", "text/html")], body=PAGE),
    "another start": rest(f"bytes {PART + 1}-{SIZE - 1}/{SIZE}", TRAP[1:]),
    "from the beginning": rest(f"bytes 0-{SIZE - 1}/{SIZE}", OTHER),
    "another total": rest(f"bytes {PART}-{SIZE - 1}/{SIZE + 9}", TRAP),
    "a longer total": rest(f"bytes {PART}-{SIZE + 8}/{SIZE + 9}", TRAP + b"\0\0\0\x09free\0"),
    "a total that nobody knows": rest(f"bytes {PART}-{SIZE - 1}/*", TRAP),
    "another end": rest(f"bytes {PART}-{SIZE - 10}/{SIZE}", TRAP[:-9]),
    "another unit": rest(f"pages {PART}-{SIZE - 1}/{SIZE}", TRAP),
    "no Content-Range": rest("", TRAP),
    "several parts": rest("", PARTS, Content_Type=MULTIPART),
    "several parts that say to be one": rest(HERE, PARTS[: len(REST)], Content_Type=MULTIPART),
    "a page": rest(HERE, PAGE, Content_Type="text/html"),
    "compressed": rest(HERE, TRAP, Content_Encoding="gzip"),
    "more than it says": rest(HERE, REST + PAGE),
    HONOURED: cdn(OTHER, '"two"'),
    "changed, If-Range ignored": rest(HERE, TRAP, etag='"two"'),
    "changed, no ETag": rest(HERE, TRAP, etag=""),
    "changed, a weak ETag": rest(HERE, TRAP, etag='W/"one"'),
    "changed, and elsewhere": redirect("/other"),
    "416, no more": unsatisfied(""),
    "416, shorter than what is there": unsatisfied(f"bytes */{PART - 1}"),
    "416, as long as what is there": unsatisfied(f"bytes */{PART}"),
    "416, another object": unsatisfied(f"bytes */{SIZE}", '"two"'),
    **{f"{status}": Act(status=status, body=PAGE) for status in (403, 404, 429, 503)},
}


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("name", INSTEAD)
def test_what_comes_in_place_of_the_rest_never_makes_one_file_of_two(
    server: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    now = cdn(OTHER, '"two"') if name.startswith("changed") else GOOD  # what the mirror serves from then on
    saved = fetch(film(server, known, mirrors, BROKEN_OFF, INSTEAD[name], now), target, LIMITS)
    content = target.read_bytes()
    assert content in (FILM, OTHER)
    assert_whole(saved, target, content)
    assert content == FILM or name.startswith("changed")
    differs = known == "data_size and file_hash" and content == OTHER
    assert ["file_hash" in warning for warning in saved.warnings] == [True] * differs
    assert server.requests[1].headers["range"] == f"bytes={PART}-"
    # A mirror that only cannot answer now has not lost the rest; any other is asked for all of it.
    busy = name in ("429", "503")
    later = [request.headers.get("range") for request in server.requests[2:] if request.path != "/other"]
    assert later == [f"bytes={PART}-"] if busy else not any(later)
    assert len(server.requests) <= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mirrors"),
    [("another start", 3), *((name, 1) for name in INSTEAD if name not in ("200, the whole film", HONOURED))],
)
def test_a_mirror_that_never_gives_the_rest_is_left_after_a_bounded_number_of_requests(
    server: Faulty, target: Path, name: str, mirrors: int
) -> None:
    def move(request: Request) -> Act:
        return played(INSTEAD[name] if "range" in request.headers else BROKEN_OFF, request)

    server.on("/other", Act(status=404))
    with pytest.raises(MediaUnavailable if name not in ("200, a page", "more than it says") else MediaInvalid):
        fetch(film(server, "no metadata", mirrors, move, others=(move,)), target, LIMITS)
    assert not target.exists()
    assert len(server.requests) <= 2 * mirrors * 3
    assert server.sent <= 2 * mirrors * (PART + SIZE + 2 * len(PAGE))


def test_the_same_film_behind_another_redirect_is_gone_on_with(server: Faulty, target: Path) -> None:
    assert_whole(fetch(film(server, "data_size", 1, BROKEN_OFF, redirect("/same")), target, LIMITS), target)
    assert server.requests[-1].headers["range"] == f"bytes={PART}-"
    assert server.sent <= 1.1 * SIZE


AN_HOUR_AGO, NOW = formatdate(time.time() - 3600, usegmt=True), formatdate(time.time(), usegmt=True)


@crossed
@pytest.mark.parametrize(
    ("etag", "dates"),
    [
        ("", ()),
        ('W/"one"', ()),
        ("one", ()),
        ('""', ()),
        ('"a b"', ()),
        ('"\xe9"', ()),
        ("", (("Last-Modified", AN_HOUR_AGO), ("Date", NOW))),
        ('W/"one"', (("Last-Modified", AN_HOUR_AGO), ("Date", NOW))),
    ],
    ids=["none", "weak", "unquoted", "empty", "blank", "not ASCII", "date only", "weak with a date"],
)
def test_without_a_strong_etag_everything_comes_anew(
    server: Faulty, target: Path, etag: str, dates: tuple[tuple[str, str], ...], known: str, mirrors: int
) -> None:
    good = cdn(FILM, etag, *dates)
    broken = spoiled(good, cut=PART, end="reset")
    assert_whole(fetch(film(server, known, mirrors, broken, good), target, LIMITS), target)
    assert server.asked() == ["/1", "/1"]
    for request in server.requests:
        assert not {"range", "if-range"} & request.headers.keys()


@crossed
def test_when_416_says_that_nothing_is_missing_what_is_there_is_proven_and_taken(
    server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    unended = spoiled(GOOD, framing="chunked", terminated=False)
    assert_whole(fetch(film(server, known, mirrors, unended, GOOD), target, LIMITS), target)
    assert server.asked() == ["/1", "/1"]
    assert server.requests[1].headers["range"] == f"bytes={SIZE}-"
    assert server.sent <= 1.1 * SIZE


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize(("whole", "etag"), [(SIZE, '"two"'), (SIZE, 'W/"one"'), (SIZE + 1, '"one"'), (0, '"one"')])
def test_a_416_of_another_object_or_another_length_is_no_proof(
    server: Faulty, target: Path, known: str, whole: int, etag: str
) -> None:
    unended = spoiled(GOOD, framing="chunked", terminated=False)
    moves = unended, unsatisfied(f"bytes */{whole}", etag), GOOD
    assert_whole(fetch(film(server, known, 1, *moves), target, LIMITS), target)
    assert server.asked() == ["/1"] * 3


def test_a_rest_that_is_itself_cut_short_is_gone_on_with(server: Faulty, target: Path) -> None:
    short = rest(HERE, REST[:PART])
    assert_whole(fetch(film(server, "no metadata", 1, BROKEN_OFF, short, GOOD), target, LIMITS), target)
    assert server.requests[-1].headers["range"] == f"bytes={2 * PART}-"


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
def test_a_head_without_a_body_is_nothing_to_go_on_with(server: Faulty, target: Path, end: End) -> None:
    empty = breaking_off(end, spoiled(GOOD, body=b"", length=str(SIZE)))
    assert_whole(fetch(film(server, "data_size", 3, empty), target, HASTY), target)
    assert server.asked() == ["/1", "/2"]
