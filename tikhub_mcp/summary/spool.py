"""Temporary storage of rows on disk, so that a summary of any size needs little memory.

Rows are stored as JSON and CSV text when they are read. One value, `is_latest`, is inserted at the end, when all rows
are known.
"""

import errno
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Self

from msgspec import Raw, Struct
from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.storage.atomic import os_errors
from tikhub_mcp.summary.csv_cells import line
from tikhub_mcp.summary.rows import Row

CHUNK = 2**18  # bytes that are written at once, roughly

_GAP = b"\0"  # placeholder of `is_latest`; it occurs in neither the JSON nor the CSV text
_VALUES = (b"false", b"true", b"null")  # of `is_latest`, indexed by `Snapshots.latest`
_CELLS = (b"false", b"true", b"")
_GAP_CELL = {"is_latest": Raw(_GAP)}
_UNKNOWN, _FILLED = b'"is_latest": null', b'"is_latest": \0'  # in a row's JSON text
# The lengths of the text before and after a row in the indented JSON that `Spool.add` makes of it.
_HEAD, _TAIL = len(b'{\n  "videos": [\n    null'), len(b"\n  ]\n}")


class Written(Struct, gc=False):
    """A block of rows as text.

    Attributes:
        count: The number of rows.
        json: The rows as JSON objects, indented by four spaces, with a comma and a newline before each.
        csv: The rows as CSV lines, with their line ends.
    """

    count: int
    json: bytes
    csv: bytes

    def rows(self) -> list[Row]:
        """Return the rows, decoded from the JSON text."""
        rows: list[Row] = decode(b"[%b]" % self.json[1:])
        return rows


class Spool:
    """The texts of all rows without their `is_latest`, in an unnamed temporary file.

    The file has blocks, each with the JSON texts of some rows and then their CSV texts.

    Args:
        folder: Where the temporary file is created.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # the path in error messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=CHUNK)  # noqa: SIM115 - closed by `__exit__`
        self._size = 0
        self._starts, self._ends = array("Q"), array("Q")  # of each row's JSON text
        self._blocks: list[tuple[int, int, int, int]] = []  # start, length of JSON and of CSV in bytes, number of rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # closing may fail to write; the content is not needed any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, whose `is_latest` is still None, as one block.

        Each step is done for all rows before the next step, which is faster because it uses the CPU's caches better.

        Raises:
            RecursionError: One of the rows is nested too deeply; none is added.
        """
        lines = b"".join([line((row | _GAP_CELL).values()) + b"\r\n" for row in rows])
        encoded = [encode({"videos": [None, row]}) for row in rows]
        texts = [_gapped(indented(text, indent=2)[_HEAD:-_TAIL]) for text in encoded]
        start = end = self._size
        for text in texts:
            self._starts.append(end)
            self._ends.append(end := end + len(text))
        with os_errors(self._place):
            self._file.writelines([*texts, lines])
        if rows:
            self._blocks.append((start, end - start, len(lines), len(rows)))
        self._size = end + len(lines)

    def __getitem__(self, number: int) -> Row:
        """Return the row with this number, counted from 0; its `is_latest` is None."""
        start = self._starts[number]
        row: Row = decode(self._read(start, self._ends[number] - start)[1:].replace(_GAP, b"null"))
        return row

    def written(self, latest: Sequence[int]) -> Iterator[Written]:
        """Yield all rows as text, with their `is_latest`, in blocks.

        Args:
            latest: For each row 0 for false, 1 for true, 2 for None.
        """
        first = 0
        for start, json_size, csv_size, count in self._blocks:
            values, first = latest[first : first + count], first + count
            text = self._read(start, json_size + csv_size)
            yield Written(count, _filled(text[:json_size], values, _VALUES), _filled(text[json_size:], values, _CELLS))

    def _read(self, start: int, size: int) -> bytes:
        with os_errors(self._place):
            self._file.seek(start)
            content: bytes = self._file.read(size)
            if len(content) < size:
                raise OSError(errno.EIO, "what was written there is gone")
        return content


def _gapped(text: bytes) -> bytes:
    """Return a row's JSON text with a gap for `is_latest`, behind which texts with escaped quotes stand only."""
    before, _, after = text.rpartition(_UNKNOWN)
    return before + _FILLED + after


def _filled(text: bytes, values: Sequence[int], choices: tuple[bytes, ...]) -> bytes:
    """Return the texts with their gaps replaced; each value is an index of `choices`."""
    *pieces, end = text.split(_GAP)
    fillings = [choices[value] for value in values]
    return b"".join(chain.from_iterable(zip(pieces, fillings, strict=True))) + end
