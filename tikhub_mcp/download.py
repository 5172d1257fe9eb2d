"""A rendition → a verified file: mirrors in turn, a part file, limits, proof, and only then the name.

No exception of httpx or the system leaves it.
"""

import asyncio
import hashlib
import re
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx

from tikhub_mcp.errors import DiskFull, FileError, MediaInvalid, MediaUnavailable, NotWritable, TooLarge
from tikhub_mcp.files import Part, os_errors
from tikhub_mcp.links import Platform
from tikhub_mcp.mp4 import Media, inspect
from tikhub_mcp.network import Network
from tikhub_mcp.post import Rendition

P = ParamSpec("P")
R = TypeVar("R")

REFERERS: dict[Platform, str] = {"tiktok": "https://www.tiktok.com/", "douyin": "https://www.douyin.com/"}
LONGEST_REDIRECTS = 5
PIECE = 2**20  # bytes that are hashed and written in one go, in a thread
_NO_VIDEO = ("text/", "image/", "audio/", "application/json", "application/xml", "application/xhtml")
_UNSIZED = "nobody said how large the file is, so its size is not confirmed"
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Ends for what may have none. Seconds and bytes.

    Attributes:
        seconds: For one file in all, over all mirrors.
        largest: The largest file.
        silence: The longest wait for the next byte.
        slow_bytes: At least this much must come in `slow_seconds`.
        pause: Between the first round of the mirrors and the second.
    """

    seconds: float = 1800.0
    largest: int = 4 * 2**30
    silence: float = 10.0
    slow_bytes: int = 5 * 1024
    slow_seconds: float = 5.0
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that is complete, checked and under its name."""

    path: Path
    size: int
    sha256: str
    media: Media
    reused: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Transfer:
    """The bytes of one attempt, on their way to the part file."""

    part: Part
    progress: Callable[[int], None]
    got: int = 0
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    md5: "hashlib._Hash" = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    _waiting: bytearray = field(default_factory=bytearray)

    async def add(self, chunk: bytes) -> None:
        self.got += len(chunk)
        self._waiting += chunk
        if len(self._waiting) >= PIECE:
            await self.flush()
        self.progress(self.got)

    async def flush(self) -> None:
        """Hash and write what waits, off the event loop, so that a slow disk holds up no timeout."""
        piece, self._waiting = bytes(self._waiting), bytearray()
        await in_thread(self._put, piece)

    def _put(self, piece: bytes) -> None:
        self.sha256.update(piece)
        self.md5.update(piece)
        view = memoryview(piece)
        while view:
            view = view[self.part.file.write(view) :]


class Downloader:
    """Fetches files; one for the process."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network = network
        self._limits = limits

    async def fetch(self, file: Rendition, platform: Platform, target: Path, progress: Callable[[int], None]) -> Saved:
        """Download one file under its final name, whole and proven, or not at all.

        Args:
            file: What to fetch, and what is known of it.
            platform: Whose Referer the CDN wants to see.
            target: The final name, in a folder that exists.
            progress: Told how many bytes of the current attempt are there.

        Raises:
            MediaUnavailable: Every mirror refused, twice, or the time ran out.
            MediaInvalid: What came, from the last mirror that sent anything, is not the video.
            TooLarge, DiskFull, NotWritable: No mirror can mend it.
        """
        _check_target(target)
        _check_room(file.size, target, self._limits.largest)
        headers = {"Referer": REFERERS[platform]}
        failures: list[FileError] = []
        try:
            async with asyncio.timeout(self._limits.seconds):
                for round_ in range(2):
                    for url in file.urls:
                        try:
                            return await self._attempt(url, headers, file, target, progress)
                        except (MediaUnavailable, MediaInvalid) as failure:
                            failures.append(failure)
                    if round_ == 0:
                        await asyncio.sleep(self._limits.pause)
        except TimeoutError:
            failures.append(MediaUnavailable(f"the file did not arrive within {self._limits.seconds:g} s"))
        # What a mirror sent and was wrong says more than that another was silent.
        last = next((failure for failure in reversed(failures) if isinstance(failure, MediaInvalid)), failures[-1])
        tried = f"mirrors: {len(file.urls)}, attempts: {len(failures)}"
        raise type(last)(f"{target.stem} could not be downloaded ({tried}): {last.message}.") from None

    async def _attempt(
        self, url: str, headers: dict[str, str], file: Rendition, target: Path, progress: Callable[[int], None]
    ) -> Saved:
        """One mirror, from the first byte to the name."""
        with os_errors(target), Part(target) as part:
            transfer = _Transfer(part, progress)
            try:
                promised = await self._receive(url, headers, file, transfer)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise MediaUnavailable(f"the connection failed ({type(error).__name__})") from None
            await transfer.flush()
            _check_size(transfer.got, {"TikHub's answer": file.size, "the CDN": promised})
            media = await in_thread(inspect, part.path)
            if media.codec == "h266":
                raise MediaInvalid("it is coded in ByteDance's H.266, which nothing plays")
            warnings = _warnings(file, promised, transfer.md5.hexdigest())
            await in_thread(part.commit)
        return Saved(target, transfer.got, transfer.sha256.hexdigest(), media, warnings=warnings)

    async def _receive(self, url: str, headers: dict[str, str], file: Rendition, transfer: _Transfer) -> int | None:
        """Follow the redirects and take in the body; the size that the last server promised, if it did."""
        for _ in range(LONGEST_REDIRECTS + 1):
            async with self._network.get(url, headers, judged=True, silence=self._limits.silence) as response:
                if response.is_redirect:
                    url = _next_hop(httpx.URL(url), response, sized=file.size is not None)
                    continue
                promised = _check_head(response, file.size)
                _check_room(promised, transfer.part.target, self._limits.largest)
                await self._take_body(response, transfer, promised or file.size)
                return promised
        raise MediaUnavailable(f"it redirects more than {LONGEST_REDIRECTS} times")

    async def _take_body(self, response: httpx.Response, transfer: _Transfer, expected: int | None) -> None:
        most = min(expected or self._limits.largest, self._limits.largest)
        window, before = time.monotonic(), 0
        async for chunk in response.aiter_raw():
            await transfer.add(chunk)
            if transfer.got > most:
                if expected is None:
                    raise TooLarge(f"The file is larger than {self._limits.largest:,} bytes (TIKHUB_MAX_BYTES).")
                raise MediaInvalid(f"more came than the {most:,} bytes promised")
            if (now := time.monotonic()) - window >= self._limits.slow_seconds:
                if transfer.got - before < self._limits.slow_bytes:
                    raise MediaUnavailable("it sends less than 1 KiB a second")
                window, before = now, transfer.got


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run something short that blocks in a thread; a cancellation waits for its end.

    asyncio.to_thread returns at once when cancelled, while the thread goes on using a file that is then closed under
    it, its number perhaps already another file's.
    """
    task = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled once more meanwhile: that changes nothing
                await asyncio.wait([task])
        raise


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


