"""Temporary storage of rows on disk, so that a summary of any size needs little memory.

Rows are stored as JSON and CSV text when they are read. One value, `is_latest`, is inserted at the end, when all rows
are known.
"""

import errno
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import Self

from msgspec import Raw, Struct
from msgspec.json import decode, encode
from msgspec.json import format as indented

from tikhub_mcp.storage.atomic import os_errors, write_all
from tikhub_mcp.summary.csv_cells import line
from tikhub_mcp.summary.rows import Row

CHUNK = 2**18  # bytes that are written at once
BLOCK = 64  # rows that are completed at once, if they have at most CHUNK bytes

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
    """The texts of all rows without their `is_latest`, in unnamed temporary files.

    Args:
        folder: Where the temporary files are created.
    """

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
        """Append rows, whose `is_latest` is still None.

        Each step is done for all rows before the next step, which is faster because it uses the CPU's caches better.

        Raises:
            RecursionError: One of the rows is nested too deeply; none is added.
        """
        lines = [line((row | _GAP_CELL).values()) + b"\r\n" for row in rows]
        texts = [encode({"videos": [None, row]}) for row in rows]
        self._json.add([_gapped(indented(text, indent=2)[_HEAD:-_TAIL]) for text in texts])
        self._csv.add(lines)

    def __getitem__(self, number: int) -> Row:
        """Return the row with this number, counted from 0; its `is_latest` is None."""
        row: Row = decode(self._json.read(number, number + 1)[1:].replace(_GAP, b"null"))
        return row

    def written(self, latest: Sequence[int]) -> Iterator[Written]:
        """Yield all rows as text, with their `is_latest`, in blocks.

        Args:
            latest: For each row 0 for false, 1 for true, 2 for None.
        """
        start = 0
        while start < len(self):
            stop = self._json.block_end(start)
            json, csv = (texts.read(start, stop) for texts in (self._json, self._csv))
            values = latest[start:stop]
            yield Written(len(values), _filled(json, values, _VALUES), _filled(csv, values, _CELLS))
            start = stop


class _Texts:
    """Texts in an unnamed temporary file, each with one gap; only their offsets are in memory."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "spool"  # the path in error messages
        with os_errors(self._place):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `__exit__`
        self._pending: list[bytes] = []
        self._file_size = 0
        self._ends = array("Q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # closing may fail to write; the content is not needed any more
            self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, texts: list[bytes]) -> None:
        """Append texts; must not be called after `read`."""
        self._pending += texts
        for text in texts:
            self._ends.append(self._ends[-1] + len(text))
        if self._ends[-1] - self._file_size >= CHUNK:
            self._flush()

    def block_end(self, start: int) -> int:
        """Return the end of the block that starts with text `start`: at most BLOCK texts and CHUNK bytes, at least one.

        The end is exclusive.
        """
        stop = bisect_right(self._ends, self._ends[start] + CHUNK, start, min(start + BLOCK, len(self)) + 1) - 1
        return max(stop, start + 1)

    def read(self, start: int, stop: int) -> bytes:
        """Return the texts from `start` to `stop` (exclusive)."""
        self._flush()
        size, content = self._ends[stop] - self._ends[start], bytearray()
        with os_errors(self._place):
            self._file.seek(self._ends[start])
            while len(content) < size:  # an unbuffered read may return fewer bytes than requested
                piece = self._file.read(size - len(content))
                if not piece:
                    raise OSError(errno.EIO, "what was written there is gone")
                content += piece
        return bytes(content)

    def _flush(self) -> None:
        texts = b"".join(self._pending)
        self._pending.clear()
        with os_errors(self._place):
            write_all(self._file, texts)
        self._file_size = self._ends[-1]


def _gapped(text: bytes) -> bytes:
    """Return a row's JSON text with a gap for `is_latest`, behind which texts with escaped quotes stand only."""
    before, _, after = text.rpartition(_UNKNOWN)
    return before + _FILLED + after


def _filled(text: bytes, values: Sequence[int], choices: tuple[bytes, ...]) -> bytes:
    """Return the texts with their gaps replaced; each value is an index of `choices`."""
    *pieces, end = text.split(_GAP)
    fillings = [choices[value] for value in values]
    return b"".join(chain.from_iterable(zip(pieces, fillings, strict=True))) + end
