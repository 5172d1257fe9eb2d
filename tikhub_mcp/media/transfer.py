"""Transfer of one file from one mirror into a part file: redirects, response headers, resumption, minimum speed.

A part file never mixes the bytes of two different objects. A new connection resumes where the previous one broke off
only if the strong ETag, the total size and the range match exactly; otherwise the transfer starts over.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum

import httpx

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media.digests import PIECE_BYTES, Digests
from tikhub_mcp.net.retry_after import parse_retry_after
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.renditions import FileKind
from tikhub_mcp.storage.atomic import Part, check_room, write_all

MAX_REDIRECTS = 5
MAX_CONNECTIONS_PER_MIRROR = 30  # for one file, even if each of them makes progress
_CONTENT_NAMES = {  # prefixes of content types, and their names in messages, which must not quote the CDN
    "text/html": "a web page",
    "text/": "a text",
    "image/": "a picture",
    "audio/": "sound",
    "video/": "a video",
    "multipart/": "a message of several parts",
    "application/json": "JSON",
    "application/xml": "XML",
    "application/xhtml": "a web page",
}
_EXPECTED: dict[FileKind, tuple[str, tuple[str, ...]]] = {  # the name of a kind, and the named types that it may have
    "video": ("a video", ("video/",)),
    "picture": ("a picture", ("image/",)),
    "cover": ("a picture", ("image/",)),
    "clip": ("a video", ("video/", "audio/")),
    "sound": ("music", ("audio/", "video/")),
    "caption": ("captions", tuple(_CONTENT_NAMES)),  # their first line tells
}
MAX_KIND_BYTES: dict[FileKind, int] = {"picture": 64 << 20, "cover": 64 << 20, "sound": 256 << 20, "caption": 1 << 20}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]+"')  # only characters that httpx can send in If-Range
REFERERS: dict[Platform, str] = {"tiktok": "https://www.tiktok.com/", "douyin": "https://www.douyin.com/"}


def cdn_headers(platform: Platform) -> dict[str, str]:
    """The headers of a request for a media file, beside those that `net.transport` adds to every request."""
    return {"Referer": REFERERS[platform]}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a download, in seconds and bytes.

    Attributes:
        seconds: Total time for one file, over all mirrors.
        largest: Maximum size of a file.
        header_timeout: Maximum time to connect and receive the complete response headers.
        read_timeout: Maximum time between two bytes.
        slow_bytes: Minimum number of bytes in each period of `slow_seconds`.
        slow_seconds: The period over which the speed is measured.
        pause: Wait before a mirror is tried again, if it does not ask for another one.
        longest_pause: Maximum wait that a mirror's Retry-After can ask for.
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
        """Return the seconds to wait before a mirror is tried again; `asked` is its Retry-After."""
        return min(asked or self.pause, self.longest_pause)


class _Broken(Exception):
    """The connection ended early or served another object; a new connection may succeed.

    `pause` is the mirror's Retry-After in seconds, or None.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _Head(Enum):
    """What a response contains, according to its status and headers."""

    WHOLE_OBJECT = "the body is the whole object"
    REST_OF_OBJECT = "the body resumes where the part file ends"
    NOTHING_MISSING = "the part file is already complete"


