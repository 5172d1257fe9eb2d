"""A change to a client's settings file: its diff without secrets, and an atomic write with a backup."""

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
MAX_SETTINGS_BYTES = 64 * 2**20  # Claude Code keeps a history in its file
_HIDDEN = "***"
_LITERAL_KEY = re.compile(rf'"{KEY}"\s*:\s*"(?!\$\{{)[^"]')


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change to a client's settings file.

    Attributes:
        path: The file; it may be a symbolic link.
        before: Its content; None if it does not exist.
        after: Its content after the change.
        views: The parts of `before` and `after` that `diff` compares.
        note: What the user should know after the change.
        secret: The API key that the change writes; empty if none.
    """

    path: Path
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)
    views: tuple[Json, Json] = field(repr=False)
    note: str
    secret: str = field(default="", repr=False)

    @property
    def needed(self) -> bool:
        """Whether the content would change."""
        return self.before != self.after

    @property
    def backup_holds_key(self) -> bool:
        """Whether the content before the change, and so the backup, has an API key in it."""
        return _LITERAL_KEY.search(edits.decoded(self.before)) is not None

    def diff(self) -> list[str]:
        """The change as the lines of a unified diff of the server's entry; nothing else in the file changes.

        The values in `env` are hidden, and control characters are removed.
        """
        before, after = map(_without_secrets, self.views)
        if before == after:  # only hidden values differ
            before = _without_secrets(self.views[0], f"{_HIDDEN} (another)")
        old, new = (json.dumps(view, ensure_ascii=False, indent=2).split("\n") for view in (before, after))
        name = clean(str(self.path))
        return [line[:1] + _line(line[1:]) for line in difflib.unified_diff(old, new, name, name, n=9, lineterm="")]

    def write(self, now: datetime) -> Path | None:
        """Write the file atomically, after a backup of its content; a symbolic link stays one.

        Args:
            now: The local time, for the name of the backup.

        Returns:
            The path of the backup; None if there was no content.

        Raises:
            NotWritable: The file cannot be written, or another program has changed it. It stays as it was.
            DiskFull: There is no space left. The file stays as it was.
        """
        place, backup = target(self.path), None
        with os_errors(place), ExitStack() as undo:
            place.parent.mkdir(parents=True, exist_ok=True)
            if self.before is not None and not _may_write(place):
                raise NotWritable(f"The file {self.path} is read-only.")
            if self.before:
                backup = _backup_path(self.path, now)
                undo.callback(backup.unlink, missing_ok=True)
                write_whole(backup, self.before)
            with Part(place, PRIVATE) as part:
                write_all(part.file, self.after or b"")
                if self.before is not None:
                    _copy_owner_and_mode(part.path, place.stat(), private=bool(self.secret))
                os.fsync(part.file.fileno())  # may be slow, so it comes before the check for another program's change
                if read_file(place) != self.before:
                    raise NotWritable(
                        f"{self.path} was changed by another program meanwhile. Nothing was written; try again."
                    )
                undo.pop_all()  # keep the backup even if the commit fails
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
    """The path of a file with symbolic links resolved.

    Raises:
        InvalidInput: The links form a loop, or cannot be read.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of symbolic links
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere.") from None


def read_file(target: Path) -> bytes | None:
    """The content of a settings file; None if it does not exist.

    Raises:
        InvalidInput: It cannot be read, is not a regular file, or has more than MAX_SETTINGS_BYTES bytes.
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


def _backup_path(path: Path, now: datetime) -> Path:
    """An unused path for the backup, beside the file."""
    while (backup := path.with_name(f"{path.name}.backup-{now:%Y%m%d-%H%M%S}")).exists():
        now += timedelta(seconds=1)
    return backup


def _copy_owner_and_mode(path: Path, model: os.stat_result, *, private: bool) -> None:
    if hasattr(os, "chown"):
        with suppress(OSError):  # for root, whose write would else take the file away from its user
            os.chown(path, model.st_uid, model.st_gid)
    path.chmod(stat.S_IMODE(model.st_mode) & (stat.S_IRWXU if private else 0o7777))


def _may_write(path: Path) -> bool:
    """Whether the file is writable: os.replace would replace a read-only one too."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
