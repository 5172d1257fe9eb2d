"""Summaries of raw files: reads the files, and writes all requested outputs or none.

Every file gives one row, or one for each post in it. The row of a file without a post gives the reason.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.posts.links import Link
from tikhub_mcp.settings.program import install_command
from tikhub_mcp.storage.atomic import make_folder, os_errors
from tikhub_mcp.storage.reading import read_regular
from tikhub_mcp.summary.answers import NO_JSON, broken_row, is_foreign, read_posts
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.extras import WORKBOOK_REQUIREMENT, is_installed
from tikhub_mcp.summary.history import HISTORY, Findings, Snapshots, Top, history
from tikhub_mcp.summary.outputs import HistoryTable, JsonTable, Output, RowTable, Spool
from tikhub_mcp.summary.rows import AnswerFields, Row, is_deep, row
from tikhub_mcp.summary.selection import Selection
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
# The largest known answers have 83 kB. A file of this size takes 80 MiB of memory, and up to eleven times its size if a
# single text that a column needs fills it.
MAX_FILE_BYTES = 52 * 2**20


class SummaryStopped(Exception):
    """The caller stopped the summary; nothing was written."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a summary.

    Attributes:
        source: The file or folder that was read.
        paths: The files that were written, by format; the key "history" has the CSV file of the history.
        found: The statistics.
        older: The names of outputs of an earlier run in the same folder, in formats that this run did not write.
        files: How many files were read.
        without: A sentence about the links without a saved answer, or "".
        error: Why some of the formats were not written; None if all were.
    """

    source: Path
    paths: dict[str, Path]
    found: Findings
    older: tuple[str, ...] = ()
    files: int = 1
    without: str = ""
    error: InvalidInput | None = None

    def remarks(self) -> Iterator[str]:
        """Yield sentences about what the caller may not expect."""
        if self.without:
            yield self.without
        if not self.found.parsed:
            yield "There is no post in what was read; each row's `error` says why."
        if self.older:
            yield f"Of an earlier run, and not renewed: {', '.join(self.older)}."


def summarize(
    source: Path,
    out_dir: Path,
    formats: Collection[Format] = DEFAULT_FORMATS,
    *,
    about: Collection[Link] = (),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Read one raw file, or every `*.json` file directly in a folder, and write all outputs or none.

    The files of a folder are read in the order of their names; the extension's case does not matter. Hidden files,
    symbolic links, special files and earlier summaries are ignored. The format "csv" also writes the history of the
    posts that have more than one file, if there are any. A format whose extra is missing does not stop the others.

    Args:
        source: A file or folder. The caller checks whether it may be read.
        out_dir: The folder of the outputs; created if it is missing.
        formats: The outputs to write.
        about: Links to the only posts that the summary is about; all posts if there are none.
        progress: Called with the steps done and their total: files read (twice if there are links), rows written.
        stopped: Called before each step, each history and the outputs' final names; if True, the summary is stopped.

    Raises:
        InvalidInput: There is nothing to read, nothing about the links, or no format whose extra is installed.
        DiskFull, NotWritable: The outputs could not be written.
        SummaryStopped: `stopped` returned True.
    """
    formats, error = _writable(formats)
    source = source.absolute()
    folder, names = _inputs(source)
    track = partial(_tracked, progress=progress, stopped=stopped)
    first, steps = (len(names), 3 * len(names)) if about else (0, 2 * len(names))  # until the rows are counted
    selection = Selection(about, _rows(folder, track(names[:first], total=steps)))
    make_folder(out_dir)
    with ExitStack() as stack:
        spool = stack.enter_context(Spool(out_dir))
        outputs = {name: stack.enter_context(output) for name, output in _outputs(formats, out_dir, source, spool)}
        snapshots, done = Snapshots(), first + len(names)
        for added in filter(selection.takes, _rows(folder, track(names, first, total=steps))):
            spool.add(added)
            snapshots.add(added)
        if not any(snapshots.histories()) and not os.path.lexists(out_dir / HISTORY_NAME):
            outputs.pop("history", None)  # an earlier one is replaced, if only by its header
        newest, found = set(snapshots.newest()), _find(spool, snapshots)
        rows = track(spool.rows(range(len(spool)), newest), done, total=done + len(spool))
        histories = (history([*spool.rows(numbers, newest)]) for numbers in snapshots.histories())
        _write(outputs.values(), rows, histories, found, stopped)
    paths = {name: output.target for name, output in outputs.items()}
    return Summary(source, paths, found, tuple(_older(out_dir, paths.values())), len(names), selection.remark, error)


def _tracked(
    items: Iterable[T],
    done: int = 0,
    *,
    total: int,
    progress: Callable[[int, int], None],
    stopped: Callable[[], bool],
) -> Iterator[T]:
    """The items, with `progress` called after each and `stopped` before."""
    for item in items:
        if stopped():
            raise SummaryStopped
        yield item
        done += 1
        progress(done, total)


def _older(out_dir: Path, written: Collection[Path]) -> Iterator[str]:
    others = (out_dir / name for name in _NAMES)
    # Not Path.is_file, which may raise: the outputs are already written.
    return (path.name for path in others if path not in written and os.path.isfile(path))  # noqa: PTH113


