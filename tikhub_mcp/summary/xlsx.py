"""The Excel workbook of a summary: sheets of the posts, of their history, and of what each column means."""

import io
import json
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.messages import said, translate
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.aweme import unix_time
from tikhub_mcp.posts.counts import COUNTS
from tikhub_mcp.storage.atomic import os_errors
from tikhub_mcp.storage.temporary import temporary_folder
from tikhub_mcp.summary.columns import COLUMNS, OURS, heading_and_meaning
from tikhub_mcp.summary.csv_cells import fitting
from tikhub_mcp.summary.history import HISTORY, Findings
from tikhub_mcp.summary.outputs import Output
from tikhub_mcp.summary.rows import Row, without_unreported

MAX_ROWS = 1_048_576  # in a sheet, including the header
MAX_HYPERLINKS = 65_530  # in a sheet; Excel repairs a file with more by removing all of them
MAX_HYPERLINK_UNITS = 2079  # UTF-16 code units
EXACT_DIGITS = 10**15  # Excel stores 15 digits of a number
FIRST_DATE = datetime(1900, 3, 1)  # noqa: DTZ001 - Excel cannot represent earlier dates correctly (1900 is no leap year)
LINE = 15.75  # row height in points; the default of 15 is not written, and LibreOffice then computes its own

_FOREMOST: Final = (  # the columns that people look for come first, then the others in the order of the CSV
    "author_nickname",
    "desc",
    "create_time_unix",
    "platform",
    *COUNTS,
    "engagement_rate",
    "as_of",
    "is_latest",
    "link",
    "aweme_id",
    "parse_ok",
    "error",
)
POSTS: Final = tuple(dict.fromkeys((*_FOREMOST, *COLUMNS)))
HISTORY_COLUMNS: Final = tuple(dict.fromkeys(("author_nickname", *HISTORY)))

_MOMENTS: Final = {"create_time_unix", "as_of"}
_LINKS: Final = {"link", "cover_url", "play_url_sample"}
INTEGER, DECIMAL, DATE = "#,##0", "#,##0.0", "yyyy-mm-dd hh:mm:ss"
# Columns with a format of their own; of days, a few minutes are still more than 0.
_OWN: Final = {"engagement_rate": "0.00%", "days_since_previous": "#,##0.0##"}
_WIDTHS: Final = {  # in characters; other columns are as wide as their name
    "desc": 60,
    "error": 40,
    "hashtags": 30,
    "source_file": 42,
    "link": 40,
    "share_url": 40,
    "author_nickname": 24,
    "author_unique_id": 20,
    "aweme_id": 22,
    "create_time_unix": 20,
    "as_of": 20,
    "music_title": 28,
}


