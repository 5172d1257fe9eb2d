"""A change to another program's file: shown without its secrets, made all at once, with a copy of what was there."""

import difflib
import json
import os
import re
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tikhub_mcp.errors import InvalidInput, NotWritable
from tikhub_mcp.install import edits
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.storage.atomic import PRIVATE, Part, os_errors, write_all, write_whole
from tikhub_mcp.storage.reading import read_regular
from tikhub_mcp.text import clean

KEY = "TIKHUB_API_KEY"
MAX_SETTINGS_BYTES = 64 * 2**20  # bytes; Claude Code keeps a history in its file
_HIDDEN = "***"
_GIVEN = re.compile(rf'"{KEY}"\s*:\s*"(?!\$\{{)[^"]')


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of a host's file.

    Attributes:
        path: The file; it may be a link.
        before: What it holds; None when it does not exist.
        after: What it would hold.
        views: Of both, what the change is about, for people.
        note: What the user should know in the end.
        secret: The key that goes in.
    """

    path: Path
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)
    views: tuple[Json, Json] = field(repr=False)
    note: str
    secret: str = field(default="", repr=False)

    @property
    def needed(self) -> bool:
        """Whether anything would change."""
        return self.before != self.after

    @property
    def backup_holds_key(self) -> bool:
        """Whether what the file held until now has a key in it."""
        return _GIVEN.search(edits.decoded(self.before)) is not None

    def diff(self) -> list[str]:
        """The change as a unified diff for people, of our entry alone: all else stays as it is.

        What stands in `env` is not shown, and nothing can act on a terminal.
        """
        before, after = map(_without_secrets, self.views)
        if before == after:  # all that differs is hidden
            before = _without_secrets(self.views[0], f"{_HIDDEN} (another)")
        old, new = (json.dumps(view, ensure_ascii=False, indent=2).split("\n") for view in (before, after))
        name = clean(str(self.path))
        return [line[:1] + _line(line[1:]) for line in difflib.unified_diff(old, new, name, name, n=9, lineterm="")]

    def write(self, now: datetime) -> Path | None:
        """Write the file, all at once and through a link; where the backup of what it held is, if it held anything.

        Raises:
            NotWritable, DiskFull: It could not be written, or is not any more as it was; nothing has changed.
        """
        place, backup = target(self.path), None
        with os_errors(place), ExitStack() as undo:
            place.parent.mkdir(parents=True, exist_ok=True)
            if self.before is not None and not _may_write(place):
                raise NotWritable(f"The file {self.path} is read-only.")
            if self.before:
                backup = _free(self.path, now)
                undo.callback(backup.unlink, missing_ok=True)
                write_whole(backup, self.before)
            with Part(place, PRIVATE) as part:
                write_all(part.file, self.after or b"")
                if self.before is not None:
                    _liken(part.path, place.stat(), private=bool(self.secret))
                os.fsync(part.file.fileno())  # which takes its time: only then is looked again
                if read_file(place) != self.before:
                    raise NotWritable(
                        f"{self.path} was changed by another program meanwhile. Nothing was written; try again."
                    )
                undo.pop_all()  # whatever happens from here on, the copy stays
                part.commit()
        return backup


def _without_secrets(view: Json, hidden: str = _HIDDEN) -> Json:
    match view:
        case {"env": dict() as env}:
            return view | {"env": {name: value if "${" in str(value) else hidden for name, value in env.items()}}
        case dict():
            return {name: _without_secrets(value, hidden) for name, value in view.items()}
    return view


def target(path: Path) -> Path:
    """Where a file lies, through links.

    Raises:
        InvalidInput: They lead nowhere.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere.") from None


def read_file(target: Path) -> bytes | None:
    """What a file holds; None where there is none.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        return read_regular(target, MAX_SETTINGS_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{clean(str(target))} cannot be read: {reason}.") from None


def _line(line: str) -> str:
    begin = len(line) - len(line.lstrip())
    return line[:begin] + clean(line[begin:])


def _free(path: Path, now: datetime) -> Path:
    """A name for the backup that nothing has yet."""
    while (backup := path.with_name(f"{path.name}.backup-{now:%Y%m%d-%H%M%S}")).exists():
        now += timedelta(seconds=1)
    return backup


def _liken(path: Path, model: os.stat_result, *, private: bool) -> None:
    if hasattr(os, "chown"):
        with suppress(OSError):  # only an administrator can, who must not take a user's file away
            os.chown(path, model.st_uid, model.st_gid)
    path.chmod(stat.S_IMODE(model.st_mode) & (stat.S_IRWXU if private else 0o7777))


def _may_write(path: Path) -> bool:
    """Whether a file is not read-only, which would not keep it from being replaced."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
