"""Rows → files: a spool that holds them until all are known, and the CSV and the JSON made of it."""

import io
import json
import os
import re
import tempfile
from array import array
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Self

from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.answer import Json
from tikhub_mcp.fields import Row
from tikhub_mcp.files import PRIVATE, Part, os_errors
from tikhub_mcp.snapshots import Findings

LONGEST_CELL = 32_767  # UTF-16 units: what Excel has beyond that, it takes for cells of their own

_CHUNK = 2**18  # bytes written at once
# What spreadsheets run: their triggers, also behind blanks and quotes that they may strip, and DDE calls.
_RISKY = {*'"=+-@＝＋－＠', *filter(str.isspace, map(chr, range(0x3001)))}  # with these such a text begins, but for DDE
_FORMULA = re.compile(r"[\t\r\n]|[\s\"]*[=+\-@＝＋－＠]|\w+\|'.*'!")


class Spool:
    """Rows in a file that nobody sees, in the order in which they came; memory holds where each one begins."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # for messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - this class is what closes it
        self._pending = bytearray()
        self._starts = array("Q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written at last is not wanted any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, row: Row) -> None:
        """Put a row behind the others; not once they are read."""
        text = encode(row)
        self._starts.append(self._starts[-1] + len(text))
        self._pending += text
        if len(self._pending) >= _CHUNK:
            self._flush()

    def __getitem__(self, number: int) -> Row:
        """The row with this number, from 0."""
        self._flush()
        with os_errors(self._place):
            self._file.seek(self._starts[number])
            row: Row = decode(self._file.read(self._starts[number + 1] - self._starts[number]))
        return row

    def __iter__(self) -> Iterator[Row]:
        self._flush()
        with os_errors(self._place):
            self._file.seek(0)
        reader = io.BufferedReader(self._file, _CHUNK)
        try:
            for start, end in pairwise(self._starts):
                with os_errors(self._place):
                    text = reader.read(end - start)
                yield decode(text)
        finally:
            with suppress(ValueError):  # closed meanwhile, because somebody had enough
                reader.detach()  # or it would close the file with itself

    def _flush(self) -> None:
        with os_errors(self._place):
            while self._pending:
                del self._pending[: self._file.write(self._pending)]


class Output(Part):
    """A private file in the making that is written in large pieces."""

    def __init__(self, target: Path) -> None:
        with os_errors(target):
            if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
                raise OSError(0, "what is there is no file")
            super().__init__(target, PRIVATE)
        self._pending = bytearray()

    def add(self, row: Row) -> None:
        """Take the next row in, where rows are wanted."""

    def add_history(self, line: Row) -> None:
        """Take the next line of a post's history in, where these are wanted."""

    def finish(self, found: Findings) -> None:  # noqa: ARG002 - for those who tell of it
        """Put all of it into the part file; the name is for `commit`."""
        self._flush()

    def write(self, content: bytes) -> None:
        """Append."""
        self._pending += content
        if len(self._pending) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        with os_errors(self.target):
            while self._pending:
                del self._pending[: self.file.write(self._pending)]


class CsvTable(Output):
    """A table for spreadsheets: UTF-8 with a byte order mark, and no cell that can run.

    Args:
        target: Where it goes.
        columns: The header.
    """

    def __init__(self, target: Path, columns: Collection[str]) -> None:
        super().__init__(target)
        self.write(b"\xef\xbb\xbf")
        self.put(columns)

    def put(self, values: Collection[Json]) -> None:
        """Put a line behind the others; its values stand in the order of the columns."""
        # csv.writer looks at every character of a row, in three times the time; here most are only searched.
        cells = [
            value
            if type(value) is str and value[:1] not in _RISKY
            else str(value)
            if type(value) is int
            else cell(value)
            for value in values
        ]
        line = ",".join(cells)
        if len(line) > LONGEST_CELL // 2 or "\0" in line or ("|" in line and "|'" in line):
            cells = [cell(value) for value in values]
            line = ",".join(cells)
        if line.count(",") >= len(cells) or '"' in line or "\n" in line or "\r" in line:
            line = ",".join(map(_quoted, cells))
        self.write(f"{line}\r\n".encode())


class RowTable(CsvTable):
    """The rows as such a table."""

    def add(self, row: Row) -> None:
        """Put a row behind the others."""
        self.put(row.values())


class HistoryTable(CsvTable):
    """How numbers changed, as such a table."""

    def add_history(self, line: Row) -> None:
        """Put a line behind the others."""
        self.put(line.values())


class JsonTable(Output):
    """A document for programs, indented for people.

    Args:
        target: Where it goes.
        source: What was read.
        count: How many rows will come.
    """

    def __init__(self, target: Path, source: str, count: int) -> None:
        super().__init__(target)
        head = json.dumps({"generated_from": source, "video_count": count}, ensure_ascii=False, indent=2)
        self.write(f'{head[:-2]},\n  "videos": [\n    '.encode())
        self._between = b""

    def add(self, row: Row) -> None:
        """Put a row behind the others."""
        # No text in it has a line break of its own: JSON writes these as escapes.
        self.write(self._between + indented(encode(row), indent=2).replace(b"\n", b"\n    "))
        self._between = b",\n    "

    def finish(self, found: Findings) -> None:
        """Close the list."""
        self.write(b"\n  ]\n}\n")
        super().finish(found)


def cell(value: Json) -> str:
    """A value as text that spreadsheets may have: none that they would run, no NUL, at which some stop reading."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return str(value)
    text = value.replace("\0", "")
    if _FORMULA.match(text):
        text = f"'{text}"
    return fitting(text)


def fitting(text: str) -> str:
    """A text as far as a cell can hold it."""
    if len(text) <= LONGEST_CELL // 2:
        return text
    return text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST_CELL].decode("utf-16-le", "ignore")


def _quoted(text: str) -> str:
    """A cell as RFC 4180 has it."""
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
