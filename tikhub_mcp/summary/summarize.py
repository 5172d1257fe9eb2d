"""Raw files → one table of posts: CSV for spreadsheets, JSON for programs.

Every file gives one row; one without a post says why.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.storage.atomic import make_folder, os_errors
from tikhub_mcp.storage.reading import read_regular, read_start
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.csv_cells import line
from tikhub_mcp.summary.extras import command, is_installed
from tikhub_mcp.summary.history import HISTORY, Findings, Snapshots, Top, history
from tikhub_mcp.summary.outputs import HistoryTable, JsonTable, Output, RowTable
from tikhub_mcp.summary.rows import AnswerFields, Row, broken_row, read_fields, row
from tikhub_mcp.summary.spool import Spool
from tikhub_mcp.text import clean, writable

T = TypeVar("T")

Format = Literal["csv", "json", "xlsx", "html"]

CSV_NAME = "tikhub_videos_summary.csv"
JSON_NAME = "tikhub_videos_summary.json"
XLSX_NAME = "tikhub_videos_summary.xlsx"
HTML_NAME = "tikhub_videos_report.html"
HISTORY_NAME = "tikhub_metrics_history.csv"
_NAMES = (CSV_NAME, HISTORY_NAME, JSON_NAME, XLSX_NAME, HTML_NAME)
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DEFAULT_FORMATS: Final[tuple[Format, ...]] = ("csv", "json")
# Bytes; the largest answers known have 83 kB. One as large as that takes 80 MiB of memory, and up to eleven times its
# size where one text that is kept fills it.
MAX_FILE_BYTES = 52 * 2**20

_NEEDS = {"xlsx": "xlsx", "html": "report"}  # format → extra
_MARKERS = (b'"generated_from"', b'"video_count"', b'"videos"')
# Answers read before their rows are made, a tenth faster than in turn, which processors forget over: so many, if they
# are not more than so many bytes.
_AT_ONCE, _MAX_BYTES = 32, 4 * 2**20
_NO_JSON = "The file holds no readable JSON"
_HEAD = 2**18  # bytes; enough of a summary to know it by


class SummaryStopped(Exception):
    """The caller wanted it to end; nothing was written."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, from what, and what it comes to.

    Attributes:
        source: What was read.
        paths: What was written, by format, and by "history".
        found: What it comes to.
        older: Names of outputs beside them that an earlier run left, in formats that were not asked for.
    """

    source: Path
    paths: dict[str, Path]
    found: Findings
    older: tuple[str, ...] = ()

    def remarks(self) -> Iterator[str]:
        """What whoever asked for it may not expect."""
        if not self.found.parsed:
            yield "There is no post in what was read; each row's `error` says why."
        if self.older:
            yield f"Of an earlier run, and not renewed: {', '.join(self.older)}."


def summarize(
    source: Path,
    out_dir: Path,
    formats: Collection[Format] = DEFAULT_FORMATS,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Read one raw file, or every `*.json` directly in a folder, and write all summaries, or none.

    Files are what a shell's `*.json` names, in any case and in order of name: regular files, not hidden ones, not
    links, no summary of our own. With the CSV comes the history of the posts that have more than one file.

    Args:
        source: A file or folder; where it may lie is the caller's business.
        out_dir: Made where it is missing.
        formats: What to write.
        progress: Told the steps done and the steps in all, two for each file: to read it, and to write its row (these
            some rows at a time).
        stopped: Asked before each step, each line of a history, and before the outputs appear.

    Raises:
        InvalidInput: There is nothing to read, or a format needs what is not installed.
        DiskFull, NotWritable: The outputs could not be written.
        Stopped: `stopped` said so.
    """
    _check_formats(formats)
    source = source.absolute()
    folder, names = _inputs(source)
    make_folder(out_dir)

    def told(items: Iterable[T], before: int = 0, steps: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
        for item in items:
            if stopped():
                raise SummaryStopped
            yield item
            before += steps(item)
            progress(before, 2 * len(names))

    with ExitStack() as stack:
        outputs = {name: stack.enter_context(output) for name, output in _outputs(formats, out_dir, source, len(names))}
        spool = stack.enter_context(Spool(out_dir))
        snapshots = _read(spool, (_answer(folder, name) for name in told(names)))
        for written in told(spool.written(snapshots.latest()), len(names), attrgetter("count")):
            for output in outputs.values():
                output.add(written)
        found = _find(spool, snapshots)
        _write_histories(spool, snapshots, outputs.values(), stopped)
        _appear(outputs.values(), found, stopped)
    paths = {name: output.target for name, output in outputs.items()}
    return Summary(source, paths, found, tuple(_older(out_dir, paths.values())))


def _older(out_dir: Path, written: Collection[Path]) -> Iterator[str]:
    others = (out_dir / name for name in _NAMES)
    # Not Path.is_file, which may raise: at this point all is written.
    return (path.name for path in others if path not in written and os.path.isfile(path))  # noqa: PTH113


def _appear(outputs: Collection[Output], found: Findings, stopped: Callable[[], bool]) -> None:
    """Put all outputs under their names, once all are whole."""
    for output in outputs:
        output.finish(found)
    if stopped():
        raise SummaryStopped
    for output in outputs:
        with os_errors(output.target):
            output.commit()


def _read(spool: Spool, answers: Iterator[tuple[AnswerFields | Row, int]]) -> Snapshots:
    """Take all rows in."""
    snapshots = Snapshots()
    for some in _together(answers):
        rows = [row(answer) if isinstance(answer, AnswerFields) else answer for answer in some]
        try:
            spool.add(rows)
        except RecursionError:
            rows = [_shallow(made) for made in rows]
            spool.add(rows)
        for made in rows:
            snapshots.add(made)
    return snapshots


def _together(answers: Iterator[tuple[AnswerFields | Row, int]]) -> Iterator[list[AnswerFields | Row]]:
    """Some at a time, of answers and their sizes in bytes."""
    some: list[AnswerFields | Row] = []
    room = _MAX_BYTES
    for answer, size in answers:
        some.append(answer)
        room -= size
        if len(some) == _AT_ONCE or room < 0:
            yield some
            some, room = [], _MAX_BYTES
    if some:
        yield some


def _shallow(made: Row) -> Row:
    try:
        line(made.values())
    except RecursionError:
        return broken_row(made["source_file"], f"{_NO_JSON}: the JSON is nested too deeply.")
    return made


def _check_formats(formats: Collection[Format]) -> None:
    lacking = {name: extra for name, extra in _NEEDS.items() if name in formats and not is_installed(extra)}
    if lacking:
        needs = ", ".join(f"'{extra}' for the format {name}" for name, extra in lacking.items())
        raise InvalidInput(
            f"An extra is not installed: {needs}. In the checkout: {command(lacking.values())}. Nothing was read or "
            "written."
        )


def _outputs(formats: Collection[Format], out_dir: Path, source: Path, count: int) -> Iterator[tuple[str, Output]]:
    """The outputs by name, tables first: on Windows a spreadsheet locks what it shows, and then all stays old."""
    if "csv" in formats:
        yield "csv", RowTable(out_dir / CSV_NAME, COLUMNS)
        yield "history", HistoryTable(out_dir / HISTORY_NAME, HISTORY)
    if "xlsx" in formats:
        from tikhub_mcp.summary.xlsx import Workbook

        yield "xlsx", Workbook(out_dir / XLSX_NAME)
    if "html" in formats:
        from tikhub_mcp.summary.page import Report

        yield "html", Report(out_dir / HTML_NAME, source)
    if "json" in formats:
        yield "json", JsonTable(out_dir / JSON_NAME, writable(str(source)), count)


def _find(spool: Spool, snapshots: Snapshots) -> Findings:
    return Findings(
        rows=len(spool),
        parsed=snapshots.parsed,
        histories=snapshots.with_history,
        totals=snapshots.totals(),
        by_plays=tuple(_top(spool, snapshots, "play_count")),
        by_likes=tuple(_top(spool, snapshots, "digg_count")),
    )


def _top(spool: Spool, snapshots: Snapshots, count: str) -> Iterator[Top]:
    for number in snapshots.top(count):
        newest = spool[number]
        oldest = snapshots.oldest(newest, number, count)
        yield Top(newest, None if oldest is None else [*history([spool[oldest], newest])][1])


def _write_histories(
    spool: Spool, snapshots: Snapshots, outputs: Collection[Output], stopped: Callable[[], bool]
) -> None:
    """Tell the outputs of the posts that have more than one row."""
    latest = snapshots.latest()
    for numbers in snapshots.histories():
        rows = (spool[number] | {"is_latest": latest[number] == 1} for number in numbers)
        for change in history(rows):
            if stopped():
                raise SummaryStopped
            for output in outputs:
                output.add_history(change)


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
    names = sorted(name for name in names if name.lower() != JSON_NAME or not _is_summary(folder / name))
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
    """Whether it is an output of ours, by its content."""
    try:
        head = read_start(path, _HEAD)
    except (OSError, ValueError):
        return False  # its row will say what is wrong
    return all(marker in head for marker in _MARKERS)


def _answer(folder: Path, name: str) -> tuple[AnswerFields | Row, int]:
    """What a file holds, or the row that says why nothing; and its size in bytes."""
    try:
        body = read_regular(f"{folder}{os.sep}{name}", MAX_FILE_BYTES)  # a Path takes longer to make than a row
        return read_fields(name, body) if body else broken_row(name, f"{_NO_JSON}: it is empty."), len(body)
    except OSError as error:
        return broken_row(name, f"The file cannot be read: {error.strerror}."), 0
    except ValueError as error:
        return broken_row(name, f"{_NO_JSON}: {error}."), 0
