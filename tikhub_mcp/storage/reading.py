"""Reads files that other programs may change, or replace by a link or a pipe."""

import errno
import os
import stat
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE

# Windows has none of these flags.
_NONBLOCK_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY"))
_NOFOLLOW_FLAGS = _NONBLOCK_FLAGS | getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def open_nofollow(path: str, flags: int) -> int:
    """Open a file without following a link or blocking on a pipe; an `opener` for `open`, returns a file descriptor.

    Raises:
        OSError: The file cannot be opened, or is a link.
    """
    return os.open(path, flags | _NOFOLLOW_FLAGS, PRIVATE)


def regular_status(path: Path) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        OSError: There is none, but perhaps a link, or a pipe that would block whoever opens it.
    """
    status = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return status


def read_regular(path: Path | str, largest: int) -> bytes:
    """Return the complete content of a regular file, as it was at one moment.

    Args:
        path: The path of the file.
        largest: The maximum size in bytes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a regular file, it is larger than `largest`, or it changed while it was read.
    """
    descriptor = open_nofollow(str(path), _READ)  # takes half the time of open()
    try:
        before = _regular(descriptor)
        if before.st_size > largest:
            raise ValueError(f"it is larger than {largest} bytes")
        body = more = os.read(descriptor, before.st_size + 1)
        while more and len(body) < before.st_size:  # some file systems return less than requested
            more = os.read(descriptor, before.st_size + 1 - len(body))
            body += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(body) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise ValueError("it changed while it was read")
    return body


def read_start(path: Path, most: int, *, through_links: bool = False) -> bytes:
    """Return the first bytes of a regular file, which may have any size and may grow meanwhile.

    Args:
        path: The path of the file.
        most: The maximum number of bytes; negative for all.
        through_links: Whether to follow links: for a file that the caller has named.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a regular file.
    """
    with open(path, "rb", opener=_open_nonblocking if through_links else open_nofollow) as file:
        _regular(file.fileno())
        return file.read(most)


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | _NONBLOCK_FLAGS)


def _regular(descriptor: int) -> os.stat_result:
    """Return the status of an open file.

    Raises:
        ValueError: It is not a regular file.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    return status
