"""Raw files → one table of posts: CSV for spreadsheets, JSON for programs.

Every file gives one row; one without a post says why.
"""

import csv
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.answer import Json, parse
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.fields import COLUMNS, Row, broken_row, row
from tikhub_mcp.files import PRIVATE, Part, careful, make_folder, os_errors, read_regular
from tikhub_mcp.text import clean, writable

CSV_NAME = "tikhub_videos_summary.csv"
JSON_NAME = "tikhub_videos_summary.json"
LARGEST_FILE = 64 * 2**20  # bytes; the largest answers known have 83 kB
LONGEST_CELL = 32_767  # UTF-16 units, in the CSV only: what Excel has beyond that, it takes for cells of their own

_CHUNK = 2**18  # bytes written at once, and enough of a summary to know it by
_MARKERS = (b'"generated_from"', b'"video_count"', b'"videos"')
# What spreadsheets run: their triggers, also behind blanks and quotes that they may strip, and DDE calls.
_FORMULA = re.compile(r"[\t\r\n]|[\s\"]*[=+\-@＝＋－＠]|\w+\|'.*'!")


class Stopped(Exception):
    """The caller wanted it to end; nothing was written."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, from what; how many files were read, and how many of them held a post."""

    csv_path: Path
    json_path: Path
    source: Path
    rows: int
    parsed: int
    broken: int


def summarize(
    source: Path,
    out_dir: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Read one raw file, or every `*.json` directly in a folder, and write both summaries, or neither.

    Files are what a shell's `*.json` names, in any case and in order of name: regular files, not hidden ones, not
    links. Of these only a summary of our own is left out.

    Args:
        source: A file or folder; where it may lie is the caller's business.
        out_dir: Made where it is missing.
        progress: Told the files done and the files in all, after each.
        stopped: Asked before each file, and before the outputs appear.

    Raises:
        InvalidInput: There is nothing to read.
        DiskFull, NotWritable: The outputs could not be written.
        Stopped: `stopped` said so.
    """
    source = source.absolute()
    folder, names = _inputs(source)
    make_folder(out_dir)

    def rows() -> Iterator[Row]:
        for done, name in enumerate(names, 1):
            if stopped():
                raise Stopped
            yield _row(folder, name)
            progress(done, len(names))

    with _Output(out_dir / CSV_NAME) as table, _Output(out_dir / JSON_NAME) as document:
        head = f'"generated_from": {_json(str(source))},\n  "video_count": {len(names)}'
        document.write(f'{{\n  {head},\n  "videos": [\n')
        parsed = _write(rows(), table, document)
        document.write("\n  ]\n}\n")
        table.finish()
        document.finish()
        if stopped():
            raise Stopped
        # The table first: on Windows a spreadsheet that shows it locks it, and then the document stays old, too.
        for output in (table, document):
            with os_errors(output.target):
                output.commit()
    return Summary(table.target, document.target, source, len(names), parsed, len(names) - parsed)


def _inputs(source: Path) -> tuple[Path, list[str]]:
    """The folder, and the names in it to read, one or more."""
    try:
        if stat.S_ISDIR(source.stat().st_mode):
            folder, names = source, _names(source)
        else:
            folder, names = source.parent, [source.name] if stat.S_ISREG(source.lstat().st_mode) else []
    except OSError as error:
        missing = " Nothing was saved there yet, or the path is wrong." if isinstance(error, FileNotFoundError) else ""
        raise InvalidInput(f"{clean(str(source))} cannot be read: {error.strerror}.{missing}") from error
    names = sorted(name for name in names if not _is_summary(folder / name))
    if not names:
        raise InvalidInput(
            f"Nothing to read in {clean(str(source))}: give a raw JSON file, or a folder that holds some. "
            "Links, hidden files, special files and earlier summaries do not count."
        )
    return folder, names


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return [name for name in files if name.lower().endswith(".json") and not name.startswith(".")]


def _is_summary(path: Path) -> bool:
    """Whether it is an output of ours, by name and content."""
    if path.name.lower() != JSON_NAME:
        return False
    try:
        with open(path, "rb", opener=careful) as file:
            head = file.read(_CHUNK) or b""
    except OSError:
        return False  # its row will say what is wrong
    return all(marker in head for marker in _MARKERS)


def _row(folder: Path, name: str) -> Row:
    try:
        body = read_regular(folder / name, LARGEST_FILE)
        return row(name, parse(body)) if body else broken_row(name, "The file holds no readable JSON: it is empty.")
    except OSError as error:
        return broken_row(name, f"The file cannot be read: {error.strerror}.")
    except ValueError as error:
        return broken_row(name, f"The file holds no readable JSON: {error}.")


def _json(value: Json, between: str = ", ") -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(between, ": "))


def _cell(value: Json) -> Json:
    """A value as spreadsheets may have it: no text that they would run, no NUL, at which some stop reading."""
    if isinstance(value, bool | dict):
        value = _json(value)
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "")
    if _FORMULA.match(text):
        text = f"'{text}"
    if len(text) > LONGEST_CELL // 2:
        text = text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST_CELL].decode("utf-16-le", "replace")
    return text


class _Output(Part):
    """A private file that is written in large pieces."""

    def __init__(self, target: Path) -> None:
        with os_errors(target):
            if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
                raise OSError(0, "what is there is no file")
            super().__init__(target, PRIVATE)
        self._pending = bytearray()

    def write(self, text: str) -> int:
        """Append."""
        try:
            content = text.encode()
        except UnicodeEncodeError:
            content = writable(text).encode()
        self._pending += content
        if len(self._pending) >= _CHUNK:
            self._flush()
        return len(content)

    def finish(self) -> None:
        """Put the rest into the part file."""
        self._flush()

    def _flush(self) -> None:
        with os_errors(self.target):
            while self._pending:
                del self._pending[: self.file.write(self._pending)]


def _write(rows: Iterable[Row], table: _Output, document: _Output) -> int:
    """Write the rows as they come, and count those with a post."""
    writer = csv.writer(table)
    table.write("\ufeff")
    writer.writerow(COLUMNS)
    parsed, between = 0, ""
    for made in rows:
        writer.writerow(map(_cell, made.values()))
        members = _json(made, ",\n      ")[1:-1]
        document.write(f"{between}    {{\n      {members}\n    }}")
        parsed, between = parsed + made["parse_ok"], ",\n"
    return parsed
