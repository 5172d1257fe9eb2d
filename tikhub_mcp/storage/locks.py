"""Names that one holder at a time may have: in this process, and among all processes that share a folder.

Two clients that each start a server of their own must not pay for one post twice, nor fetch one file twice.
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


POLL_SECONDS = 0.05  # between two looks at what another process holds; the system tells nobody when it lets go
_BYTES = 2**31 - 1  # a name is a byte of the file, far behind its end; of two thousand million, two may share one


class Locks:
    """Locks by name.

    Among processes a name is one byte of a file that is locked with the system's own record locks: nothing has to be
    cleaned up, and what a killed process held is free at once. The file stays open, because POSIX lets all locks of a
    process go when it closes the file once. Where there is no such file, or no locks in that file system, a name is
    held in this process only.

    Args:
        file: Made at first use, in a folder that exists by then.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._here: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()

    def here(self, *name: object) -> asyncio.Lock:
        """The lock with this name in this process; it is gone when nobody holds or awaits it."""
        return self._here.get(name) or self._here.setdefault(name, asyncio.Lock())

    @asynccontextmanager
    async def everywhere(self, *name: object) -> AsyncIterator[None]:
        """Hold a name against all processes; waits as long as it takes."""
        byte = int.from_bytes(hashlib.sha256(repr([str(part) for part in name]).encode()).digest()[:8], "big") % _BYTES
        async with self.here(*name):
            while not self._take(byte):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(POLL_SECONDS)
            try:
                yield
            finally:
                self._let_go(byte)

    def close(self) -> None:
        """Let go of everything that is held against other processes."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # closed all the same
                os.close(descriptor)

    def _take(self, byte: int) -> bool:
        """Whether nobody else holds it; true as well where that cannot be told."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            _lock(self._descriptor, byte)
        except (BlockingIOError, PermissionError):  # POSIX allows both, Windows has the second
            return self._descriptor is None
        except OSError:
            return True
        return True

    def _let_go(self, byte: int) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # there are no locks here
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
