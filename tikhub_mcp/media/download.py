"""Download of one file: tries its renditions and their mirrors, verifies the part file and gives it its final name.

All exceptions of httpx and the operating system are converted into this package's own.
"""

import asyncio
import re
import shutil
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from tikhub_mcp.concurrency import Share, check_cancelled, in_thread
from tikhub_mcp.errors import DiskFull, FileError, MediaInvalid, MediaUnavailable, NotWritable, TooLarge
from tikhub_mcp.media.contents import inspect_content
from tikhub_mcp.media.mp4 import inspect
from tikhub_mcp.media.saved import Saved, not_first_choice
from tikhub_mcp.media.transfer import Limits, Transfer, cdn_headers
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.renditions import Rendition
from tikhub_mcp.storage.atomic import Part, check_room, os_errors
from tikhub_mcp.storage.filenames import id_in
from tikhub_mcp.storage.reading import regular_status

MAX_OTHERS = 2  # renditions that are tried after the first choice has failed
MAX_CHECKS = 10  # files that are verified and flushed to disk at once: each takes a thread
_UNSIZED = "no size was given for the file, so its size is not confirmed"
_MD5 = re.compile(r"[0-9a-f]{32}")


class _Mirrors:
    """The mirrors of one rendition, and the attempts that have failed.

    Args:
        file: The rendition.
        attempt: Downloads a file from one mirror, which is given by its link.
        pause_for: Returns the seconds to wait before a mirror is tried again, given those that it asked for.
    """

    def __init__(
        self,
        file: Rendition,
        attempt: Callable[[str, Rendition], Awaitable[Saved]],
        pause_for: Callable[[float | None], float],
    ) -> None:
        self.file = file
        self.failures: list[FileError] = []
        self._attempt = attempt
        self._pause_for = pause_for
        self._ready: dict[str, float] = {}  # when a mirror may be tried again, by time.monotonic()
        self._in_round = False

    async def try_each(self) -> Saved | None:
        """Try every mirror once, in order; return None if all attempts failed.

        Raises:
            DiskFull, NotWritable: Another mirror would not help.
        """
        self._in_round = True
        for url in self.file.urls:
            if (pause := self._ready.get(url, 0.0) - time.monotonic()) > 0:  # the other mirrors' turns count as waiting
                await asyncio.sleep(pause)
            try:
                return await self._attempt(url, self.file)
            except (MediaUnavailable, MediaInvalid, TooLarge, DiskFull) as failure:
                if isinstance(failure, DiskFull) and failure.__cause__:
                    raise  # the disk is full; without a cause, only the size that the mirror gave is too large
                self.failures.append(_without_frames(failure))
                self._ready[url] = time.monotonic() + self._pause_for(failure.retry_after)
        self._in_round = False
        return None

    def interrupt(self, reason: str) -> None:
        """Record why a round was not finished, if one was not."""
        if self._in_round:
            self.failures.append(MediaUnavailable(reason))

    def may_recover(self) -> bool:
        """Whether all mirrors are worth another round."""
        mirrors, failures = len(self.file.urls), self.failures
        if len(failures) == mirrors:
            # If all mirrors give a size that is too large, the size is right.
            return not all(isinstance(failure, TooLarge | DiskFull) for failure in failures)
        last = failures[-1]  # a single mirror that is busy is tried a third time
        return mirrors == 1 and len(failures) == 2 and isinstance(last, MediaUnavailable) and last.busy

    def reason(self) -> FileError:
        """The failure that tells the most: invalid content from one mirror more than no response from another."""
        invalid = (failure for failure in reversed(self.failures) if isinstance(failure, MediaInvalid))
        return next(invalid, self.failures[-1])


