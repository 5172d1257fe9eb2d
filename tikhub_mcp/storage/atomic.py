"""Files that appear complete or not at all, and the system's errors as ours."""

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

if sys.platform != "win32":
    import fcntl
from tikhub_mcp.errors import DiskFull, NotWritable, TooLarge

PRIVATE = 0o600  # raw answers and reports: a cache_url in them works for whoever holds it
ORDINARY = 0o666  # videos: what the umask leaves
PART_SUFFIX = ".part"
MAX_NAME_BYTES = 143  # bytes of a part's name: what eCryptfs takes, and all that filenames.py makes
STALE_SECONDS = 24 * 3600.0  # a part that is older, and that nobody holds, was left by a process that was killed
_PART = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(PART_SUFFIX)}", re.DOTALL)
_swept: set[Path] = set()
_NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)  # network drives; as PostgreSQL has it


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into DiskFull or NotWritable, which name its folder.

    Not the file: a video's name holds its author's words, which do not belong into an error.

    Raises:
        DiskFull: No space, or no quota, is left.
        NotWritable: Any other refusal, with the system's reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"The disk is full: nothing more could be written to {path.parent}.") from error
        reason = error.strerror or type(error).__name__
        raise NotWritable(f"The file could not be written to {path.parent}: {reason}.") from error


def make_folder(folder: Path) -> None:
    """Create the folder and its parents where they are missing, and see that it can be written to, by any name of ours.

    The first time in a process, parts that a killed process left in it are removed.

    Raises:
        DiskFull, NotWritable: It cannot be made, or not be written to.
    """
    with os_errors(folder / "any file"):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # rather than that the path is too long
            (folder / ("x" * MAX_NAME_BYTES)).lstat()
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NotWritable(f"The folder {folder} cannot be written to.")
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the parts in a folder that are older than a day and that no process holds; trouble is let be."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if _PART.fullmatch(entry.name) and _is_stale(entry):
                    Path(entry.path).unlink()


def check_room(size: int | None, target: Path, largest: int) -> None:
    """Refuse a file that is too large for the limit or for the disk, where its size is known.

    Raises:
        TooLarge, DiskFull, NotWritable: It is, or nobody can tell.
    """
    if size is None:
        return
    if size > largest:
        raise TooLarge(f"The file has {size:,} bytes; more than {largest:,} (TIKHUB_MAX_BYTES) are not downloaded.")
    with os_errors(target):
        free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DiskFull(f"The disk is full: the file needs {size:,} bytes, {target.parent} has {free:,} free.")


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
        descriptor = os.open(self.path, flags, mode)
        try:
            self.file = os.fdopen(descriptor, "r+b", buffering=0)
        except OSError:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)
            raise
        _hold(descriptor)

    def commit(self) -> None:
        """Put the part under the target's name, replacing what is there."""
        os.fsync(self.file.fileno())
        self.file.close()
        _replace(self.path, self.target)
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
        write_all(part.file, content)
        part.commit()


def write_all(file: BinaryIO, content: bytes | bytearray) -> None:
    """Write all of it to an unbuffered file, which may take only a part at once.

    Raises:
        OSError: It could not be written.
    """
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _hold(descriptor: int) -> bool:
    """Mark an open file as being worked on, until it is closed; whether nobody else had done so."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network drive without locks: then age alone tells what is stale
            pass
    return True  # Windows removes no file that is open


def _is_stale(entry: "os.DirEntry[str]") -> bool:
    if not entry.is_file(follow_symlinks=False) or entry.stat().st_mtime > time.time() - STALE_SECONDS:
        return False
    with Path(entry.path).open("rb") as part:
        return _hold(part.fileno())


def _replace(part: Path, target: Path) -> None:
    for pause in (0.1, 0.3, 0.6):
        try:
            part.replace(target)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)  # pragma: no cover - on Windows a player or a virus scanner holds files for a moment
        else:
            return
    part.replace(target)  # pragma: no cover - the last word, on Windows


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
