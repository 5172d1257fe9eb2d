"""Times that the processes which share an output folder remember together, such as when a call began.

Each is a small file: its content is the time, its time of change says when it was last needed. Where the folder cannot
be written, the times are remembered in this process only. Losing one costs at most a paid call; so they are neither
locked nor synced.
"""

import hashlib
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.storage.reading import open_nofollow, read_regular

KEPT_SECONDS = 24 * 3600.0  # a time that was not needed for longer is removed
_MAX_FILE_BYTES = 40  # bytes of a file


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that is remembered.

    Attributes:
        at: The time itself, in unix seconds.
        touched: When it was last needed, in unix seconds.
    """

    at: float
    touched: float


class Moments:
    """Times by name. Its methods block for less than a millisecond on a local disk; they may be called from any thread.

    Args:
        folder: Where the files are; made at first use, in a folder that exists by then.
        kind: What the times are, as the beginning of the files' names.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._unwritten: dict[str, Moment] = {}
        self._swept = False

    def get(self, *name: object) -> Moment | None:
        """The time under this name; None where there is none, or one to come, which a wrong clock left."""
        path = self._path(name)
        try:
            at, touched = float(read_regular(path, _MAX_FILE_BYTES)), path.lstat().st_mtime
            moment = Moment(at, touched)
        except (OSError, ValueError):
            found = self._unwritten.get(path.name)
            if found is None:
                return None
            moment = found
        return moment if moment.at <= time.time() else None

    def put(self, at: float, *name: object) -> None:
        """Remember a time, in place of the one before; it counts as needed now."""
        path = self._path(name)
        try:
            self._folder.mkdir(exist_ok=True)
            self._sweep()
            with open(path, "wb", opener=open_nofollow) as file:
                file.write(f"{at:.6f}".encode())
            self._unwritten.pop(path.name, None)
        except OSError:
            self._unwritten[path.name] = Moment(at, time.time())

    def touch(self, *name: object) -> None:
        """Note that the time is needed now, if there is one."""
        path = self._path(name)
        if found := self._unwritten.get(path.name):
            self.put(found.at, *name)  # by now there may be a folder
        with suppress(OSError):  # another process removed it
            os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)

    def remove(self, *name: object) -> None:
        """Forget the time."""
        path = self._path(name)
        self._unwritten.pop(path.name, None)
        with suppress(OSError):  # there is none, or it stays, and grows old
            path.unlink()

    def oldest(self, needed_since: float) -> float:
        """The earliest of the times that were needed since then, in unix seconds; infinity where there is none."""
        found = list(self._unwritten.values())
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(f"{self._kind}-"):
                    continue
                with suppress(OSError, ValueError):
                    touched = entry.stat(follow_symlinks=False).st_mtime
                    found.append(Moment(float(read_regular(entry.path, _MAX_FILE_BYTES)), touched))
        return min((moment.at for moment in found if moment.touched >= needed_since), default=math.inf)

    def _path(self, name: tuple[object, ...]) -> Path:
        digest = hashlib.sha256(repr([str(part) for part in name]).encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{self._kind}-{digest[:32]}"

    def _sweep(self) -> None:
        """Remove, once in a process, what was not needed for long."""
        if self._swept:
            return
        self._swept = True
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - KEPT_SECONDS:
                        Path(entry.path).unlink()
