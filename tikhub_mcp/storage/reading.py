"""Reading files that others may have changed, replaced or linked elsewhere."""

import os
import stat
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE

# Windows has none of these.
_AT_ONCE = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY"))
_NOFOLLOW_FLAGS = _AT_ONCE | getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def open_nofollow(path: str, flags: int) -> int:
    """An opener for what may have become a link or a pipe since it was listed: not followed, not waited for."""
    return os.open(path, flags | _NOFOLLOW_FLAGS, PRIVATE)


def read_regular(path: Path | str, largest: int) -> bytes:
    """The whole of a regular file, as it was at one moment.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, larger than `largest` bytes, or it changed meanwhile.
    """
    descriptor = open_nofollow(str(path), _READ)  # half the time of open()
    try:
        before = _regular(descriptor)
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


def read_start(path: Path, most: int, *, through_links: bool = False) -> bytes:
    """The first bytes of a regular file, however large it is, and whether or not it grows meanwhile.

    Args:
        path: Where it is.
        most: How many bytes at most; negative for all.
        through_links: Whether it may be a link: where somebody named this very file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file.
    """
    with open(path, "rb", opener=_at_once if through_links else open_nofollow) as file:
        _regular(file.fileno())
        return file.read(most)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)


def _regular(descriptor: int) -> os.stat_result:
    """What the system says of a regular file.

    Raises:
        ValueError: It is something else.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    return status