def _check_head(response: httpx.Response, known: int | None) -> int | None:
    """The size that the response promises; anything that is not the answer of a whole video is refused."""
    if response.status_code != 200:
        raise MediaUnavailable(f"the CDN answered HTTP {response.status_code}")
    kind = response.headers.get("content-type", "").lower()
    if kind.startswith(_NO_VIDEO):
        raise MediaInvalid(f"the CDN sent {kind.partition(';')[0][:40]!r} instead of a video")
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MediaInvalid("the CDN sent it compressed, against the request")
    length = response.headers.get("content-length")
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise MediaInvalid("the CDN sent a Content-Length that is no length")
    if known not in (None, int(length)):
        raise MediaInvalid(f"the CDN promised {int(length):,} bytes, TikHub's answer {known:,}")
    return int(length)


def _check_target(target: Path) -> None:
    """Refuse to download what could not get its name, or would take it from what is no file."""
    with os_errors(target), suppress(FileNotFoundError):
        mode = target.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise NotWritable(f"{target.name} could not be written to {target.parent}: what is there is no file.")


def _check_room(size: int | None, target: Path, largest: int) -> None:
    if size is None:
        return
    if size > largest:
        raise TooLarge(f"The file has {size:,} bytes; more than {largest:,} (TIKHUB_MAX_BYTES) are not downloaded.")
    with os_errors(target):
        free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DiskFull(f"The disk is full: {target.name} needs {size:,} bytes, {target.parent} has {free:,} free.")


def _check_size(got: int, promises: dict[str, int | None]) -> None:
    for who, promised in promises.items():
        if promised is not None and got != promised:
            raise MediaInvalid(f"{got:,} bytes came, {who} promised {promised:,}")


def _warnings(file: Rendition, promised: int | None, md5: str) -> tuple[str, ...]:
    warnings = []
    if file.size is None and promised is None:
        warnings.append(_UNSIZED)
    if _MD5.fullmatch(file.file_hash) and file.file_hash != md5:
        warnings.append("file_hash of the answer is not the file's MD5 (that it should be is not documented)")
    return tuple(warnings)


_hashes: dict[tuple[str, int, int], str] = {}


def existing(path: Path, file: Rendition) -> Saved | None:
    """The file that is already there, when it is whole, playable and of the size that the post's file has.

    Reads all of it once; what this process has hashed before is known by path, size and time of change.
    """
    try:
        status = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return None
        media = inspect(path)
        if file.size not in (None, status.st_size) or media.codec == "h266":
            return None
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in _hashes:
            with path.open("rb") as opened:
                _hashes[known] = hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, MediaInvalid):
        return None
    warnings = (_UNSIZED,) if file.size is None else ()
    return Saved(path, status.st_size, _hashes[known], media, reused=True, warnings=warnings)
