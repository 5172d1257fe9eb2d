"""Reading files that others may have changed, replaced or linked elsewhere."""

import os
import stat
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE

_CAREFUL = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))  # Windows has none
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def careful(path: str, flags: int) -> int:
    """An opener for what may have become a link or a pipe since it was listed: not followed, not waited for."""
    return os.open(path, flags | _CAREFUL, PRIVATE)


def read_regular(path: Path | str, largest: int) -> bytes:
    """The whole of a regular file, as it was at one moment.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, larger than `largest` bytes, or it changed meanwhile.
    """
    descriptor = careful(str(path), _READ)  # half the time of open()
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise ValueError("it is no regular file")
        if before.st_size > largest:
            raise ValueError(f"it is larger than {largest} bytes")
        body = more = os.read(descriptor, before.st_size + 1)
        while more and len(body) < before.st_size:  # some file systems give less than was asked for
            more = os.read(descriptor, before.st_size + 1 - len(body))
            body += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(body) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise ValueError("it changed while it was read")
    return body
