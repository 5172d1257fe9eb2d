"""The settings files of clients: reading, and writing in a file's own layout, with a copy of the old file."""

import codecs
import json
import math
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tikhub_mcp.errors import InvalidInput, NotWritable
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.storage.atomic import PRIVATE, Part, os_errors, write_all, write_whole
from tikhub_mcp.storage.reading import read_regular
from tikhub_mcp.text import clean

MAX_SETTINGS_BYTES = 64 * 2**20  # Claude Code keeps a history in its file
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_FIRST_INDENT = re.compile(r'\n([ \t]*)"')

Members = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change to a client's settings file.

    Attributes:
        path: The file; it may be a symbolic link.
        before: Its content; None if it does not exist.
        after: Its content after the change.
        question: What the change does, in a sentence without secrets.
        notes: What the user should know after the change, in sentences.
        lacks_key: Whether the server would find no API key.
        private: Whether the change writes an API key, so that only the owner may read the file.
    """

    path: Path
    before: bytes | None = field(repr=False)
    after: bytes | None = field(repr=False)
    question: str
    notes: tuple[str, ...]
    lacks_key: bool = False
    private: bool = False

    @property
    def needed(self) -> bool:
        """Whether the content would change."""
        return self.before != self.after

    def write(self, now: datetime) -> Path | None:
        """Write the file atomically, and its old content beside it; a symbolic link stays one.

        Args:
            now: The local time, for the name of the copy.

        Returns:
            The path of the copy, which only its owner may read; None if there was no content.

        Raises:
            InvalidInput: The file cannot be read any more.
            NotWritable: The file cannot be written, or another program has changed it. It stays as it was.
            DiskFull: There is no space left. The file stays as it was.
        """
        place, copy = _target(self.path), _unused(self.path, now) if self.before else None
        with os_errors(place):
            place.parent.mkdir(exist_ok=True)
            with Part(place, PRIVATE) as part:
                write_all(part.file, self.after or b"")
                if self.before is not None:
                    place.open("r+b").close()  # renaming the part would replace a read-only file too
                    _copy_owner_and_mode(part.path, place.stat(), private=self.private)
                os.fsync(part.file.fileno())  # may be slow, so it comes before the check for another program's change
                if copy:
                    write_whole(copy, self.before or b"")
                if read_file(self.path) != self.before:
                    if copy:
                        copy.unlink()
                    raise NotWritable(
                        f"{self.path} was changed by another program meanwhile. Nothing was written; try again."
                    )
                part.commit()
        return copy


def read_file(path: Path) -> bytes | None:
    """The content of a settings file, or of the one that a symbolic link leads to; None if it does not exist.

    Raises:
        InvalidInput: It cannot be read, is not a regular file, or has more than MAX_SETTINGS_BYTES bytes.
    """
    try:
        return read_regular(_target(path), MAX_SETTINGS_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{clean(str(path))} cannot be read: {reason}.") from None


def parse(content: bytes | None, *, comments: bool = False) -> Members:
    """The members of the JSON object that a settings file holds; none if it is missing or empty.

    Args:
        content: The content of the file.
        comments: Whether comments and trailing commas are allowed.

    Raises:
        InvalidInput: It is not an object in strict JSON, or cannot be written back without a loss: an object in it has
            a name twice, or a number is too large. The message begins with "it", and repeats no value.
    """
    try:
        text = (content or b"").decode("utf-8-sig")
        for extra in (_COMMENT, _LAST_COMMA) if comments else ():
            text = extra.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
        if not text.strip():
            return {}
        value = json.loads(text, object_pairs_hook=_distinct, parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError:
        raise InvalidInput("it is not in UTF-8") from None
    except json.JSONDecodeError as error:
        reason = "a comment" if error.doc.startswith(("//", "/*"), error.pos) else error.msg
        raise InvalidInput(f"it is not plain JSON (line {error.lineno}, column {error.colno}: {reason})") from None
    except (ValueError, RecursionError):  # NaN, a number that is too large, or too deep nesting
        raise InvalidInput("it is not plain JSON that can be read here") from None
    if not isinstance(value, dict):
        raise InvalidInput("it does not hold an object in braces")
    return value


def edit(content: bytes | None, change: Callable[[Members], Members]) -> tuple[Members, Members, bytes | None]:
    """Change the members of a settings file.

    The new content has the layout of the old one: the byte order mark, the indentation, the line ends, and the white
    space at the end. An object on one line stays on one line; a new file has an indentation of two spaces.

    Args:
        content: The content of the file; None if it does not exist.
        change: Makes the new members of the old ones, which it leaves as they are.

    Returns:
        The old members, the new ones, and the new content. Without a difference that is the old content.

    Raises:
        InvalidInput: As `parse`, or the nesting is too deep.
    """
    old = parse(content)
    try:
        new = change(old)
        return old, new, content if new == old else _rendered(new, content or b"")
    except RecursionError:
        raise InvalidInput("it is nested too deeply") from None


def _rendered(members: Members, like: bytes) -> bytes:
    old = like.decode("utf-8-sig")
    found = _FIRST_INDENT.search(old)
    indent = found[1] if found else None if old.strip("{} \t\r\n") else "  "
    text = json.dumps(members, ensure_ascii=False, indent=indent)
    text = text.replace("\n", "\r\n") if "\r\n" in old else text
    mark = codecs.BOM_UTF8 if like.startswith(codecs.BOM_UTF8) else b""
    end = old[len(old.rstrip()) :] if old.strip() else "\n"
    return mark + f"{text}{end}".encode(errors="backslashreplace")  # for a lone surrogate that is its escape in JSON


def _distinct(pairs: list[tuple[str, Json]]) -> Members:
    members = dict(pairs)
    if len(members) < len(pairs):  # JSON parsers differ in which of them they use
        raise InvalidInput("it has one name twice in the same object")
    return members


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, raises nothing for a loop of links, which cannot be read


def _unused(path: Path, now: datetime) -> Path:
    """An unused path beside the file, for the copy."""
    while (copy := path.with_name(f"{path.name}.backup-{now:%Y%m%d-%H%M%S}")).exists():
        now += timedelta(seconds=1)
    return copy


def _copy_owner_and_mode(path: Path, model: os.stat_result, *, private: bool) -> None:
    with suppress(OSError, AttributeError):  # for root, whose write would else take the file away from its user
        os.chown(path, model.st_uid, model.st_gid)  # Windows has none
    path.chmod(stat.S_IMODE(model.st_mode) & (stat.S_IRWXU if private else 0o7777))
