"""The files of a summary: a temporary one of all rows, the base class of all outputs, and the CSV and JSON outputs."""

import json
import os
import tempfile
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from pathlib import Path
from typing import Self

from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.storage.atomic import PRIVATE, Part, os_errors, write_all
from tikhub_mcp.summary import csv_cells
from tikhub_mcp.summary.history import Findings
from tikhub_mcp.summary.rows import Row

CHUNK = 2**18  # bytes that are written at once
BYTE_ORDER_MARK = "\ufeff".encode()  # at the start of a CSV file; without it Excel reads another encoding
LINE_END = b"\r\n"  # of a CSV file


class Spool:
    """All rows in an unnamed temporary file, so that a summary of any size needs little memory.

    Args:
        folder: Where the temporary file is created.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # the path in error messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=CHUNK)  # noqa: SIM115 - closed by `__exit__`
        self._starts, self._size = array("Q"), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # closing may fail to write; the content is not needed any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, row: Row) -> None:
        """Append a row; must not be called after a row was read."""
        text = encode(row) + b"\n"
        self._starts.append(self._size)
        self._size += len(text)
        with os_errors(self._place):
            self._file.write(text)

    def __getitem__(self, number: int) -> Row:
        """Return the row with this number, counted from 0."""
        with os_errors(self._place):
            self._file.seek(self._starts[number])
            row: Row = decode(self._file.readline())
        return row

    def rows(self, numbers: Iterable[int], newest: Container[int]) -> Iterator[Row]:
        """Yield the rows with these numbers, with their `is_latest`.

        Args:
            numbers: The numbers of the rows.
            newest: The numbers of the newest row of each post.
        """
        for number in numbers:
            row = self[number]
            row["is_latest"] = number in newest if row["parse_ok"] else None
            yield row


class Output(Part):
    """A part file, readable by its owner only, that is written in large pieces.

    Subclasses override `add` and `add_history` for the rows that they need.
    """

    def __init__(self, target: Path) -> None:
        with os_errors(target):
            if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
                raise OSError(0, f"{target.name} is there, and no file")
            super().__init__(target, PRIVATE)
        self._pending = bytearray()

    def add(self, row: Row) -> None:
        """Add the next row; ignored by default."""

    def add_history(self, lines: Sequence[Row]) -> None:
        """Add the history of the next post, the oldest line first; ignored by default."""

    def finish(self, found: Findings) -> None:  # noqa: ARG002 - subclasses use it
        """Complete the part file; `commit` then gives it its final name."""
        self._flush()

    def write(self, content: bytes) -> None:
        """Append bytes, which are buffered."""
        self._pending += content
        if len(self._pending) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        with os_errors(self.target):
            write_all(self.file, pending)


class CsvTable(Output):
    """A CSV file for spreadsheets, in UTF-8 with a byte order mark.

    Args:
        target: The final path.
        columns: The header.
    """

    def __init__(self, target: Path, columns: Iterable[str]) -> None:
        super().__init__(target)
        self.write(BYTE_ORDER_MARK + ",".join(columns).encode() + LINE_END)


class RowTable(CsvTable):
    """The CSV file of all rows."""

    def add(self, row: Row) -> None:
        """Append a row."""
        self.write(csv_cells.line(row.values()) + LINE_END)


class HistoryTable(CsvTable):
    """The CSV file of the history: how counts changed."""

    def add_history(self, lines: Sequence[Row]) -> None:
        """Append lines."""
        for line in lines:
            self.write(csv_cells.line(line.values()) + LINE_END)


class JsonTable(Output):
    """The JSON file of all rows, indented.

    Args:
        target: The final path.
        source: The file or folder that was read.
        rows: All rows; how many they are is known when the first of them is added.
    """

    def __init__(self, target: Path, source: str, rows: Sized) -> None:
        super().__init__(target)
        self._source, self._rows, self._begun = source, rows, False

    def add(self, row: Row) -> None:
        """Append a row."""
        if self._begun:
            self.write(b",")
        else:
            values = {"generated_from": self._source, "video_count": len(self._rows)}
            head = json.dumps(values, ensure_ascii=False, indent=2)
            self.write(f'{head[:-2]},\n  "videos": ['.encode())
            self._begun = True
        self.write((b"\n" + indented(encode(row), indent=2)).replace(b"\n", b"\n    "))

    def finish(self, found: Findings) -> None:
        """Write the end of the document."""
        self.write(b"\n  ]\n}\n")
        super().finish(found)