class Transfer:
    """The transfer of one object from one mirror into a part file.

    Args:
        network: Sends the requests.
        limits: The limits of time, size and speed.
        part: The part file.
        known: The size in bytes according to TikHub's answer, or None.
        progress: Called with the number of bytes received; what it raises ends the transfer.
        kind: What the object has to be.
        md5: Whether the MD5 is wanted, to compare it with one in TikHub's answer.

    Attributes:
        digests: The hashes of the bytes received and written.
        received: The number of bytes received.
        expected_size: The size in bytes according to the mirror, or None.
    """

    def __init__(
        self,
        network: Network,
        limits: Limits,
        part: Part,
        known: int | None,
        progress: Callable[[int], None],
        *,
        kind: FileKind = "video",
        md5: bool,
    ) -> None:
        self._network = network
        self._limits = limits
        self._part = part
        self._known = known
        self._progress = progress
        self._kind = kind
        self._largest = min(limits.largest, MAX_KIND_BYTES.get(kind, limits.largest))
        self.received = 0
        self.expected_size: int | None = None
        self._etag = self._source = ""
        self._pending = bytearray()
        self._wants_md5 = md5
        self.digests = Digests(md5)

    async def receive(self, url: str, headers: Mapping[str, str]) -> None:
        """Receive the whole object, over several connections as long as they make progress.

        What came last is to be written by `flush`.

        Raises:
            MediaUnavailable: The mirror refuses, breaks off or is too slow.
            MediaInvalid: The mirror sends another kind of file, or not as many bytes as expected.
            TooLarge, DiskFull: Another mirror would not help.
            OSError: The part file cannot be written.
        """
        best, no_progress = 0, False
        for _ in range(MAX_CONNECTIONS_PER_MIRROR):
            try:
                return await self._connect(url, headers)
            except _Broken as failure:
                broken = failure
            if self.received > best:
                best, no_progress = self.received, False
            elif no_progress or not (self._etag and self.received):  # no progress: try the other mirrors first
                break
            else:  # another mirror would start from zero, so this one is tried once more
                no_progress = True
                await asyncio.sleep(self._limits.pause_for(broken.pause))
        raise MediaUnavailable(f"the connection failed ({broken})")

    async def _connect(self, url: str, headers: Mapping[str, str]) -> None:
        """Send one request, follow its redirects and receive the body."""
        if self._etag:  # resume at the URL that served the first part
            url, headers = self._source, {**headers, "Range": f"bytes={self.received}-", "If-Range": self._etag}
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with AsyncExitStack() as opened:
                    response = await self._open(opened, url, headers)
                    if not response.is_redirect:
                        if self._read_head(url, response) is _Head.NOTHING_MISSING:
                            return None
                        return await self._receive_body(response)
                    url = _next_hop(httpx.URL(url), response, sized=self._known is not None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Broken(type(error).__name__) from None
        raise MediaUnavailable(f"it redirects more than {MAX_REDIRECTS} times")

    async def _open(self, opened: AsyncExitStack, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """Wait for the response headers; `read_timeout` alone would allow one byte at a time for hours."""
        try:
            async with asyncio.timeout(self._limits.header_timeout):
                response = self._network.get(url, headers, public_only=True, read_timeout=self._limits.read_timeout)
                return await opened.enter_async_context(response)
        except TimeoutError:
            raise _Broken(f"no answer within {self._limits.header_timeout:g} s") from None

    def _read_head(self, url: str, response: httpx.Response) -> _Head:
        """Compare the status and headers of a response with the bytes received so far.

        Raises:
            _Broken: The mirror is busy (the bytes are retained), or serves another object (they are discarded).
            MediaUnavailable, MediaInvalid, TooLarge, DiskFull: The body cannot be used.
        """
        if self._etag:
            if response.status_code == 206:
                return self._read_range(response)
            if response.status_code == 416:
                return self._read_unsatisfied_range(response)
            if _is_busy(response):
                raise _Broken(_status(response), parse_retry_after(response.headers.get("retry-after")))
        self._start_over()
        if response.status_code != 200:
            refusal = MediaUnavailable(
                _status(response), retry_after=parse_retry_after(response.headers.get("retry-after"))
            )
            refusal.busy = _is_busy(response)
            raise refusal
        self.expected_size = _check_head(response, self._known, self._kind)
        if (self.expected_size or 0) > self._largest < self._limits.largest:
            raise self._too_large()
        if self._known is None:  # otherwise it was checked before
            check_room(self.expected_size, self._part.target, self._limits.largest)
        etag = response.headers.get("etag", "")
        self._etag, self._source = etag if _STRONG_ETAG.fullmatch(etag) else "", url
        return _Head.WHOLE_OBJECT

    def _read_range(self, response: httpx.Response) -> _Head:
        """Check that a 206 response has the rest of the same object; otherwise start over."""
        headers, total = response.headers, self.expected_size or self._known
        range_ = _RANGE.fullmatch(headers.get("content-range", ""))
        if range_ and headers.get("etag") == self._etag and not _why_refused(headers, self._kind):
            first, last, size = map(int, range_.groups())
            if first == self.received and last == size - 1 and total in (None, size):
                self.expected_size = size
                return _Head.REST_OF_OBJECT
        raise self._another_object()

    def _read_unsatisfied_range(self, response: httpx.Response) -> _Head:
        """Check that a 416 response means that nothing is missing; otherwise start over."""
        headers, total = response.headers, self.expected_size or self._known
        same = headers.get("etag", self._etag) == self._etag  # unlike a 206, a 416 need not have an ETag
        if same and headers.get("content-range", "") == f"bytes */{self.received}" and total in (None, self.received):
            return _Head.NOTHING_MISSING
        raise self._another_object()

    def _another_object(self) -> _Broken:
        self._start_over()
        return _Broken("another object came in the place of the rest")

    async def _receive_body(self, response: httpx.Response) -> None:
        """Receive a body, at the speed of the disk at most, and check its size and the minimum speed."""
        expected = self.expected_size or self._known
        max_bytes = min(expected or self._largest, self._largest)
        window_start, received_before = time.monotonic(), self.received
        async for chunk in response.aiter_raw():
            self._pending += chunk
            self.received += len(chunk)
            if self.received > max_bytes:
                if expected is None or expected > max_bytes:
                    raise self._too_large()
                raise MediaInvalid(f"more came than the {max_bytes:,} bytes promised")
            if len(self._pending) >= PIECE_BYTES:
                await in_thread(self.flush)  # so that a slow disk does not delay timeouts
            self._progress(self.received)
            if (now := time.monotonic()) - window_start >= self._limits.slow_seconds:
                if self.received - received_before < self._limits.slow_bytes:
                    raise MediaUnavailable("it sends less than 1 KiB a second")
                window_start, received_before = now, self.received
        if expected is not None and self.received < expected:
            raise _Broken("the body ended early")

    def _too_large(self) -> MediaInvalid | TooLarge:
        if self._largest < self._limits.largest:
            return MediaInvalid(f"it has more than the {self._largest:,} bytes of {_EXPECTED[self._kind][0]}")
        return TooLarge(f"The file is larger than {self._largest:,} bytes (TIKHUB_MAX_BYTES).")

    def flush(self) -> None:
        """Hash and write the bytes that are pending.

        Raises:
            OSError: The part file cannot be written.
        """
        piece, self._pending = bytes(self._pending), bytearray()
        self.digests.add(piece)
        write_all(self._part.file, piece)

    def _start_over(self) -> None:
        """Discard the bytes received so far, also in the part file."""
        self.expected_size = None
        self._etag = self._source = ""
        if self.received:
            self._part.file.seek(0)
            self._part.file.truncate()
            self.received, self._pending = 0, bytearray()
            self.digests = Digests(self._wants_md5)


def _status(response: httpx.Response) -> str:
    return f"the CDN answered HTTP {response.status_code}"


def _is_busy(response: httpx.Response) -> bool:
    return response.status_code == 429 or response.status_code >= 500


def _next_hop(url: httpx.URL, response: httpx.Response, *, sized: bool) -> str:
    try:
        target = url.join(response.headers.get("location", ""))
        invalid = target.scheme not in ("https", "http") or not target.host or target == url
    except (httpx.InvalidURL, UnicodeError):  # `target.host` decodes the host name, which may fail
        invalid = True
    if invalid:
        raise MediaUnavailable("it redirects to nowhere")
    if url.scheme == "https" and target.scheme == "http" and not sized:
        # Douyin does serve plain http links; without a size to check, the content could be replaced on the way.
        raise MediaUnavailable("it redirects from https to http, and the size of the file is not known")
    return str(target)


def _why_refused(headers: Mapping[str, str], kind: FileKind) -> str:
    """Return why a body with these headers is not an unencoded file of a kind; "" if the headers allow one."""
    content_type = headers.get("content-type", "").lower()
    prefix = next(filter(content_type.startswith, _CONTENT_NAMES), None)
    expected, allowed = _EXPECTED[kind]
    if prefix is not None and prefix not in allowed:
        return f"the CDN sent {_CONTENT_NAMES[prefix]} instead of {expected}"
    plain = headers.get("content-encoding", "identity").lower() in ("", "identity")
    return "" if plain else "the CDN sent it compressed, against the request"


def _check_head(response: httpx.Response, known: int | None, kind: FileKind) -> int | None:
    """Return the size in bytes according to the headers of a 200 response, or None if they do not give it.

    Raises:
        MediaInvalid: The body is not of the kind, or not of the `known` size.
    """
    if reason := _why_refused(response.headers, kind):
        raise MediaInvalid(reason)
    length = response.headers.get("content-length")
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise MediaInvalid("the CDN sent a Content-Length that is no length")
    if known not in (None, int(length)):
        raise MediaInvalid(f"the CDN promised {int(length):,} bytes, and TikHub's answer {known:,} bytes")
    return int(length)
