"""Writes files atomically, and translates errors of the file system into those of this package."""

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from tikhub_mcp.errors import DiskFull, NotWritable, TooLarge

PRIVATE = 0o600  # raw answers and reports: they contain cache_url, a link that works without a key
ORDINARY = 0o666  # videos; restricted further by the umask
PART_SUFFIX = ".part"
MAX_NAME_BYTES = 143  # of a part's name: the limit of eCryptfs, which names from filenames.py stay within
STALE_SECONDS = 24 * 3600.0  # a part that was not written to for longer remains from a process that was killed
_PART = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(PART_SUFFIX)}", re.DOTALL)
_swept: set[Path] = set()
# From network drives; PostgreSQL ignores them too.
_NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Translate an OSError about `path` into DiskFull or NotWritable.

    The message names the folder only, because the name of a video contains untrusted text of its author.

    Raises:
        DiskFull: The disk or the quota is full.
        NotWritable: Any other OSError; the message has the system's reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk is full: nothing more could be written to {path.parent}.") from error
        reason = error.strerror or type(error).__name__
        raise NotWritable(f"The file could not be written to {path.parent}: {reason}.") from error


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and check that files with long names can be written to it.

    The first call for a folder also removes stale parts from it.

    Raises:
        DiskFull, NotWritable: The folder cannot be created, or not be written to.
    """
    with os_errors(folder / "any file"):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # expected; a name or path that is too long raises another OSError
            (folder / ("x" * MAX_NAME_BYTES)).lstat()
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotWritable(f"The folder {folder} cannot be written to.")
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the parts in a folder, files and folders, that were not written to for a day; errors are ignored."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if not (_PART.fullmatch(entry.name) and _is_stale(entry)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def check_room(size: int | None, target: Path, largest: int) -> None:
    """Check that a file fits the size limit and the free disk space.

    Args:
        size: The size in bytes; None when it is unknown, then nothing is checked.
        target: The path of the file.
        largest: The size limit in bytes.

    Raises:
        TooLarge: The file exceeds the limit.
        DiskFull: The file exceeds the free space.
        NotWritable: The free space cannot be determined.
    """
    if size is None:
        return
    if size > largest:
        raise TooLarge(f"The file has {size:,} bytes; more than {largest:,} (TIKHUB_MAX_BYTES) are not downloaded.")
    with os_errors(target):
        free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DiskFull(f"The disk is full: it needs {size:,} bytes, {target.parent} has {free:,} free.")


class Part:
    """An incomplete file with a random name beside its target; `commit` renames it to the target.

    A context manager: leaving it without a commit removes the part and does not change the target. The order of steps
    (write, fsync, rename, fsync of the folder) is safe against power loss.

    Args:
        target: The path of the complete file.
        mode: The permissions of the file, before the umask.

    Attributes:
        target: The path of the complete file.
        path: The path of the part.
        file: The open file: binary, unbuffered, for reading and writing.
    """

    def __init__(self, target: Path, mode: int = ORDINARY) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path, flags, mode)
        try:
            self.file = os.fdopen(descriptor, "r+b", buffering=0)
        except OSError:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)
            raise

    def commit(self) -> None:
        """Flush the part to disk and rename it to the target, replacing an existing file.

        Raises:
            OSError: The part could not be flushed or renamed.
        """
        os.fsync(self.file.fileno())
        self.file.close()
        _replace(self.path, self.target)
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        """Close and remove the part; after a commit this does nothing."""
        with suppress(OSError):  # the content is discarded, so a failed write does not matter
            self.file.close()
        with suppress(OSError):  # the part or its folder was removed already
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class PartFolder:
    """An incomplete folder with a random name beside its target; `commit` renames it to the target.

    A context manager: leaving it without a commit removes the folder with all that is in it.

    Args:
        target: The path of the complete folder, where there is nothing yet.

    Attributes:
        path: The path of the incomplete folder.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        self.path.mkdir()

    def commit(self) -> None:
        """Flush the names in the folder to disk and rename it to the target.

        Raises:
            OSError: It could not be renamed; there may be something with the name of the target.
        """
        _sync_folder(self.path)
        _replace(self.path, self._target)
        _sync_folder(self._target.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def write_whole(target: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a small file atomically.

    Raises:
        DiskFull, NotWritable: The file could not be written. The target is unchanged, or the complete new file.
    """
    with os_errors(target), Part(target, mode) as part:
        write_all(part.file, content)
        part.commit()


def write_all(file: BinaryIO, content: bytes | bytearray) -> None:
    """Write all of the content to an unbuffered file, whose `write` may write only a part of it.

    Raises:
        OSError: The content could not be written.
    """
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _is_stale(entry: "os.DirEntry[str]") -> bool:
    status = entry.stat(follow_symlinks=False)
    is_part = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return is_part and status.st_mtime <= time.time() - STALE_SECONDS


def _replace(part: Path, target: Path) -> None:
    for pause in (0.1, 0.3, 0.6):
        try:
            part.replace(target)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)  # pragma: no cover - on Windows a player or a virus scanner may have the file open
        else:
            return
    part.replace(target)  # pragma: no cover - the last attempt, on Windows


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # pragma: no cover - Windows cannot open folders, and NTFS journals renames
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