def _write(
    outputs: Collection[Output],
    rows: Iterable[Row],
    histories: Iterable[list[Row]],
    found: Findings,
    stopped: Callable[[], bool],
) -> None:
    """Write all outputs, and then give them their final names."""
    for added in rows:
        for output in outputs:
            output.add(added)
    for lines in histories:
        if stopped():
            raise SummaryStopped
        for output in outputs:
            output.add_history(lines)
    for output in outputs:
        output.finish(found)
    if stopped():
        raise SummaryStopped
    for output in outputs:
        with os_errors(output.target):
            output.commit()


def _rows(folder: Path, names: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of files."""
    for name in names:
        for answer in _answers(folder, name):
            made = row(answer) if isinstance(answer, AnswerFields) else answer
            yield broken_row(name, f"{NO_JSON}: the JSON is nested too deeply.") if is_deep(made) else made


def _writable(formats: Collection[Format]) -> tuple[Collection[Format], InvalidInput | None]:
    """Return the formats that can be written, and the error about the workbook if its extra is missing.

    Raises:
        InvalidInput: None can be.
    """
    if "xlsx" not in formats or is_installed("xlsx"):  # the page has no chart without its extra
        return formats, None
    # Not `tikhub-mcp[xlsx]`: on the public index that name is somebody else's package.
    command = install_command(WORKBOOK_REQUIREMENT)
    told = f"An extra is not installed: 'xlsx' for the format xlsx. Run `{command}`."
    rest = [name for name in formats if name != "xlsx"]
    if not rest:
        raise InvalidInput(f"{told} Nothing was read or written.")
    error = InvalidInput(f"{told} The other formats were written.")
    error.exit_code = 1
    return rest, error


def _outputs(formats: Collection[Format], out_dir: Path, source: Path, rows: Sized) -> Iterator[tuple[str, Output]]:
    """Yield the outputs by name, in the order in which they get their final names.

    Tables come first: on Windows a spreadsheet program locks the file that it shows, and then no output is replaced.
    """
    if "csv" in formats:
        yield "csv", RowTable(out_dir / CSV_NAME, COLUMNS)
        yield "history", HistoryTable(out_dir / HISTORY_NAME, HISTORY)
    if "xlsx" in formats:
        from tikhub_mcp.summary.xlsx import Workbook

        yield "xlsx", Workbook(out_dir / XLSX_NAME)
    if "html" in formats:
        from tikhub_mcp.summary.page import Report

        yield "html", Report(out_dir / HTML_NAME)
    if "json" in formats:
        yield "json", JsonTable(out_dir / JSON_NAME, writable(str(source)), rows)


def _find(spool: Spool, snapshots: Snapshots) -> Findings:
    return Findings(
        rows=len(spool),
        parsed=snapshots.parsed,
        histories=sum(1 for _ in snapshots.histories()),
        totals=snapshots.totals(),
        by_plays=tuple(_top(spool, snapshots, "play_count")),
        by_likes=tuple(_top(spool, snapshots, "digg_count")),
    )


def _top(spool: Spool, snapshots: Snapshots, count: str) -> Iterator[Top]:
    for number in snapshots.top(count):
        newest = spool[number]
        oldest = snapshots.oldest(newest, number, count)
        yield Top(newest, None if oldest is None else history([spool[oldest], newest])[1])


def _inputs(source: Path) -> tuple[Path, list[str]]:
    """Return the folder and the names of the files in it to read, at least one.

    Raises:
        InvalidInput: There is none, or a single file was named and is no answer.
    """
    try:
        if stat.S_ISDIR(source.stat().st_mode):
            folder, names = source, _names(source)
        else:
            folder, names = source.parent, [source.name] if stat.S_ISREG(source.lstat().st_mode) else []
    except OSError as error:
        missing = " Nothing was saved there yet, or the path is wrong." if isinstance(error, FileNotFoundError) else ""
        raise InvalidInput(f"{clean(str(source))} cannot be read: {error.strerror}.{missing}") from error
    names = sorted(name for name in names if name.lower() != JSON_NAME)
    if not names:
        raise InvalidInput(
            f"Nothing to read in {clean(str(source))}: give a raw JSON file, or a folder that holds some. "
            "Links, hidden files, special files and earlier summaries do not count."
        )
    if folder != source:
        _check_answer(folder, names[0])
    return folder, names


def _check_answer(folder: Path, name: str) -> None:
    """Check that a file that was named holds an answer: the table of any other would replace a good one.

    Raises:
        InvalidInput: It holds none.
    """
    found = _answers(folder, name)
    if not isinstance(found[0], AnswerFields) and all(map(is_foreign, found)):
        error = InvalidInput(
            f"{clean(name)} is no raw answer, and nothing was written. {found[0]['error']} Give a raw JSON file, or a "
            "folder that holds some; a list of links goes into urls_file (on the command line: --urls)."
        )
        error.exit_code = 1  # there was something to read
        raise error


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return [name for name in files if name.lower().endswith(".json") and not name.startswith(".")]


def _answers(folder: Path, name: str) -> list[AnswerFields | Row]:
    """Return the posts of a file, or the row that gives the reason if it has none."""
    try:
        body = read_regular(f"{folder}{os.sep}{name}", MAX_FILE_BYTES)  # creating a Path takes longer than a row
        return read_posts(name, body) if body else [broken_row(name, f"{NO_JSON}: it is empty.")]
    except OSError as error:
        return [broken_row(name, f"The file cannot be read: {error.strerror}.")]
    except ValueError as error:
        return [broken_row(name, f"{NO_JSON}: {error}.")]
