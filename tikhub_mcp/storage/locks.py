"""Locks by name, within this process or among all processes that share an output folder.

Two clients that each start a server must not pay for the same post twice, or download the same file twice.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl


POLL_SECONDS = 0.05  # between two attempts to take a lock of another process; there is no notification of a release
_BYTES = 2**31 - 1  # each name is hashed to one byte offset in the file, beyond its end; a collision is unlikely


class Locks:
    """Locks by name.

    Among processes, a name is a record lock on one byte of a file. Nothing has to be cleaned up, and the system
    releases the locks of a killed process at once. The file stays open, because POSIX releases all locks of a process
    on a file when the process closes any of its descriptors. If the file cannot be created, or the file system has no
    locks, a name is locked within this process only.

    Args:
        file: The lock file. It is created at first use; its folder must exist by then.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._here: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()

    def here(self, *name: object) -> asyncio.Lock:
        """Return the lock with this name in this process; it is discarded when no task holds or awaits it."""
        return self._here.get(name) or self._here.setdefault(name, asyncio.Lock())

    @asynccontextmanager
    async def everywhere(self, *name: object) -> AsyncIterator[None]:
        """Hold the lock with this name among all processes; wait for it without a time limit."""
        byte = int.from_bytes(hashlib.sha256(repr([str(part) for part in name]).encode()).digest()[:8], "big") % _BYTES
        async with self.here(*name):
            while not self._take(byte):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(POLL_SECONDS)
            try:
                yield
            finally:
                self._let_go(byte)

    def close(self) -> None:
        """Release all locks that are held against other processes."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # the descriptor is closed even then
                os.close(descriptor)

    def _take(self, byte: int) -> bool:
        """Lock a byte; return False when another process holds it, and True when that cannot be determined."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            _lock(self._descriptor, byte)
        except (BlockingIOError, PermissionError):  # the byte is locked: POSIX allows both, Windows raises the second
            return self._descriptor is None
        except OSError:
            return True
        return True

    def _let_go(self, byte: int) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # the file system has no locks
                _unlock(self._descriptor, byte)


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
