"""Rows in the making: written as text when they are read, finished when all are known, never all in memory."""

import errno
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import Self

from msgspec import Struct
from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.storage.atomic import os_errors, write_all
from tikhub_mcp.summary.csv_cells import line
from tikhub_mcp.summary.rows import Row

CHUNK = 2**18  # bytes written at once
BLOCK = 64  # rows finished at once, if they are not more than CHUNK

_GAP = b"\0"  # where the last value of a row will be: neither JSON nor a cell can hold it
_LAST = (b"false\n    }", b"true\n    }", b"null\n    }")  # what `is_latest` may be, as Snapshots.latest numbers it
_LAST_CELL = (b"false\r\n", b"true\r\n", b"\r\n")
# What stands around a row, indented in its place behind another one, and its comma.
_HEAD, _TAIL = len(b'{\n  "videos": [\n    null'), len(b"null\n    }\n  ]\n}")


class Written(Struct, gc=False):
    """Some rows as text.

    Attributes:
        count: How many they are.
        json: Objects, each behind a comma on a line of its own, indented by four blanks.
        csv: Lines with their ends.
    """

    count: int
    json: bytes
    csv: bytes

    def rows(self) -> list[Row]:
        """The rows themselves."""
        rows: list[Row] = decode(b"[%b]" % self.json[1:])
        return rows


class Spool:
    """The texts of rows, in files that nobody sees, but for their last value, which only all rows together tell."""

    def __init__(self, folder: Path) -> None:
        with ExitStack() as stack:
            self._json, self._csv = (stack.enter_context(_Texts(folder)) for _ in range(2))
            self._files = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __len__(self) -> int:
        return len(self._json)

    def add(self, rows: Sequence[Row]) -> None:
        """Put rows behind the others, their last values still None.

        One step after the other for all of them: of code that runs now and then a processor forgets more.

        Raises:
            RecursionError: One of them holds what is nested too deeply; then none is added.
        """
        lines = [line(row.values()) for row in rows]
        texts = [encode({"videos": [None, row]}) for row in rows]
        self._json.add([indented(text, indent=2)[_HEAD:-_TAIL] for text in texts])
        self._csv.add(lines)

    def __getitem__(self, number: int) -> Row:
        """The row with this number, from 0, its last value None."""
        row: Row = decode(self._json.read(number, number + 1)[1:-1] + _LAST[2])
        return row

    def written(self, last: Sequence[int]) -> Iterator[Written]:
        """All rows as text, with their last values.

        Args:
            last: For each row 0 for false, 1 for true, 2 for None.
        """
        first = 0
        while first < len(self):
            beyond = self._json.reach(first)
            json, csv = (texts.read(first, beyond) for texts in (self._json, self._csv))
            values = last[first:beyond]
            yield Written(len(values), _filled(json, values, _LAST), _filled(csv, values, _LAST_CELL))
            first = beyond


class _Texts:
    """Texts, a gap behind each, in a file without a name; memory holds where each one ends."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # for messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - this class is what closes it
        self._pending: list[bytes] = []
        self._there = 0  # bytes in the file
        self._ends = array("Q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written at last is not wanted any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, texts: list[bytes]) -> None:
        """Put texts behind the others; not once they are read."""
        self._pending += texts
        for text in texts:
            self._ends.append(self._ends[-1] + len(text) + len(_GAP))
        if self._ends[-1] - self._there >= CHUNK:
            self._flush()

    def reach(self, first: int) -> int:
        """One beyond the last text of the block that begins with `first`: BLOCK of them, or CHUNK bytes."""
        within = bisect_right(self._ends, self._ends[first] + CHUNK, first, min(first + BLOCK, len(self)) + 1) - 1
        return max(within, first + 1)

    def read(self, first: int, beyond: int) -> bytes:
        """The texts from `first` on, up to the one before `beyond`, with their gaps."""
        self._flush()
        size, read = self._ends[beyond] - self._ends[first], bytearray()
        with os_errors(self._place):
            self._file.seek(self._ends[first])
            while len(read) < size:  # some file systems give less than was asked for
                piece = self._file.read(size - len(read))
                if not piece:
                    raise OSError(errno.EIO, "what was written there is gone")
                read += piece
        return bytes(read)

    def _flush(self) -> None:
        texts = _GAP.join([*self._pending, b""])
        self._pending.clear()
        with os_errors(self._place):
            write_all(self._file, texts)
        self._there = self._ends[-1]


def _filled(text: bytes, values: Sequence[int], with_what: tuple[bytes, ...]) -> bytes:
    """The texts with their gaps filled."""
    *pieces, _ = text.split(_GAP)  # behind the last gap is nothing
    fillings = [with_what[value] for value in values]
    return b"".join(chain.from_iterable(zip(pieces, fillings, strict=True)))
