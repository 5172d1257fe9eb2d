"""The output files of a summary: the base class of all of them, and the CSV and JSON outputs."""

import json
import os
from collections.abc import Iterable, Sized
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE, Part, os_errors, write_all
from tikhub_mcp.summary import csv_cells
from tikhub_mcp.summary.history import Findings
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.spool import CHUNK, Written

BYTE_ORDER_MARK = "\ufeff".encode()  # at the start of a CSV file; without it Excel reads another encoding
LINE_END = b"\r\n"  # of a CSV file


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

    def add(self, written: Written) -> None:
        """Add the next rows; ignored by default."""

    def add_history(self, line: Row) -> None:
        """Add the next line of a post's history; ignored by default."""

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

    def add(self, written: Written) -> None:
        """Append rows."""
        self.write(written.csv)


class HistoryTable(CsvTable):
    """The CSV file of the history: how counts changed."""

    def add_history(self, line: Row) -> None:
        """Append a line."""
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

    def add(self, written: Written) -> None:
        """Append rows."""
        if self._begun:
            self.write(written.json)
            return
        values = {"generated_from": self._source, "video_count": len(self._rows)}
        head = json.dumps(values, ensure_ascii=False, indent=2)
        self.write(f'{head[:-2]},\n  "videos": ['.encode())
        self.write(written.json[1:])  # the first row has no comma before it
        self._begun = True

    def finish(self, found: Findings) -> None:
        """Write the end of the document."""
        self.write(b"\n  ]\n}\n")
        super().finish(found)
