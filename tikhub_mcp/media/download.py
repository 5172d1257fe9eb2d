"""A rendition → a verified file: mirrors in turn, a part file, limits, proof, and only then the name.

No exception of httpx or the system leaves it.
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
from tikhub_mcp.media.transfer import PIECE_BYTES, Limits, Transfer
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.post import Rendition
from tikhub_mcp.storage.atomic import Part, check_room, os_errors

REFERERS: dict[Platform, str] = {"tiktok": "https://www.tiktok.com/", "douyin": "https://www.douyin.com/"}
_UNSIZED = "nobody said how large the file is, so its size is not confirmed"
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that is complete, checked and under its name."""

    path: Path
    size: int
    sha256: str
    media: Media
    reused: bool = False
    warnings: tuple[str, ...] = ()


class Downloader:
    """Fetches files; one for the process."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network = network
        self._limits = limits

    def time_is_up(self) -> float:
        """When a file that is begun now must be there, by time.monotonic()."""
        return time.monotonic() + self._limits.seconds

    async def fetch(
        self,
        file: Rendition,
        platform: Platform,
        target: Path,
        progress: Callable[[int], None],
        until: float | None = None,
    ) -> Saved:
        """Download one file under its final name, whole and proven, or not at all.

        Args:
            file: What to fetch, and what is known of it.
            platform: Whose Referer the CDN wants to see.
            target: The final name, in a folder that exists.
            progress: Told how many bytes of the current attempt are there.
            until: When it must be there, by time.monotonic(); by itself, as long from now as one file may take.

        Raises:
            MediaUnavailable: Every mirror refused, twice, or the time ran out.
            MediaInvalid: What came, from the last mirror that sent anything, is not the video.
            TooLarge, DiskFull, NotWritable: No mirror can mend it.
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
        # What a mirror sent and was wrong says more than that another was silent.
        last = next((failure for failure in reversed(failures) if isinstance(failure, MediaInvalid)), failures[-1])
        tried = f"mirrors: {len(file.urls)}, attempts: {len(failures)}"
        # The id, and not the name, which holds its author's words.
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
        """Ask every mirror, in rounds; None when none of them has the file. `failures` gets what they came to."""
        pauses: dict[str, float] = {}  # before each mirror is asked again, in seconds
        while True:
            for url in file.urls:
                if url in pauses:
                    await asyncio.sleep(pauses[url])
                try:
                    return await self._attempt(url, {"Referer": REFERERS[platform]}, file, target, progress)
                except (MediaUnavailable, MediaInvalid, TooLarge, DiskFull) as failure:
                    if isinstance(failure, DiskFull) and failure.__cause__:
                        raise  # it is full; a size that a mirror claims may be its mistake
                    failures.append(failure)
                    pauses[url] = self._limits.pause_for(failure.retry_after)
            if not _is_another_round_worth_it(len(file.urls), failures):
                return None

    async def _attempt(
        self, url: str, headers: dict[str, str], file: Rendition, target: Path, progress: Callable[[int], None]
    ) -> Saved:
        """One mirror, from the first byte to the name."""
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
            if full.__cause__ is None:  # known beforehand, and said with both numbers
                raise
            raise DiskFull(f"{full.message} {_room(needed, target)}") from full.__cause__
        return Saved(target, transfer.received, transfer.sha256, media, warnings=warnings)


def _is_another_round_worth_it(mirrors: int, failures: Sequence[FileError]) -> bool:
    """Whether to ask all mirrors once more, after rounds that came to these failures."""
    if len(failures) == mirrors:
        # Where all of them say that it is too large, it is the file, and no mirror's mistake.
        return not all(isinstance(failure, TooLarge | DiskFull) for failure in failures)
    last = failures[-1]  # a lone mirror that is only busy is asked a third time
    return mirrors == 1 and len(failures) == 2 and isinstance(last, MediaUnavailable) and last.busy


def _check_target(target: Path) -> None:
    """Refuse to download what could not get its name, or would take it from what is no file."""
    with os_errors(target), suppress(FileNotFoundError):
        mode = target.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise NotWritable(f"The file could not be written to {target.parent}: what has its name there is no file.")


def _room(needed: int | None, target: Path) -> str:
    with suppress(OSError):
        wanted = "" if needed is None else f"The file needs {needed:,} bytes; "
        return f"{wanted}{shutil.disk_usage(target.parent).free:,} are free."
    return ""


def _check_size(got: int, promises: dict[str, int | None]) -> None:
    for who, promised in promises.items():
        if promised is not None and got != promised:
            raise MediaInvalid(f"{got:,} bytes came, {who} promised {promised:,}")


def _warnings(file: Rendition, md5: str, *, sized: bool) -> tuple[str, ...]:
    """What a caller should know of a good file; `sized`: whether it has the size that a mirror gave."""
    warnings = []
    if file.size is None and not sized:
        warnings.append(_UNSIZED)
    if _MD5.fullmatch(file.file_hash) and file.file_hash != md5:
        warnings.append("file_hash of the answer is not the file's MD5 (that it should be is not documented)")
    return tuple(warnings)


_looked_at: dict[tuple[str, int, int], tuple[Media, str, str]] = {}


def existing(path: Path, file: Rendition) -> Saved | None:
    """The file that is already there, when it is whole, playable and of the size that the post's file has.

    Reads all of it once; what this process has looked at before is known by path, size and time of change.
    """
    try:
        status = path.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or file.size not in (None, status.st_size):
            return None
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in _looked_at:
            _looked_at[known] = inspect(path), *_digests(path)
    except (OSError, MediaInvalid):
        return None
    media, sha256, md5 = _looked_at[known]
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
