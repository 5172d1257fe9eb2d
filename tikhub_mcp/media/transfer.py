"""One mirror → a part file: redirects, the head of the answer, resuming, speed.

What a part holds are the bytes of one object, never of two: only the same strong ETag, the same total and the exact
range let a second connection go on where the first one broke off; otherwise it starts again.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum

import httpx

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.net.headers import parse_retry_after
from tikhub_mcp.net.transport import Network
from tikhub_mcp.storage.atomic import Part, check_room, write_all

MAX_REDIRECTS = 5
PIECE_BYTES = 2**20  # bytes that are hashed and written in one go, in a thread
MAX_CONNECTIONS_PER_MIRROR = 30  # to one mirror, however much each of them brings
_NO_VIDEO = {  # content types, and what messages call them: a CDN's own words do not belong there
    "text/html": "a web page",
    "text/": "a text",
    "image/": "a picture",
    "audio/": "sound",
    "multipart/": "a message of several parts",
    "application/json": "JSON",
    "application/xml": "XML",
    "application/xhtml": "a web page",
}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]+"')  # without what httpx cannot send back


@dataclass(frozen=True, slots=True)
class Limits:
    """Ends for what may have none. Seconds and bytes.

    Attributes:
        seconds: For one file in all, over all mirrors.
        largest: The largest file.
        header_timeout: The longest wait for the head of an answer, however it comes; connecting is part of it.
        read_timeout: The longest wait for the next byte.
        slow_bytes: At least this much must come in `slow_seconds`.
        pause: Between the first round of the mirrors and the second, and before a beginning is given up.
        longest_pause: The most that a mirror's Retry-After can ask for.
    """

    seconds: float = 1800.0
    largest: int = 4 * 2**30
    header_timeout: float = 10.0
    read_timeout: float = 10.0
    slow_bytes: int = 5 * 1024
    slow_seconds: float = 5.0
    pause: float = 1.0
    longest_pause: float = 20.0

    def pause_for(self, asked: float | None) -> float:
        """Seconds to wait before a mirror is asked again: what it asked for, as far as that goes."""
        return min(asked or self.pause, self.longest_pause)


class _Broken(Exception):
    """The connection ended before the object did, or brought another one; a further connection may mend it.

    `pause` is how many seconds the mirror asked to wait for that.
    """

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class _Head(Enum):
    """What the head of an answer announces."""

    WHOLE_OBJECT = "its body is the object, from the first byte"
    REST_OF_OBJECT = "its body goes on where the part file ends"
    NOTHING_MISSING = "the part file is the object already"


class Transfer:
    """The bytes of one object, on their way from one mirror into a part file.

    Args:
        network: What opens connections.
        limits: The ends.
        part: Where the bytes go.
        known: The size that TikHub's answer gives, or None.
        progress: Told how many bytes there are.

    Attributes:
        received: How many bytes there are.
        expected_size: The size that the mirror gave, or None.
    """

    def __init__(
        self, network: Network, limits: Limits, part: Part, known: int | None, progress: Callable[[int], None]
    ) -> None:
        self._network = network
        self._limits = limits
        self._part = part
        self._known = known
        self._progress = progress
        self.received = 0
        self.expected_size: int | None = None
        self._etag = self._source = ""
        self._waiting = bytearray()
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    async def receive(self, url: str, headers: Mapping[str, str]) -> None:
        """Take the whole object in, over as many connections as it takes while they bring something new.

        Raises:
            MediaUnavailable: The mirror refuses, breaks off or is too slow.
            MediaInvalid: What it sends is no video, or not of the size promised.
            TooLarge, DiskFull: No mirror can mend it.
            OSError: The part file cannot be written.
        """
        best, no_progress = 0, False
        for _ in range(MAX_CONNECTIONS_PER_MIRROR):
            try:
                await self._connect(url, headers)
                return await self._flush()
            except _Broken as failure:
                broken = failure
            if self.received > best:
                best, no_progress = self.received, False
            elif no_progress or not (self._etag and self.received):  # nothing new came: the other mirrors first
                break
            else:  # they would have to begin anew; so once more here, for what is there already
                no_progress = True
                await asyncio.sleep(self._limits.pause_for(broken.pause))
        raise MediaUnavailable(f"the connection failed ({broken})")

    @property
    def sha256(self) -> str:
        """Of all bytes received."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """Of all bytes received."""
        return self._md5.hexdigest()

    async def _connect(self, url: str, headers: Mapping[str, str]) -> None:
        """One connection, or one for each hop of a redirect."""
        if self._etag:  # go on at the very address that served the beginning
            url, headers = self._source, {**headers, "Range": f"bytes={self.received}-", "If-Range": self._etag}
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with AsyncExitStack() as opened:
                    response = await self._open(opened, url, headers)
                    if not response.is_redirect:
                        if self._read_head(url, response) is _Head.NOTHING_MISSING:
                            return None
                        return await self._take(response)
                    url = _next_hop(httpx.URL(url), response, sized=self._known is not None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Broken(type(error).__name__) from None
        raise MediaUnavailable(f"it redirects more than {MAX_REDIRECTS} times")

    async def _open(self, opened: AsyncExitStack, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """Wait for the head of an answer: by the limit of silence alone it could drip in for hours."""
        try:
            async with asyncio.timeout(self._limits.header_timeout):
                answer = self._network.get(url, headers, public_only=True, read_timeout=self._limits.read_timeout)
                return await opened.enter_async_context(answer)
        except TimeoutError:
            raise _Broken(f"no answer within {self._limits.header_timeout:g} s") from None

    def _read_head(self, url: str, response: httpx.Response) -> _Head:
        """Hold the head of an answer against what is there already.

        Raises:
            _Broken: It is busy, or brings another object; what was there is kept, or forgotten.
            MediaUnavailable, MediaInvalid, TooLarge, DiskFull: It is no answer to take a body from.
        """
        if self._etag:
            if response.status_code == 206:
                return self._read_range(response)
            if response.status_code == 416:
                return self._read_unsatisfied_range(response)
            if _is_busy(response):
                raise _Broken(_said(response), parse_retry_after(response.headers.get("retry-after")))
        self._start_over()
        if response.status_code != 200:
            refusal = MediaUnavailable(
                _said(response), retry_after=parse_retry_after(response.headers.get("retry-after"))
            )
            refusal.busy = _is_busy(response)
            raise refusal
        self.expected_size = _check_head(response, self._known)
        check_room(self.expected_size, self._part.target, self._limits.largest)
        etag = response.headers.get("etag", "")
        self._etag, self._source = etag if _STRONG_ETAG.fullmatch(etag) else "", url
        return _Head.WHOLE_OBJECT

    def _read_range(self, response: httpx.Response) -> _Head:
        """The head of a 206: the rest of the same object, or else that object is given up."""
        headers, total = response.headers, self.expected_size or self._known
        range_ = _RANGE.fullmatch(headers.get("content-range", ""))
        if range_ and headers.get("etag") == self._etag and not _why_no_video(headers):
            first, last, size = map(int, range_.groups())
            if first == self.received and last == size - 1 and total in (None, size):
                self.expected_size = size
                return _Head.REST_OF_OBJECT
        raise self._another_object()

    def _read_unsatisfied_range(self, response: httpx.Response) -> _Head:
        """The head of a 416: nothing is missing, or else the object is given up."""
        headers, total = response.headers, self.expected_size or self._known
        same = headers.get("etag", self._etag) == self._etag  # only a 206 has to name the object
        if same and headers.get("content-range", "") == f"bytes */{self.received}" and total in (None, self.received):
            return _Head.NOTHING_MISSING
        raise self._another_object()

    def _another_object(self) -> _Broken:
        self._start_over()
        return _Broken("another object came in the place of the rest")

    async def _take(self, response: httpx.Response) -> None:
        """Take a body in, not faster than the disk, not slower than the limit, and not more than promised."""
        expected = self.expected_size or self._known
        most = min(expected or self._limits.largest, self._limits.largest)
        window, before = time.monotonic(), self.received
        async for chunk in response.aiter_raw():
            self._waiting += chunk
            self.received += len(chunk)
            if self.received > most:
                if expected is None:
                    raise TooLarge(f"The file is larger than {self._limits.largest:,} bytes (TIKHUB_MAX_BYTES).")
                raise MediaInvalid(f"more came than the {most:,} bytes promised")
            if len(self._waiting) >= PIECE_BYTES:
                await self._flush()
            self._progress(self.received)
            if (now := time.monotonic()) - window >= self._limits.slow_seconds:
                if self.received - before < self._limits.slow_bytes:
                    raise MediaUnavailable("it sends less than 1 KiB a second")
                window, before = now, self.received
        if expected is not None and self.received < expected:
            raise _Broken("the body ended early")

    async def _flush(self) -> None:
        """Hash and write what waits, off the event loop, so that a slow disk holds up no timeout."""
        piece, self._waiting = bytes(self._waiting), bytearray()
        await in_thread(self._put, piece)

    def _put(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._md5.update(piece)
        write_all(self._part.file, piece)

    def _start_over(self) -> None:
        """Forget the bytes that came, in the part file as well."""
        self._part.file.seek(0)
        self._part.file.truncate()
        self.received, self.expected_size = 0, None
        self._etag = self._source = ""
        self._waiting = bytearray()
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)


def _said(response: httpx.Response) -> str:
    return f"the CDN answered HTTP {response.status_code}"


def _is_busy(response: httpx.Response) -> bool:
    return response.status_code == 429 or response.status_code >= 500


def _next_hop(url: httpx.URL, response: httpx.Response, *, sized: bool) -> str:
    try:
        target = url.join(response.headers.get("location", ""))
        nowhere = target.scheme not in ("https", "http") or not target.host or target == url
    except (httpx.InvalidURL, UnicodeError):  # httpx decodes a name only when asked for it
        nowhere = True
    if nowhere:
        raise MediaUnavailable("it redirects to nowhere")
    if url.scheme == "https" and target.scheme == "http" and not sized:
        # Douyin really serves plain http links; without a size to hold it to, anything could come that way.
        raise MediaUnavailable("it redirects from https to http, and the size of the file is not known")
    return str(target)


def _why_no_video(headers: Mapping[str, str]) -> str:
    """Why a body with these headers is not the bytes of a video as they are; "" where nothing speaks against it."""
    kind = headers.get("content-type", "").lower()
    if (what := next((what for start, what in _NO_VIDEO.items() if kind.startswith(start)), None)) is not None:
        return f"the CDN sent {what} instead of a video"
    plain = headers.get("content-encoding", "identity").lower() in ("", "identity")
    return "" if plain else "the CDN sent it compressed, against the request"


def _check_head(response: httpx.Response, known: int | None) -> int | None:
    """The size that the response promises; anything that is not the answer of a whole video is refused."""
    if why := _why_no_video(response.headers):
        raise MediaInvalid(why)
    length = response.headers.get("content-length")
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise MediaInvalid("the CDN sent a Content-Length that is no length")
    if known not in (None, int(length)):
        raise MediaInvalid(f"the CDN promised {int(length):,} bytes, and TikHub's answer {known:,} bytes")
    return int(length)