class Workbook(Output):
    """The workbook, with the sheets "Posts" (all rows), "History" (how counts changed) and "Columns" (their meaning).

    Args:
        target: The final path.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self._resources = ExitStack()  # the temporary folder, and files in it that XlsxWriter leaves open
        with ExitStack() as undo:
            undo.callback(self.discard)
            with os_errors(target):
                self._open()
            undo.pop_all()

    def _open(self) -> None:
        temporary = self._resources.enter_context(temporary_folder())
        options = {
            "constant_memory": True,  # rows are written to the temporary folder
            "tmpdir": str(temporary),
        }
        self._buffer = io.BufferedRandom(self.file)  # an unbuffered write may write a part of the data only
        self._book = xlsxwriter.Workbook(self._buffer, options)
        self._bold = self._book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._posts = _Sheet(self._new_sheet(translate("workbook.posts")), self._book, POSTS, self._bold)
        self._history = _Sheet(self._new_sheet(translate("workbook.history")), self._book, HISTORY_COLUMNS, self._bold)

    def _new_sheet(self, name: str) -> Worksheet:
        sheet = self._book.add_worksheet(name)
        self._resources.callback(_close, sheet.row_data_fh)
        return sheet

    def add(self, row: Row) -> None:
        """Add a row to the sheet "Posts", which leaves blank what is not reported."""
        with os_errors(self.target):
            self._posts.add(without_unreported(row))

    def add_history(self, lines: Sequence[Row]) -> None:
        """Add lines to the sheet "History"."""
        with os_errors(self.target):
            for line in lines:
                self._history.add(line)

    def finish(self, found: Findings) -> None:
        """Write the workbook into the part file."""
        with os_errors(self.target):
            self._add_columns_sheet()
            for sheet in (self._posts, self._history):
                sheet.finish()
            if not found.histories:
                self._history.sheet.hide()
            try:
                self._book.close()
            except FileCreateError as error:
                raise error.args[0] from None
            self._buffer.detach()
        super().finish(found)

    def discard(self) -> None:
        """Remove the part file and the temporary files."""
        super().discard()
        self._resources.close()

    def _add_columns_sheet(self) -> None:
        sheet = self._new_sheet(translate("workbook.columns"))
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, 0, 32)
        sheet.set_column(1, 1, 90)
        sheet.set_column(2, 2, 14)
        sheet.set_column(3, 3, 32)
        header = ("column", "meaning", "source", "name")[: 4 if said("", "zh") else 3]  # in English headings are names
        sheet.write_row(0, 0, [translate(f"workbook.{name}") for name in header], self._bold)
        for number, name in enumerate(dict.fromkeys((*POSTS, *HISTORY_COLUMNS)), 1):
            of_api = name in COLUMNS and name not in {*OURS, "source_file", "parse_ok", "error"}
            source = translate("workbook.api") if of_api else translate("workbook.ours")
            sheet.write_row(number, 0, [*heading_and_meaning(name), source, name][: len(header)])


class _Sheet:
    """A sheet with a frozen header and first column, a filter, and column widths that fit the content."""

    def __init__(self, sheet: Worksheet, book: xlsxwriter.Workbook, columns: Sequence[str], bold: Format) -> None:
        self.sheet = sheet
        self._columns, self._rows, self._links = columns, 0, 0
        self._formats = {
            name: book.add_format({"num_format": name}) for name in (INTEGER, DECIMAL, DATE, *_OWN.values())
        }
        # For texts with line breaks, whose rows get a fixed height: else LibreOffice draws over the next rows.
        self._lines = book.add_format({"text_wrap": True, "valign": "top"})
        self.sheet.freeze_panes(1, 1)
        self.sheet.set_landscape()
        self.sheet.repeat_rows(0)
        for at, column in enumerate(columns):
            heading, _ = heading_and_meaning(column)
            width = sum(2 if character > "\u2e7f" else 1 for character in heading)  # a Chinese one is as wide as two
            self.sheet.set_column(at, at, _WIDTHS.get(column, max(12, width + 4)))  # 4 for the filter button
            self.sheet.write_string(0, at, heading, bold)

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            InvalidInput: The sheet is full.
        """
        self._rows += 1
        if self._rows >= MAX_ROWS:
            raise InvalidInput(f"A sheet has no more than {MAX_ROWS:,} rows: leave the format xlsx out.")
        if any(isinstance(value, str) and "\n" in value for value in row.values()):
            self.sheet.set_row(self._rows, LINE)
        for at, column in enumerate(self._columns):
            self._put(at, column, row[column])

    def finish(self) -> None:
        """Add the filter, which covers all rows."""
        self.sheet.autofilter(0, 0, max(self._rows, 1), len(self._columns) - 1)

    def _put(self, at: int, column: str, value: Json) -> None:
        if value is None or value == "":
            return
        if column in _MOMENTS and (moment := _moment(value)) is not None:
            self.sheet.write_datetime(self._rows, at, moment, self._formats[DATE])
        elif isinstance(value, bool):
            self.sheet.write_boolean(self._rows, at, value)
        elif isinstance(value, int | float) and abs(value) < EXACT_DIGITS:
            usual = DECIMAL if isinstance(value, float) else INTEGER
            self.sheet.write_number(self._rows, at, value, self._formats[_OWN.get(column, usual)])
        elif column in _LINKS and self._may_link(value):
            self._links += 1
            self.sheet.write_url(self._rows, at, value, string=value)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self.sheet.write_string(self._rows, at, fitting(text), self._lines if "\n" in text else None)

    def _may_link(self, value: Json) -> bool:
        if not isinstance(value, str) or not value.startswith(("https://", "http://")) or self._links >= MAX_HYPERLINKS:
            return False
        units = len(value.encode("utf-16-le", "surrogatepass")) // 2
        return units <= MAX_HYPERLINK_UNITS and value.isprintable() and " " not in value


def _close(file: IO[str]) -> None:
    with suppress(OSError):  # closing may fail to write; the content is not needed any more
        file.close()


def _moment(value: Json) -> datetime | None:
    """Return a time in UTC without a time zone, as Excel stores it; None if it cannot be represented."""
    if isinstance(value, str) and value.endswith("Z"):
        with suppress(ValueError):  # the API's own `create_time_unix` may be any text
            moment = datetime.fromisoformat(value).replace(tzinfo=None)
            return moment if moment >= FIRST_DATE else None
    seconds = unix_time(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
