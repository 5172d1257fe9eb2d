"""Download of one rendition: tries its mirrors, verifies the part file and renames it to its final name.

All exceptions of httpx and the operating system are converted into this package's own.
"""

import asyncio
import hashlib
import re
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import DiskFull, FileError, MediaInvalid, MediaUnavailable, NotWritable, TooLarge
from tikhub_mcp.media.mp4 import Media, inspect
from tikhub_mcp.media.transfer import PIECE_BYTES, Limits, Transfer, cdn_headers
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.post import Rendition
from tikhub_mcp.storage.atomic import Part, check_room, os_errors

_UNSIZED = "no size was given for the file, so its size is not confirmed"
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Saved:
    """A video file that is complete, verified and under its final name.

    Attributes:
        path: Where it is.
        size: In bytes.
        sha256: Of its content, in hexadecimal.
        media: What it contains.
        reused: Whether it was on disk already.
        warnings: What a caller should know about it, such as a size that could not be confirmed.
    """

    path: Path
    size: int
    sha256: str
    media: Media
    reused: bool = False
    warnings: tuple[str, ...] = ()


class Downloader:
    """Downloads video files; there is one for the process."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network = network
        self._limits = limits

    def time_is_up(self) -> float:
        """The deadline of a download that starts now, by time.monotonic()."""
        return time.monotonic() + self._limits.seconds

    async def fetch(
        self,
        file: Rendition,
        platform: Platform,
        target: Path,
        progress: Callable[[int], None],
        until: float | None = None,
    ) -> Saved:
        """Download and verify one file; `target` appears only if both succeed.

        Args:
            file: The rendition to download, with its mirrors.
            platform: The platform, whose Referer the CDN requires.
            target: The final path, in a folder that exists.
            progress: Called with the number of bytes received in the current attempt.
            until: The deadline, by time.monotonic(); by default `time_is_up()`.

        Raises:
            MediaUnavailable: Every mirror failed in every round, or the deadline passed.
            MediaInvalid: A mirror sent something that is not the expected video.
            TooLarge, DiskFull, NotWritable: Another mirror would not help.
        """
        _check_target(target)
        check_room(file.size, target, self._limits.largest)
        failures: list[FileError] = []
        try:
            async with asyncio.timeout((until or self.time_is_up()) - time.monotonic()):
                saved = await self._try_mirrors(file, platform, target, progress, failures)
                if saved is not None:
                    return saved
        except TimeoutError:
            failures.append(MediaUnavailable(f"the file did not arrive within {self._limits.seconds:g} s"))
        # Invalid content from one mirror is a more useful reason than no response from another.
        last = next((failure for failure in reversed(failures) if isinstance(failure, MediaInvalid)), failures[-1])
        tried = f"mirrors: {len(file.urls)}, attempts: {len(failures)}"
        # Only the id: the rest of the name contains the author's nickname, which is untrusted.
        post = target.name.rpartition("_")[2].partition(".")[0]
        message = f"Post {post} could not be downloaded ({tried}): {last.message.rstrip('.')}."
        raise type(last)(message, retry_after=last.retry_after) from None

    async def _try_mirrors(
        self,
        file: Rendition,
        platform: Platform,
        target: Path,
        progress: Callable[[int], None],
        failures: list[FileError],
    ) -> Saved | None:
        """Try all mirrors, in rounds; return None if every attempt failed. Adds each attempt's error to `failures`."""
        pauses: dict[str, float] = {}  # seconds to wait before a mirror is tried again
        while True:
            for url in file.urls:
                if url in pauses:
                    await asyncio.sleep(pauses[url])
                try:
                    return await self._attempt(url, cdn_headers(platform), file, target, progress)
                except (MediaUnavailable, MediaInvalid, TooLarge, DiskFull) as failure:
                    if isinstance(failure, DiskFull) and failure.__cause__:
                        raise  # the disk is full; without a cause, only the size that the mirror gave is too large
                    failures.append(failure)
                    pauses[url] = self._limits.pause_for(failure.retry_after)
            if not _is_another_round_worth_it(len(file.urls), failures):
                return None

    async def _attempt(
        self, url: str, headers: dict[str, str], file: Rendition, target: Path, progress: Callable[[int], None]
    ) -> Saved:
        """Download the file from one mirror, verify it and give it its final name."""
        needed = file.size
        try:
            with os_errors(target), Part(target) as part:
                transfer = Transfer(self._network, self._limits, part, file.size, progress)
                try:
                    await transfer.receive(url, headers)
                finally:
                    needed = needed or transfer.expected_size
                _check_size(transfer.received, {"TikHub's answer": file.size, "the CDN": transfer.expected_size})
                media = await in_thread(inspect, part.path)
                if media.codec == "h266":
                    raise MediaInvalid("it is coded in ByteDance's H.266, which nothing plays")
                warnings = _warnings(file, transfer.md5, sized=transfer.expected_size is not None)
                await in_thread(part.commit)
        except DiskFull as full:
            if full.__cause__ is None:  # found before writing; the message has the needed and the free bytes already
                raise
            raise DiskFull(f"{full.message} {_room(needed, target)}") from full.__cause__
        return Saved(target, transfer.received, transfer.sha256, media, warnings=warnings)


