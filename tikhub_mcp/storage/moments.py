"""Stores times, such as the beginning of a call, that are shared by all processes with the same output folder.

Each time is a small file: the content is the time, and the modification time says when it was last used. If the folder
cannot be written, the times are stored in this process only. The files appear complete or not at all; they are not
synced, since a loss of power costs at most answers that are paid for once more.
"""

import hashlib
import math
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.storage.reading import read_start

KEPT_SECONDS = 24 * 3600.0  # a time that was not used for longer is removed
_SWEEP_SECONDS = 3600.0
_MAX_FILE_BYTES = 40  # bytes of a file


@dataclass(frozen=True, slots=True)
class Moment:
    """A stored time.

    Attributes:
        at: The time itself, in Unix seconds.
        touched: When it was last used, in Unix seconds.
    """

    at: float
    touched: float


class Moments:
    """Stored times by name.

    The methods may be called from any thread; they block for less than a millisecond on a local disk.

    Args:
        folder: The folder of the files. It is created at first use; its parent must exist by then.
        kind: The kind of the times, used as a prefix of the file names.
        kept_seconds: A time that was not used for longer is removed.
    """

    def __init__(self, folder: Path, kind: str, kept_seconds: float = KEPT_SECONDS) -> None:
        self._folder = folder
        self._kind = kind
        self._kept_seconds = max(kept_seconds, KEPT_SECONDS)
        self._unwritten: dict[str, Moment] = {}
        self._next_sweep = 0.0

    def get(self, *name: object) -> Moment | None:
        """Return the time with this name; None when there is none, or it is in the future because of a wrong clock."""
        path = self._path(name)
        try:
            moment = Moment(float(read_start(path, _MAX_FILE_BYTES)), path.lstat().st_mtime)
        except (OSError, ValueError):
            found = self._unwritten.get(path.name)
            if found is None:
                return None
            moment = found
        return moment if moment.at <= time.time() else None

    def put(self, at: float, *name: object) -> None:
        """Store a time in Unix seconds, replacing the one with the same name; it counts as used now."""
        path = self._path(name)
        try:
            self._folder.mkdir(exist_ok=True)
            self._sweep()
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            try:
                part.write_bytes(f"{at:.6f}".encode())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            self._unwritten.pop(path.name, None)
        except OSError:
            self._unwritten[path.name] = Moment(at, time.time())

    def touch(self, *name: object) -> None:
        """Mark the time as used now, if there is one."""
        path = self._path(name)
        if found := self._unwritten.get(path.name):
            self.put(found.at, *name)  # the folder may be writable by now
        with suppress(OSError):  # another process removed it
            os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)

    def remove(self, *name: object) -> None:
        """Remove the time, if there is one."""
        path = self._path(name)
        self._unwritten.pop(path.name, None)
        with suppress(OSError):  # there is no file, or it cannot be removed and expires later
            path.unlink()

    def oldest(self, needed_since: float) -> float:
        """Return the earliest time that was used since `needed_since`, in Unix seconds; infinity when there is none."""
        found = list(self._unwritten.values())
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(f"{self._kind}-"):
                    continue
                with suppress(OSError, ValueError):
                    touched = entry.stat(follow_symlinks=False).st_mtime
                    found.append(Moment(float(read_start(Path(entry.path), _MAX_FILE_BYTES)), touched))
        return min((moment.at for moment in found if moment.touched >= needed_since), default=math.inf)

    def _path(self, name: tuple[object, ...]) -> Path:
        digest = hashlib.sha256(repr([str(part) for part in name]).encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{self._kind}-{digest[:32]}"

    def _sweep(self) -> None:
        """Remove the times that were not used for long; at most once an hour."""
        now = time.time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        used_since = now - self._kept_seconds
        self._unwritten = {name: moment for name, moment in self._unwritten.items() if moment.touched >= used_since}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    is_ours = entry.name.lstrip(".").startswith(f"{self._kind}-")
                    if is_ours and entry.stat(follow_symlinks=False).st_mtime < used_since:
                        Path(entry.path).unlink()
