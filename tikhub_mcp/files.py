"""Files that appear complete or not at all, and the one door through which the system's errors become ours."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tikhub_mcp.errors import DiskFull, NotWritable

PRIVATE = 0o600  # raw answers and reports: a cache_url in them works for whoever holds it
ORDINARY = 0o666  # videos: what the umask leaves
PART_SUFFIX = ".part"
_NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)  # network drives; as PostgreSQL has it


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into DiskFull or NotWritable.

    Raises:
        DiskFull: No space, or no quota, is left.
        NotWritable: Any other refusal, with the system's reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk is full: {path.name} could not be written to {path.parent}.") from error
        reason = error.strerror or type(error).__name__
        raise NotWritable(f"{path.name} could not be written to {path.parent}: {reason}.") from error


def make_folder(folder: Path) -> None:
    """Create the folder and its parents where they are missing, and see that it can be written to.

    Raises:
        DiskFull, NotWritable: It cannot be made, or not be written to.
    """
    with os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotWritable(f"The folder {folder} cannot be written to.")


class Part:
    """A file in the making, under a random name beside its target; `commit` makes it the target.

    A context manager: leaving it without a commit removes the part, and the target is as it was. The order
    (write, fsync, rename, fsync of the folder) holds against power loss as well.

    Attributes:
        path: Where the part lies.
        file: What to write to, in binary, unbuffered.
    """

    def __init__(self, target: Path, mode: int = ORDINARY) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self.file = os.fdopen(os.open(self.path, flags, mode), "r+b", buffering=0)

    def commit(self) -> None:
        """Put the part under the target's name, replacing what is there."""
        os.fsync(self.file.fileno())
        self.file.close()
        self.path.replace(self.target)
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove the part; after a commit there is none, and nothing happens."""
        with suppress(OSError):  # what could not be written at last is not wanted any more
            self.file.close()
        with suppress(OSError):  # gone already, or the folder went away: nothing is left to remove
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write_whole(target: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a small file all at once.

    Raises:
        DiskFull, NotWritable: It could not be written; the target is as it was, or all of the new file.
    """
    with os_errors(target), Part(target, mode) as part:
        view = memoryview(content)
        while view:
            view = view[part.file.write(view) :]
        part.commit()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder, and journals renames by itself
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