def _is_another_round_worth_it(mirrors: int, failures: Sequence[FileError]) -> bool:
    """Whether to try all mirrors again after rounds that ended with these failures."""
    if len(failures) == mirrors:
        # If all mirrors give a size that is too large, the size is right.
        return not all(isinstance(failure, TooLarge | DiskFull) for failure in failures)
    last = failures[-1]  # a single mirror that is busy is tried a third time
    return mirrors == 1 and len(failures) == 2 and isinstance(last, MediaUnavailable) and last.busy


def _check_target(target: Path) -> None:
    """Refuse a target that exists and is neither a file nor a symbolic link, before anything is downloaded."""
    with os_errors(target), suppress(FileNotFoundError):
        mode = target.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise NotWritable(f"The file could not be written to {target.parent}: what has its name there is no file.")


def _room(needed: int | None, target: Path) -> str:
    with suppress(OSError):
        wanted = "" if needed is None else f"The file needs {needed:,} bytes; "
        return f"{wanted}{shutil.disk_usage(target.parent).free:,} are free."
    return ""


def _check_size(received: int, expected_sizes: dict[str, int | None]) -> None:
    for source, expected in expected_sizes.items():
        if expected is not None and received != expected:
            raise MediaInvalid(f"{received:,} bytes came, {source} promised {expected:,}")


def _warnings(file: Rendition, md5: str, *, sized: bool) -> tuple[str, ...]:
    """The warnings about a valid file; `sized` tells whether its size was confirmed by a mirror."""
    warnings = []
    if file.size is None and not sized:
        warnings.append(_UNSIZED)
    if _MD5.fullmatch(file.file_hash) and file.file_hash != md5:
        warnings.append("file_hash of the answer is not the file's MD5 (that it should be is not documented)")
    return tuple(warnings)


# Results of `existing` by path, size in bytes and modification time in nanoseconds: media, SHA-256, MD5.
_inspected: dict[tuple[str, int, int], tuple[Media, str, str]] = {}


def existing(path: Path, file: Rendition) -> Saved | None:
    """Return the file at a path if it is a complete, playable video of the rendition's size, else None.

    Reads the whole file the first time. Later results come from a cache, until size or modification time change.
    """
    try:
        status = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or file.size not in (None, status.st_size):
            return None
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _inspected:
            _inspected[key] = inspect(path), *_digests(path)
    except (OSError, MediaInvalid):
        return None
    media, sha256, md5 = _inspected[key]
    if media.codec == "h266":
        return None
    return Saved(path, status.st_size, sha256, media, reused=True, warnings=_warnings(file, md5, sized=False))


def _digests(path: Path) -> tuple[str, str]:
    """The SHA-256 and the MD5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()