class Slot:
    """A place under several limits at once, which its holder may give back early; an asynchronous context manager.

    Args:
        limits: The limits, in the order in which they are waited for.

    Attributes:
        waited: How long its holder has waited for it, in seconds.
    """

    def __init__(self, *limits: asyncio.Semaphore | Share) -> None:
        self.waited = 0.0
        self._limits = limits
        self._held: list[asyncio.Semaphore | Share] = []

    async def acquire(self, outside: asyncio.Timeout | None = None) -> None:
        """Wait for the place, unless it is held.

        Args:
            outside: A time limit on the caller's work, which the wait is no part of.
        """
        began, end = time.monotonic(), outside and outside.when()
        if outside:
            outside.reschedule(None)
        try:
            for limit in self._limits[len(self._held) :]:
                await limit.acquire()
                self._held.append(limit)
        finally:
            waited = time.monotonic() - began
            self.waited += waited
        if outside and end is not None:
            outside.reschedule(end + waited)

    def release(self) -> None:
        """Give the place back, if it is held."""
        while self._held:
            self._held.pop().release()

    async def __aenter__(self) -> Self:
        with ExitStack() as undo:  # when cancelled, a part of the limits is held
            undo.callback(self.release)
            await self.acquire()
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()


class Downloader:
    """Downloads files; there is one for the process."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network = network
        self._limits = limits
        self._checks = asyncio.Semaphore(MAX_CHECKS)

    @property
    def largest(self) -> int:
        """The most bytes of a file, and of the files of a post together."""
        return self._limits.largest

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
        others: Sequence[Rendition] = (),
        *,
        staging: Path | None = None,
        name: str = "",
        slot: Slot | None = None,
    ) -> Saved:
        """Download and verify one file; `target` appears only if both succeed.

        Args:
            file: The rendition to download, with its mirrors.
            platform: The platform, whose Referer the CDN requires.
            target: The final path, in a folder that exists. The name of a file that is no video gets the extension of
                its content.
            progress: Called with the number of bytes received in the current attempt; what it raises ends the download.
            until: The deadline, by time.monotonic(); by default `time_is_up()`.
            others: The renditions to try if that fails, the best first; MAX_OTHERS of them at most.
            staging: The path beside which the part file is written, on the same file system; by default `target`.
            name: What an error calls the file; by default the post's id, from the target's name.
            slot: The place under the limits on transfers, given back when the file has come, before it is verified.

        Raises:
            MediaUnavailable: Every mirror failed in every round, or the deadline passed.
            MediaInvalid: A mirror sent something that is not the expected file.
            SoundInPlaceOfClip: A clip was expected, and a mirror sent music.
            TooLarge, DiskFull, NotWritable: Another mirror would not help.
        """
        staging, slot = staging or target, slot or Slot()
        limit = asyncio.timeout((until or self.time_is_up()) - time.monotonic())

        async def attempt(url: str, each: Rendition) -> Saved:
            await slot.acquire(outside=limit)  # with no part file open: hundreds of pictures may wait
            return await self._attempt(url, each, platform, target, staging, progress, slot)

        first, *rest = (_Mirrors(each, attempt, self._limits.pause_for) for each in (file, *others[:MAX_OTHERS]))
        try:
            async with limit:
                saved = await _try_in_order(first, rest, target)
                if saved is not None:
                    return saved
        except TimeoutError:
            first.interrupt(f"the file did not arrive within {self._limits.seconds:g} s")
        raise _failure(first, rest, name or f"Post {id_in(target.name)}") from None

    async def _attempt(
        self,
        url: str,
        file: Rendition,
        platform: Platform,
        target: Path,
        staging: Path,
        progress: Callable[[int], None],
        slot: Slot,
    ) -> Saved:
        """Download the file from one mirror, verify it and give it its final name."""
        needed, md5 = file.size, has_md5(file)
        _check_target(target)
        check_room(needed, target, self._limits.largest)
        try:
            with os_errors(target), Part(staging) as part:
                transfer = Transfer(self._network, self._limits, part, file.size, progress, kind=file.kind, md5=md5)
                try:
                    await transfer.receive(url, cdn_headers(platform))
                finally:
                    needed = needed or transfer.expected_size
                async with self._checks:
                    slot.release()
                    return await in_thread(_publish, part, transfer, file, target)
        except DiskFull as full:
            if full.__cause__ is None:  # found before writing; the message has the needed and the free bytes already
                raise
            raise DiskFull(f"{full.message} {_room(needed, target)}") from full.__cause__


def _publish(part: Part, transfer: Transfer, file: Rendition, target: Path) -> Saved:
    """Write the rest of a file that was received, verify it and give it its final name."""
    transfer.flush()
    size, digests = transfer.received, transfer.digests
    _check_size(size, {"TikHub's answer": file.size, "the CDN": transfer.expected_size})
    content = inspect_content(part.path, file.kind)
    check_cancelled()
    part.target = target if file.kind == "video" else target.with_name(target.name + content.extension)
    part.commit()
    warnings = (*content.warnings, *warnings_about(file, digests.md5, sized=transfer.expected_size is not None))
    other_hash = differs(file, digests.md5)
    return Saved(
        part.target, size, digests.sha256, content.media, content.format, other_hash=other_hash, warnings=warnings
    )


async def _try_in_order(first: _Mirrors, others: Sequence[_Mirrors], target: Path) -> Saved | None:
    """Try the first choice, then the others, then the first choice in more rounds; return None if all attempts failed.

    A video that is there already is not replaced by a worse one.
    """
    saved = await first.try_each()
    if saved is not None:
        return saved
    for other in await in_thread(_not_worse, others, target):
        if (saved := await other.try_each()) is not None:
            why = first.reason().message.rstrip(".")
            return replace(saved, first_choice=False, warnings=(not_first_choice(first.file, why), *saved.warnings))
    while saved is None and first.may_recover():
        saved = await first.try_each()
    return saved


def _not_worse(others: Sequence[_Mirrors], target: Path) -> Sequence[_Mirrors]:
    try:
        regular_status(target)
        there = inspect(target)
    except (OSError, MediaInvalid):
        return others
    side = min(there.width, there.height)
    good = ("both",) if there.has_audio else ("both", "picture")
    return [other for other in others if other.file.side >= side and other.file.tracks in good]


def _without_frames(failure: FileError) -> FileError:
    """Return the failure without its traceback, whose frames would keep what was received in memory."""
    failure.__cause__ = failure.__context__ = None
    failure.__traceback__ = None
    return failure


def _failure(first: _Mirrors, others: Sequence[_Mirrors], name: str) -> FileError:
    """The error about a file of which every attempt failed: that of the first choice."""
    reason = first.reason()
    tried = f"mirrors: {len(first.file.urls)}, attempts: {len(first.failures)}"
    if more := sum(bool(other.failures) for other in others):
        tried += f", other renditions: {more}"
    message = f"{name} could not be downloaded ({tried}): {reason.message.rstrip('.')}."
    error = type(reason)(message, retry_after=reason.retry_after)
    error.refused_content = any(failure.refused_content for each in (first, *others) for failure in each.failures)
    return error


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


def has_md5(file: Rendition) -> bool:
    """Whether the answer gives a hash of the file that may be its MD5."""
    return _MD5.fullmatch(file.file_hash) is not None


def differs(file: Rendition, md5: str) -> bool:
    """Whether the answer gives a hash of the file that is not this MD5."""
    return has_md5(file) and file.file_hash != md5


def warnings_about(file: Rendition, md5: str, *, sized: bool) -> tuple[str, ...]:
    """Return the warnings about a valid file; `sized` tells whether its size was confirmed by a mirror."""
    warnings = []
    if file.size is None and not sized and file.kind not in ("picture", "cover"):  # checked to their end
        warnings.append(_UNSIZED)
    if differs(file, md5):
        warnings.append("file_hash of the answer is not the file's MD5 (that it should be is not documented)")
    return tuple(warnings)
