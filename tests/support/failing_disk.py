"""The file system, watched and failing on cue.

    with Watch(folder, fail_at=7, code=errno.ENOSPC) as watch:
        ...
    watch.steps, watch.failed

Every call that Python makes about what lies in the folder is counted, whichever way pathlib, open() and os.scandir()
take to it, and one of them fails, once. A close that fails has closed all the same, and of a write that fails half is
on the disk: so do systems.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, TypeAlias

import pytest

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EINTR)
BY_PATH = ("mkdir", "rmdir", "unlink", "rename", "replace", "link", "symlink", "stat", "lstat", "statvfs", "chmod")
BY_NUMBER = ("fsync", "fstat", "ftruncate", "read", "write", "lseek")

Anything: TypeAlias = Any  # what the system takes and gives
Act = Callable[[], Anything]


class Step(NamedTuple):
    """One call: its name, the path that it is about, and where that goes if it is given another name."""

    call: str
    path: Path
    to: Path | None = None


class Watch:
    """What is asked of the system about a folder and all in it, from entering to leaving.

    Args:
        folder: The folder; what lies elsewhere is let be.
        fail_at: Which call fails, counted from 1; 0 for none.
        code: What it fails with.
        room: How many bytes the disk still takes; what is more fails with ENOSPC, every time.

    Attributes:
        steps: The calls so far, in order.
        failed: The one that failed.
        opened: The numbers of files that are open.
    """

    def __init__(self, folder: Path, fail_at: int = 0, code: int = 0, room: float = float("inf")) -> None:
        self.folder, self.fail_at, self.code, self.room = folder, fail_at, code, room
        self.steps: list[Step] = []
        self.failed: Step | None = None
        self.opened: dict[int, Path] = {}
        self._patch = pytest.MonkeyPatch()
        self._open, self._close, self._scandir, self._access = io.open, os.close, os.scandir, os.access

    def order(self, target: Path) -> list[str]:
        """How a file came under its name: what was written, synced and renamed, and whether its folder was synced."""
        order: list[str] = []
        for call, path, to in self.steps:
            part = path.parent == target.parent and path.name.startswith(f".{target.name}.")
            folder = call == "fsync" and path == target.parent and "replace" in order
            if (folder or part or to == target) and call in ("write", "fsync", "replace"):
                order += [f"{call} folder" if folder else call]
        return [call for at, call in enumerate(order) if order[at - 1 : at] != [call]]

    def count(self, call: str, path: Path, act: Act, to: Path | None = None, *, late: bool = False) -> Anything:
        """Do what was asked for, unless it is this call's turn to fail; a late failure has done it."""
        step = Step(call, path, to)
        self.steps.append(step)
        if len(self.steps) != self.fail_at:
            return act()
        self.failed = step
        if late:
            act()
        raise OSError(self.code, os.strerror(self.code), str(path))

    def __enter__(self) -> Self:
        for name in BY_PATH:
            self._patch.setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in BY_NUMBER:
            self._patch.setattr(os, name, self._by_number(name, getattr(os, name)))
        changed: dict[str, object] = {"open": self._numbered(os.open), "close": self._closing}
        changed |= {"scandir": self._scanning, "access": self._accessing}
        for name, replacement in changed.items():
            self._patch.setattr(os, name, replacement)
        self._patch.setattr(io, "open", self._opening)
        self._patch.setattr(builtins, "open", self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.undo()

    def _place(self, what: object) -> Path | None:
        """The path that a call is about, if it is to be watched."""
        if isinstance(what, int):
            return self.opened.get(what)
        if not isinstance(what, str | os.PathLike):
            return None
        path = Path(os.fspath(what))
        return path if path.is_relative_to(self.folder) else None

    def _by_path(self, name: str, real: Callable[..., Anything]) -> Callable[..., Anything]:
        def call(path: object, *more: Anything, **named: Anything) -> Anything:
            place = self._place(path)
            if place is None:
                return real(path, *more, **named)
            to = Path(more[0]) if name in ("rename", "replace") else None
            return self.count(name, place, lambda: real(path, *more, **named), to)

        return call

    def _by_number(self, name: str, real: Callable[..., Anything]) -> Callable[..., Anything]:
        def call(number: int, *more: Anything) -> Anything:
            place = self._place(number)
            return real(number, *more) if place is None else self.count(name, place, lambda: real(number, *more))

        return call

    def _numbered(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Anything, *more: Anything, **named: Anything) -> int:
            place = self._place(path)
            if place is None:
                return real(path, *more, **named)
            number: int = self.count("open", place, lambda: real(path, *more, **named))
            self.opened[number] = place
            return number

        return call

    def _closing(self, number: int) -> None:
        place = self.opened.pop(number, None)
        if place is None:
            return self._close(number)
        self.count("close", place, lambda: self._close(number), late=True)
        return None

    def _accessing(self, path: Anything, *more: Anything, **named: Anything) -> bool:
        place = self._place(path)
        try:
            return bool(
                self._access(path, *more, **named)
                if place is None
                else self.count("access", place, lambda: self._access(place, *more, **named))
            )
        except OSError:
            return False  # it raises nothing

    def _scanning(self, path: Anything = ".") -> Anything:
        place = self._place(path)
        return (
            self._scandir(path)
            if place is None
            else self.count("scandir", place, lambda: _Scan(self, self._scandir(path)))
        )

    def _opening(
        self, file: Anything, mode: str = "r", buffering: int = -1, *more: Anything, **named: Anything
    ) -> IO[Anything]:
        place = self._place(file)
        if place is None or "b" not in mode:
            return self._open(file, mode, buffering, *more, **named)
        opener = named.get("opener") or (lambda path, flags: os.open(path, flags, 0o666))
        raw = self.count("fdopen", place, lambda: _File(self, file, mode)) if isinstance(file, int) else None
        raw = raw or _File(self, file, mode, opener)
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedReader(raw)


class _File(io.FileIO):
    def __init__(
        self, watch: Watch, file: Anything, mode: str, opener: Callable[[str, int], int] | None = None
    ) -> None:
        super().__init__(file, mode, opener=opener)
        self._watch, self._path = watch, watch.opened[self.fileno()]

    def _count(self, call: str, act: Act, *, late: bool = False) -> Anything:
        return self._watch.count(call, self._path, act, late=late)

    def write(self, content: Anything, /) -> int:
        if self._watch.room == float("inf"):
            half = memoryview(content)[: len(content) // 2]
            # A write that is interrupted has written nothing: otherwise the system tells how much it has written.
            if len(self._watch.steps) + 1 == self._watch.fail_at and self._watch.code != errno.EINTR:
                super().write(half)
            return int(self._count("write", lambda: super(_File, self).write(content)))
        fits = memoryview(content)[: int(self._watch.room)]
        self._watch.room -= len(fits)
        if content and not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._count("write", lambda: super(_File, self).write(fits)))

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(self._count("read", lambda: super(_File, self).read(-1 if size is None else size)))

    def readall(self) -> bytes:
        return bytes(self._count("read", super().readall))

    def readinto(self, buffer: Anything, /) -> int:
        return int(self._count("read", lambda: super(_File, self).readinto(buffer)))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._count("lseek", lambda: super(_File, self).seek(offset, whence)))

    def truncate(self, size: int | None = None, /) -> int:
        return int(self._count("ftruncate", lambda: super(_File, self).truncate(size)))

    def close(self) -> None:
        if not self.closed:
            self._watch.opened.pop(self.fileno(), None)
            self._count("close", super().close, late=True)


class _Scan:
    """A folder being read; each of its entries may fail to say what it is."""

    def __init__(self, watch: Watch, entries: Anything) -> None:
        self._watch, self._entries = watch, entries

    def __enter__(self) -> Iterator["_Entry"]:
        return iter(self)

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def __iter__(self) -> Iterator["_Entry"]:
        for entry in self._entries:
            self._watch.count("readdir", self._watch.folder / entry.name, lambda: None)
            yield _Entry(self._watch, entry)


class _Entry:
    def __init__(self, watch: Watch, entry: os.DirEntry[str]) -> None:
        self._watch, self._entry = watch, entry
        self.name, self.path = entry.name, entry.path

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        act = self._entry.is_file
        return bool(self._watch.count("lstat", Path(self.path), lambda: act(follow_symlinks=follow_symlinks)))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        act = self._entry.stat
        found: os.stat_result = self._watch.count(
            "lstat", Path(self.path), lambda: act(follow_symlinks=follow_symlinks)
        )
        return found


def parts(folder: Path) -> list[Path]:
    """What is left of files in the making."""
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]
