"""Locks by name, within this process or among all processes that share an output folder.

Two clients that each start a server must not pay for the same post twice, or download the same file twice.
"""

import asyncio
import errno
import hashlib
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl


logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05  # between two attempts to take a lock of another process; there is no notification of a release
_BYTES = 2**31 - 1  # each name is hashed to one byte offset in the file, beyond its end; a collision is unlikely
# Neither a link is followed nor a pipe waited for.
_FLAGS = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


class Locks:
    """Locks by name.

    Among processes, a name is a record lock on one byte of a file. Nothing has to be cleaned up, and the system
    releases the locks of a killed process at once. The file stays open, because POSIX releases all locks of a process
    on a file when the process closes any of its descriptors. If the file cannot be created or is none, or the file
    system has no locks, a name is locked within this process only, which is logged. A file that was removed or replaced
    is opened anew; the old one, and the locks on it, stay open until `close`.

    Args:
        file: The lock file. It is created at first use, if its folder exists by then; without it, a name is
            locked within this process only.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptors: list[int] = []  # the last one is that of the file in use
        self._problem = ""
        self._here: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()

    @property
    def is_open(self) -> bool:
        """Whether the file is open, and was neither removed nor replaced since."""
        try:
            status = os.fstat(self._descriptors[-1])
            return os.path.samestat(status, self._file.stat(follow_symlinks=False))
        except (IndexError, OSError):
            return False

    def here(self, *name: object) -> asyncio.Lock:
        """Return the lock with this name in this process; it is discarded when no task holds or awaits it."""
        return self._here.get(name) or self._here.setdefault(name, asyncio.Lock())

    @asynccontextmanager
    async def everywhere(self, *name: object) -> AsyncIterator[None]:
        """Hold the lock with this name among all processes; wait for it without a time limit."""
        byte = int.from_bytes(hashlib.sha256(repr([str(part) for part in name]).encode()).digest()[:8], "big") % _BYTES
        async with self.here(*name):
            descriptor = await self._wait_for(byte)
            try:
                yield
            finally:
                if descriptor in self._descriptors:  # not closed meanwhile
                    with suppress(OSError):  # the file system has no locks
                        _unlock(descriptor, byte)

    async def _wait_for(self, byte: int) -> int | None:
        while True:
            try:
                return self._take(byte)
            except BlockingIOError:
                await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Release all locks that are held against other processes."""
        while self._descriptors:
            with suppress(OSError):  # the descriptor is closed even then
                os.close(self._descriptors.pop())

    def _take(self, byte: int) -> int | None:
        """Lock a byte.

        Returns:
            The descriptor that holds the lock; None when it cannot be had from the file.

        Raises:
            BlockingIOError: Another process holds it.
        """
        try:
            descriptor = self._open()
            try:
                _lock(descriptor, byte)
            except PermissionError:  # the byte is locked: POSIX allows both, Windows raises this
                raise BlockingIOError from None
        except BlockingIOError:
            raise
        except FileNotFoundError:  # there is no folder, as nothing is to be written
            return None
        except OSError as error:
            self._warn(error.strerror or type(error).__name__)
            return None
        self._problem = ""
        return descriptor

    def _open(self) -> int:
        """Return a descriptor of the lock file, of a new one if it was removed or replaced.

        Raises:
            OSError: There is no such file, and none can be made.
        """
        if self.is_open:
            return self._descriptors[-1]
        opened = os.open(self._file, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise OSError(errno.EINVAL, "it is not a regular file")
        if self._descriptors:
            self._warn("it was removed or replaced while the server ran")
        self._descriptors.append(opened)
        return opened

    def _warn(self, problem: str) -> None:
        """Log once that other processes are not kept out, until a lock is had again."""
        if problem != self._problem:
            self._problem = problem
            logger.warning(
                "The lock file %s cannot be relied on (%s): another server may pay for a post once more.",
                self._file.name,
                problem,
            )


if sys.platform == "win32":  # pragma: no cover

    def _lock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)

    def _unlock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)
