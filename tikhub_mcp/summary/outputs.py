"""Rows → files: what every output has in common, and the CSV and the JSON among them."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE, Part, os_errors, write_all
from tikhub_mcp.summary import csv_cells
from tikhub_mcp.summary.history import Findings
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.spool import CHUNK, Written


class Output(Part):
    """A private file in the making that is written in large pieces."""

    def __init__(self, target: Path) -> None:
        with os_errors(target):
            if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
                raise OSError(0, f"{target.name} is there, and no file")
            super().__init__(target, PRIVATE)
        self._pending = bytearray()

    def add(self, written: Written) -> None:
        """Take the next rows in, where rows are wanted."""

    def add_history(self, line: Row) -> None:
        """Take the next line of a post's history in, where these are wanted."""

    def finish(self, found: Findings) -> None:  # noqa: ARG002 - for those who tell of it
        """Put all of it into the part file; the name is for `commit`."""
        self._flush()

    def write(self, content: bytes) -> None:
        """Append."""
        self._pending += content
        if len(self._pending) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        with os_errors(self.target):
            write_all(self.file, pending)


class CsvTable(Output):
    """A table for spreadsheets: UTF-8 with a byte order mark, and no cell that can run.

    Args:
        target: Where it goes.
        columns: The header.
    """

    def __init__(self, target: Path, columns: Iterable[str]) -> None:
        super().__init__(target)
        self.write(b"\xef\xbb\xbf")
        self.write(",".join(columns).encode() + b"\r\n")


class RowTable(CsvTable):
    """The rows as such a table."""

    def add(self, written: Written) -> None:
        """Put rows behind the others."""
        self.write(written.csv)


class HistoryTable(CsvTable):
    """How numbers changed, as such a table."""

    def add_history(self, line: Row) -> None:
        """Put a line behind the others."""
        self.write(csv_cells.line(line.values()) + b"\r\n")


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
        self.write(f'{head[:-2]},\n  "videos": ['.encode())
        self._begun = False

    def add(self, written: Written) -> None:
        """Put rows behind the others."""
        self.write(written.json if self._begun else written.json[1:])  # its first comma would stand behind nothing
        self._begun = True

    def finish(self, found: Findings) -> None:
        """Close the list."""
        self.write(b"\n  ]\n}\n")
        super().finish(found)
