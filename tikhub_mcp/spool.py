"""Rows in the making: written as text when they are read, finished when all are known, never all in memory."""

import io
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Self

from msgspec import Struct
from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.cells import line
from tikhub_mcp.fields import Row
from tikhub_mcp.files import os_errors

CHUNK = 2**18  # bytes written at once

_LAST = (b"false", b"true", b"null")  # what `is_latest` may be, as Snapshots.latest numbers it
_LAST_CELL = (b"false\r\n", b"true\r\n", b"\r\n")
_END = b"\n    }"


class Written(Struct, gc=False):
    """A row as text.

    Attributes:
        json: An object, its lines indented by four blanks but for the first.
        csv: A line with its end.
    """

    json: bytes
    csv: bytes

    def row(self) -> Row:
        """The row itself."""
        row: Row = decode(self.json)
        return row


class Spool:
    """The texts of rows, in a file that nobody sees, but for their last value, which only all rows together tell.

    Memory holds where each one begins.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # for messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - this class is what closes it
        self._pending = bytearray()
        self._ends = array("Q", [0])  # of each row's JSON and CSV, in turn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written at last is not wanted any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._ends) // 2

    def add(self, row: Row) -> None:
        """Put a row behind the others, its last value still None; not once they are read."""
        # No text in it has a line break of its own: JSON writes these as escapes.
        json = indented(encode(row), indent=2).replace(b"\n", b"\n    ").removesuffix(_LAST[2] + _END)
        csv = line(row.values())
        middle = self._ends[-1] + len(json)
        self._ends.extend((middle, middle + len(csv)))
        self._pending += json
        self._pending += csv
        if len(self._pending) >= CHUNK:
            self._flush()

    def __getitem__(self, number: int) -> Row:
        """The row with this number, from 0, its last value None."""
        self._flush()
        start, end = self._ends[2 * number : 2 * number + 2]
        with os_errors(self._place):
            self._file.seek(start)
            row: Row = decode(self._file.read(end - start) + _LAST[2] + _END)
        return row

    def written(self, last: bytes | bytearray) -> Iterator[Written]:
        """All rows as text, with their last values.

        Args:
            last: For each row 0 for false, 1 for true, 2 for None.
        """
        self._flush()
        with os_errors(self._place):
            self._file.seek(0)
            reader = io.BufferedReader(self._file, CHUNK)
            try:
                lengths = (end - start for start, end in pairwise(self._ends))
                for value, json, csv in zip(last, lengths, lengths, strict=True):
                    yield Written(reader.read(json) + _LAST[value] + _END, reader.read(csv) + _LAST_CELL[value])
            finally:
                with suppress(ValueError):  # closed meanwhile, because somebody had enough
                    reader.detach()  # or it would close the file with itself

    def _flush(self) -> None:
        with os_errors(self._place):
            while self._pending:
                del self._pending[: self._file.write(self._pending)]
