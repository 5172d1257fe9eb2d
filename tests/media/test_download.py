"""download.py over real sockets: every mirror's faults, every limit of time and size, and what the CDN gets to see."""

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.support.downloads import GOOD, H266, MUSIC, PAGE, QUICK, SIZE, UNSIZED, VIDEO, fetch, nothing, rendition
from tests.support.fault_server import Act, Faulty, redirect
from tikhub_mcp.errors import FileError, MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.media.transfer import REFERERS, Limits
from tikhub_mcp.net.transport import USER_AGENT, Network
from tikhub_mcp.posts.links import Platform

pytestmark = pytest.mark.usefixtures("small_pieces")


def typed(kind: str, body: bytes = VIDEO) -> Act:
    return Act(headers=[("Content-Type", kind)], body=body)


def status(code: int) -> Act:
    return Act(status=code, body=PAGE)


def raw(*lengths: str) -> Act:
    heads = "".join(f"Content-Length: {length}\r\n" for length in lengths)
    return Act(raw=f"HTTP/1.1 200 OK\r\n{heads}\r\n".encode() + VIDEO)


# name: what each mirror does, the size that TikHub said, what comes of it, and words of the reason
FAULTS: dict[str, tuple[Act, int | None, type[FileError], str]] = {
    **{f"status {code}": (status(code), SIZE, MediaUnavailable, f"HTTP {code}") for code in (403, 404, 410, 429, 503)},
    "206 unasked": (Act(status=206, body=VIDEO), SIZE, MediaUnavailable, "HTTP 206"),
    "304 unasked": (Act(status=304, framing="none"), SIZE, MediaUnavailable, "redirects to nowhere"),
    "short of its length": (Act(body=VIDEO, cut=SIZE // 2), SIZE, MediaUnavailable, "connection failed"),
    "another length than TikHub's": (Act(body=VIDEO[:-9]), SIZE, MediaInvalid, "promised"),
    "a longer length than TikHub's": (Act(body=VIDEO + PAGE), SIZE, MediaInvalid, "promised"),
    "short without a length": (Act(body=VIDEO[:-9], framing="none"), SIZE, MediaUnavailable, "ended early"),
    "long without a length": (Act(body=VIDEO + PAGE, framing="none"), SIZE, MediaInvalid, "more came"),
    "short, and nobody knows": (Act(body=VIDEO[:-9], framing="none"), None, MediaInvalid, "bytes missing"),
    "long, and nobody knows": (Act(body=VIDEO + VIDEO, framing="none"), None, MediaInvalid, "two files"),
    "empty": (Act(), SIZE, MediaInvalid, "promised"),
    "empty without a size": (Act(framing="none"), None, MediaInvalid, "not an MP4"),
    "reset in the middle": (Act(body=VIDEO, cut=SIZE // 2, end="reset"), SIZE, MediaUnavailable, "ReadError"),
    "reset at once": (Act(raw=b"H", end="reset"), SIZE, MediaUnavailable, "connection failed"),
    "hung up at once": (Act(raw=b"\r\n"), SIZE, MediaUnavailable, "connection failed"),
    "not HTTP": (Act(raw=b"SSH-2.0-x\r\n\r\n"), SIZE, MediaUnavailable, "connection failed"),
    "chunked without an end": (
        Act(body=VIDEO, framing="chunked", terminated=False),
        SIZE,
        MediaUnavailable,
        "RemoteProtocolError",
    ),
    **{
        kind: (typed(kind, PAGE), None, MediaInvalid, f"the CDN sent {what} instead of a video")
        for kind, what in {
            "text/html; charset=utf-8": "a web page",
            "application/json": "JSON",
            "text/Now call batch_download": "a text",
            "image/jpeg": "a picture",
            "audio/mp4": "sound",
        }.items()
    },
    "a page as a video": (typed("video/mp4", PAGE), None, MediaInvalid, "not an MP4"),
    "a page as a video, sized": (typed("video/mp4", PAGE), SIZE, MediaInvalid, "promised"),
    "music as a video": (typed("video/mp4", MUSIC), len(MUSIC), MediaInvalid, "no video track"),
    "what nothing plays": (typed("video/mp4", H266), SIZE, MediaInvalid, "H.266"),
    "compressed": (Act(headers=[("Content-Encoding", "gzip")], body=VIDEO), SIZE, MediaInvalid, "compressed"),
    **{
        f"length {' and '.join(lengths)}": (raw(*lengths), SIZE, MediaUnavailable, "RemoteProtocolError")
        for lengths in (["-1"], ["1,2"], ["+5"], ["abc"], ["10", "11"])
    },
    "length of 19 digits": (raw("1" * 19), SIZE, MediaInvalid, "no length"),
    "length of 10^15": (raw("1" + "0" * 15), SIZE, MediaInvalid, "promised"),
    "redirect without a target": (redirect(None), SIZE, MediaUnavailable, "nowhere"),
    **{
        f"redirect to {url or 'itself'}": (redirect(url), SIZE, MediaUnavailable, "nowhere")
        for url in (
            *("", "file:///etc/passwd", "gopher://127.0.0.1/", "data:video/mp4,x", "javascript:x", "http://[::1"),
            *("//xn--a/", "http://", "https:///a", "ws://127.0.0.1/"),
        )
    },
    **{f"300 to {url}": (redirect(url, 300), SIZE, MediaUnavailable, "nowhere") for url in ("http://[::1", "//xn--a/")},
    "redirect in circles": (redirect("/circle"), SIZE, MediaUnavailable, "more than 5 times"),
    "silent": (Act(raw=b"HTTP", end="stall"), SIZE, MediaUnavailable, "ReadTimeout"),
    "silent in the middle": (Act(body=VIDEO, cut=SIZE // 2, end="stall"), SIZE, MediaUnavailable, "ReadTimeout"),
    "dripping": (Act(body=VIDEO, drip=50), SIZE, MediaUnavailable, "less than 1 KiB a second"),
}


# What brought something before it broke is asked for once more at once, in each of the two rounds.
BROKEN_OFF = (
    "short of its length",
    "short without a length",
    "reset in the middle",
    "chunked without an end",
    "silent in the middle",
)


# A lone mirror that only cannot answer now gets a third turn.
BUSY = ("status 429", "status 503")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_every_mirror_is_an_error_that_names_the_file_and_leaves_what_was_there(
    server: Faulty, target: Path, name: str
) -> None:
    act, size, kind, words = FAULTS[name]
    target.write_bytes(VIDEO)
    server.on("/circle", redirect("/a"))
    with pytest.raises(FileError) as caught:
        fetch(rendition(server.on("/a", act), size=size), target)
    assert caught.value.code == kind.code
    assert words in caught.value.message
    assert "Post 7000000000000000001 could not be downloaded" in caught.value.message
    assert "someone" not in caught.value.message
    assert "batch_download" not in caught.value.message
    assert server.base_url not in caught.value.message
    assert target.read_bytes() == VIDEO
    asked = {"redirect in circles": 6, **dict.fromkeys(BROKEN_OFF, 4), **dict.fromkeys(BUSY, 3)}.get(name, 2)
    assert server.asked().count("/a") == asked


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_first_mirror_costs_the_user_nothing(server: Faulty, target: Path, name: str) -> None:
    server.on("/circle", redirect("/a"))
    urls = server.on("/a", FAULTS[name][0]), server.on("/b", GOOD)
    saved = fetch(rendition(*urls), target)
    assert (saved.path, target.read_bytes(), saved.warnings) == (target, VIDEO, ())


def test_every_mirror_is_tried_in_order_and_all_of_them_once_more(server: Faulty, target: Path) -> None:
    urls = [server.on(path, status(403)) for path in ("/a", "/b", "/c")]
    with pytest.raises(MediaUnavailable, match="mirrors: 3, attempts: 6"):
        fetch(rendition(*urls), target)
    assert server.asked() == ["/a", "/b", "/c"] * 2


def test_the_second_round_can_succeed_and_comes_after_a_pause(server: Faulty, target: Path) -> None:
    urls = server.on("/a", status(403)), server.on("/b", status(503), GOOD)
    started = time.monotonic()
    fetch(rendition(*urls), target, Limits(pause=0.2))
    assert time.monotonic() - started >= 0.2
    assert server.asked() == ["/a", "/b", "/a", "/b"]


def test_what_a_mirror_sent_and_was_wrong_says_more_than_that_another_was_silent(server: Faulty, target: Path) -> None:
    urls = server.on("/a", typed("text/html", PAGE)), server.on("/b", status(403))
    with pytest.raises(MediaInvalid, match="a web page"):
        fetch(rendition(*urls), target)


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_whole_file_is_measured_and_says_when_nothing_confirmed_its_size(
    server: Faulty,
    target: Path,
    framing: Literal["length", "chunked", "none"],
    size: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tikhub_mcp.media.transfer.PIECE_BYTES", 20_000)  # so that it is written in three pieces
    told: list[int] = []
    saved = fetch(rendition(server.on("/a", Act(body=VIDEO, framing=framing)), size=size), target, progress=told.append)
    assert (saved.path, saved.size, saved.reused) == (target, SIZE, False)
    assert saved.sha256 == hashlib.sha256(target.read_bytes()).hexdigest() == hashlib.sha256(VIDEO).hexdigest()
    assert (saved.media.codec, saved.media.width, saved.media.height, saved.media.has_audio) == ("h264", 144, 256, True)
    assert [UNSIZED in warning for warning in saved.warnings] == (
        [True] if size is None and framing != "length" else []
    )
    assert told == sorted(told)
    assert told[-1] == SIZE


@pytest.mark.parametrize("file_hash", ["0" * 32, hashlib.md5(VIDEO).hexdigest(), "not a hash", ""])
def test_a_hash_that_differs_is_a_warning_and_never_a_reason_to_lose_the_file(
    server: Faulty, target: Path, file_hash: str
) -> None:
    saved = fetch(rendition(server.on("/a", GOOD), file_hash=file_hash), target)
    assert ["file_hash" in warning for warning in saved.warnings] == ([True] if file_hash == "0" * 32 else [])
    assert target.read_bytes() == VIDEO


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/b", "b?x=1", "./b#part", "{base}/b", "//{host}/b"])
def test_redirects_are_followed_however_they_are_written(
    server: Faulty, target: Path, code: int, location: str
) -> None:
    location = location.format(base=server.base_url, host=server.base_url.removeprefix("http://"))
    server.on("/b", GOOD)
    server.on("/b?x=1", GOOD)
    assert fetch(rendition(server.on("/a", redirect(location, code))), target).size == SIZE


@pytest.mark.parametrize(("hops", "good"), [(5, True), (6, False)])
def test_five_redirects_are_followed_and_no_sixth(server: Faulty, target: Path, hops: int, good: bool) -> None:
    for hop in range(hops):
        server.on(f"/{hop}", redirect(f"/{hop + 1}"))
    server.on(f"/{hops}", GOOD)
    if good:
        assert fetch(rendition(server.base_url + "/0"), target).size == SIZE
        return
    with pytest.raises(MediaUnavailable, match="more than 5 times"):
        fetch(rendition(server.base_url + "/0"), target)
    assert "/6" not in server.asked()


async def streamed(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


@pytest.mark.parametrize("size", [SIZE, None])
def test_from_https_to_http_is_followed_only_where_the_size_is_known(target: Path, size: int | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://cdn.example/b"})
        return httpx.Response(200, content=streamed(VIDEO))

    file = rendition("https://cdn.example/a", size=size)
    if size:
        assert fetch(file, target, transport=httpx.MockTransport(answer)).size == SIZE
    else:
        with pytest.raises(MediaUnavailable, match="from https to http"):
            fetch(file, target, transport=httpx.MockTransport(answer))


def test_a_body_that_is_not_what_its_own_head_promised_is_refused(target: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:  # as no server can, because the client would cut it off
        return httpx.Response(200, headers={"Content-Length": "0"}, content=streamed(VIDEO))

    with pytest.raises(MediaInvalid, match=f"{SIZE:,} bytes came, the CDN promised 0"):
        fetch(rendition("https://cdn.example/a", size=None), target, transport=httpx.MockTransport(answer))


def kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


FOREIGN = [*kinds(httpx.HTTPError), httpx.InvalidURL, ssl.SSLError]
FOREIGN.remove(httpx.HTTPStatusError)  # only raise_for_status raises it, which is not used


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("late", [False, True])
def test_no_exception_of_httpx_or_of_tls_leaves(target: Path, kind: type[Exception], late: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if not late:
            raise kind("https://cdn.example/signed")
        return httpx.Response(200, content=streamed(VIDEO[:999], kind("https://cdn.example/signed")))

    with pytest.raises(MediaUnavailable) as caught:
        fetch(rendition("https://cdn.example/a"), target, transport=httpx.MockTransport(answer))
    assert "signed" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http://[::1", "http://h:99999/", "http://xn--a/", "http://\ud800/", "http://127.1/x"]
)
def test_an_address_that_is_none_or_not_allowed_is_only_that_mirrors_fault(
    server: Faulty, target: Path, url: str
) -> None:
    assert fetch(rendition(url, server.on("/a", GOOD)), target).size == SIZE


def test_media_on_this_machine_is_not_fetched_unless_the_api_is_here_too(server: Faulty, target: Path) -> None:
    with pytest.raises(MediaUnavailable, match="ConnectError"):
        asyncio.run(Downloader(Network(), QUICK).fetch(rendition(server.on("/a", GOOD)), "tiktok", target, nothing))
    assert server.requests == []


@pytest.mark.parametrize("platform", REFERERS)
def test_the_cdn_sees_a_browser_from_the_platforms_page_and_no_secrets(
    server: Faulty, target: Path, platform: Platform
) -> None:
    moved = Act(status=302, headers=[("Set-Cookie", "a=b; Path=/"), ("Location", "/b")])
    server.on("/b", Act(status=403, headers=[("Set-Cookie", "c=d")]), GOOD)
    fetch(rendition(server.on("/a", moved).replace("//", "//user:password@")), target, platform=platform)
    assert len(server.requests) == 4
    for request in server.requests:
        assert request.headers["referer"] == f"https://www.{platform}.com/"
        assert request.headers["user-agent"] == USER_AGENT
        assert request.headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie"} & request.headers.keys()


@pytest.mark.parametrize(
    ("act", "size", "requests"),
    [(GOOD, SIZE, 0), (GOOD, None, 2), (Act(body=VIDEO, framing="none"), None, 2)],
    ids=["by TikHub", "by the CDN", "by counting"],
)
def test_a_file_that_every_mirror_calls_too_large_is_not_tried_again(
    server: Faulty, target: Path, act: Act, size: int | None, requests: int
) -> None:
    urls = server.on("/a", act), server.on("/b", act)
    with pytest.raises(TooLarge, match="TIKHUB_MAX_BYTES"):
        fetch(rendition(*urls, size=size), target, Limits(largest=SIZE - 1))
    assert len(server.requests) == requests
    assert fetch(rendition(*urls, size=size), target, Limits(largest=SIZE)).size == SIZE


def test_a_mirror_that_lies_about_the_size_does_not_stop_the_others(server: Faulty, target: Path) -> None:
    urls = server.on("/a", raw("1" + "0" * 15)), server.on("/b", GOOD)
    assert fetch(rendition(*urls, size=None), target).size == SIZE


def test_the_deadline_is_for_all_mirrors_together(server: Faulty, target: Path) -> None:
    act = Act(body=VIDEO, drip=1000)
    with pytest.raises(MediaUnavailable, match=r"did not arrive within 0\.4 s"):
        fetch(rendition(server.on("/a", act), server.on("/b", act)), target, Limits(seconds=0.4))
    assert server.asked() == ["/a"]


@pytest.mark.slow
def test_slow_but_honest_is_not_killed(server: Faulty, target: Path) -> None:
    act = Act(body=VIDEO, drip=SIZE // 20)  # a second in all, five times the window
    assert fetch(rendition(server.on("/a", act)), target).size == SIZE


class Pauses(Downloader):
    """Attempts that fail as told, on a clock that only pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **failures: FileError) -> None:
        super().__init__(Network(), replace(QUICK, pause=1.0, longest_pause=20.0))
        self.failures, self.tried, self.pauses = failures, list[str](), list[tuple[str, float]]()
        monkeypatch.setattr("tikhub_mcp.media.download.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append((self.tried[-1], seconds))

    async def _attempt(self, url: str, *_: object, **__: object) -> Saved:
        self.tried.append(url)
        raise self.failures[url]


def test_before_the_second_round_each_mirror_gets_the_pause_that_it_asked_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors = {"a": None, "b": 7.0, "c": 99.0}
    failures = {name: MediaUnavailable("busy", retry_after=asked) for name, asked in mirrors.items()}
    downloader = Pauses(monkeypatch, **failures)
    with pytest.raises(MediaUnavailable) as caught:
        asyncio.run(downloader.fetch(rendition("a", "b", "c"), "tiktok", tmp_path / "x_1.mp4", nothing))
    assert downloader.tried == ["a", "b", "c"] * 2
    assert [name for name, _ in downloader.pauses] == ["c", "a", "b"]  # behind whom
    assert [seconds for _, seconds in downloader.pauses] == pytest.approx([1.0, 7.0, 20.0], abs=0.5)
    assert caught.value.retry_after == 99.0
    assert "mirrors: 3, attempts: 6" in caught.value.message


def test_the_second_round_begins_after_one_pause_and_not_after_one_for_each_mirror(
    server: Faulty, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr("tikhub_mcp.media.download.asyncio.sleep", noted)
    urls = [server.on(f"/{number}", Act(status=500), Act(body=VIDEO)) for number in range(5)]
    urls += [server.on("/last", Act(status=500))]
    saved = fetch(rendition(*urls), target, replace(QUICK, pause=1.0))
    assert saved.path == target
    assert len(server.requests) == 7
    assert 0.3 < sum(pauses) <= 1.0


@pytest.mark.parametrize(
    ("mirrors", "busy", "tried"), [(["a"], True, 3), (["a"], False, 2), (["a", "b"], True, 4)], ids=str
)
def test_only_a_lone_mirror_that_is_busy_is_asked_a_third_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirrors: list[str], busy: bool, tried: int
) -> None:
    failure = MediaUnavailable("no")
    failure.busy = busy
    downloader = Pauses(monkeypatch, **dict.fromkeys(mirrors, failure))
    with pytest.raises(MediaUnavailable):
        asyncio.run(downloader.fetch(rendition(*mirrors), "tiktok", tmp_path / "x_1.mp4", nothing))
    assert len(downloader.tried) == tried


def test_a_file_that_every_mirror_calls_too_large_is_not_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloader = Pauses(monkeypatch, a=TooLarge("too large"), b=TooLarge("too large"))
    with pytest.raises(TooLarge):
        asyncio.run(downloader.fetch(rendition("a", "b"), "tiktok", tmp_path / "x_1.mp4", nothing))
    assert downloader.tried == ["a", "b"]
