"""Terminal output of the commands."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tikhub_mcp.jobs.model import Job, Watch
    from tikhub_mcp.summary.history import Top
    from tikhub_mcp.summary.summarize import Summary
    from tikhub_mcp.tools.schemas import BatchReply, VideoReply
from tikhub_mcp.messages import translate
from tikhub_mcp.text import clean, printable

_ESCAPED = re.compile("[\ud800-\udfff\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@asynccontextmanager
async def progress_bar(total: int) -> "AsyncIterator[Watch]":
    """A progress bar on standard error, hidden if that is not a terminal.

    Args:
        total: The number of posts.

    Yields:
        A callback that takes each job as it starts; the bar sums the completed fractions of the jobs.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    jobs: list[Job] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())

    async def move(bar: Progress) -> None:
        while True:
            bar.update(bar.task_ids[0], completed=sum(job.done for job in jobs))
            await asyncio.sleep(0.2)

    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task("downloading" if total == 1 else f"{total} posts", total=total)
        mover = asyncio.create_task(move(bar))
        try:
            yield jobs.append
        finally:
            mover.cancel()


def _print(line: str, file: TextIO | None = None) -> None:
    """Print a line that may contain links, paths and words of other people; none of them can move the cursor or lie."""
    print(printable(line), file=file)


def print_at_once(line: str) -> None:
    """Print a line, also into a pipe, without waiting for more."""
    print(line, flush=True)


def print_video(reply: "VideoReply") -> None:
    """Print the result of `one`: files and metrics on standard output, warnings and errors on standard error."""
    if reply.raw_json_path:
        _print(f"raw answer: {reply.raw_json_path}")
    _print_files(reply)
    if reply.metrics:
        for name, value in reply.metrics.model_dump(exclude={"notes"}).items():
            reason = reply.metrics.notes.get(name)
            _print(f"{name}: {f'unknown ({reason})' if value is None else value}")
    if reply.note:
        _print(f"note: {reply.note}", file=sys.stderr)
    if reply.error:
        _print(f"error: {reply.error.code}: {reply.error.message}", file=sys.stderr)


def _print_files(reply: "VideoReply") -> None:
    warnings = list[str]()
    if reply.file:
        _print(f"video: {reply.file.path}{' (was already there)' if reply.file.reused else ''}")
        warnings = reply.file.warnings
    if reply.photos:
        _print(f"photos: {reply.photos.dir}{' (were already there)' if reply.photos.reused else ''}")
        warnings = reply.photos.warnings
        for file in reply.photos.files:
            if file.role == "music":
                _print(f"music: {Path(reply.photos.dir, file.name)}")
    for extra in reply.extras or ():
        _print(f"{extra.role}: {extra.path}")
    if reply.transcript:
        _print(f"transcript ({reply.transcript.language}): {reply.transcript.text}")
    for warning in warnings:
        _print(f"warning: {warning}", file=sys.stderr)


def print_batch(reply: "BatchReply") -> None:
    """Print the result of `batch`: one line for each link, then the totals."""
    for item in reply.results:
        detail = f"{item.error.code}: {item.error.message}" if item.error else item.path or item.raw_json_path or ""
        _print(f"{item.status:<8} {item.url}  {detail}".rstrip())
        for warning in item.warnings or ():
            _print(f"warning: {warning}", file=sys.stderr)
    counts = ", ".join(f"{getattr(reply, name)} {name}" for name in ("succeeded", "failed", "skipped"))
    if reply.calls_needed is not None:
        counts = (
            f"{reply.distinct_posts} distinct posts, {reply.on_disk} on disk, {reply.calls_needed} paid calls needed"
        )
    _print(f"{reply.total} links: {counts}; {reply.cost.api_calls} paid API calls. Folder: {reply.output_dir}")
    if reply.results_path:
        _print(f"table: {reply.results_path}")
    if reply.note:
        _print(f"note: {reply.note}", file=sys.stderr)
    if reply.error:
        _print(f"error: {reply.error.code}: {reply.error.message}", file=sys.stderr)


def print_summary(summary: "Summary", note: str = "") -> None:
    """Print the result of `summarize`: the files written, the totals, the top posts, and notes."""
    from tikhub_mcp.posts.counts import API_COUNTS
    from tikhub_mcp.summary.rows import reported
    from tikhub_mcp.summary.summarize import FORMATS

    found = summary.found
    for name in (*FORMATS, *(["history"] if found.histories else [])):
        if name in summary.paths:
            _print(f"{name}: {summary.paths[name]}")
    without = found.rows - found.parsed
    broken = f"; {without:,} without a post, the column `error` says why" if without else ""
    _print(f"{_counted(summary.files, 'file')} read from {summary.source}{broken}")
    if found.parsed:
        sums = [(found.totals.counts[name], shown) for shown, name in API_COUNTS.items()]
        known = [f"{number:,} {shown}" for number, shown in sums if number is not None]
        _print(": ".join(filter(None, (_counted(found.totals.posts, "post"), ", ".join(known)))))
    for shown, tops in (("plays", found.by_plays), ("likes", found.by_likes)):
        if tops:
            _print(f"most {shown}:")
        for top in tops:
            number = reported(top.row)[API_COUNTS[shown]]
            _print(f"{number:>15,}  {_described(top, f'{API_COUNTS[shown]}_change')}")
    for remark in filter(None, (note, *summary.remarks())):
        _print(f"note: {remark}", file=sys.stderr)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _described(top: "Top", change: str) -> str:
    from tikhub_mcp.summary.rows import own_words

    texts = (top.row["author_nickname"], top.row["aweme_id"], own_words(top.row))
    grown = top.change or {}
    days = grown.get("days_since_previous")
    growth = f"({grown[change]:+,} in {_span(days)})" if days and grown[change] is not None else ""
    return "  ".join(filter(None, (*(clean(str(text or ""), 60) for text in texts), growth)))


def _span(days: float) -> str:
    if days >= 1:
        return f"{days:,.1f} days"
    return f"{24 * days:.1f} hours" if 24 * days >= 1 else f"{24 * 60 * days:.1f} minutes"


def print_json(reply: "BaseModel") -> None:
    """Print a reply as JSON, encoded in pieces; direction characters, and bytes that are not UTF-8, are escapes."""
    # model_dump_json fails on a path whose bytes are not UTF-8. The reply for 10,000 links has 15 million characters;
    # as one string it needs four bytes for each if one of them is an emoji.
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(reply.model_dump()):
        print(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", piece), end="")
    print()


def print_lines(*lines: str) -> None:
    """Print lines that may contain paths."""
    for line in lines:
        _print(line)


def is_terminal() -> bool:
    """Whether questions can be asked: standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agreed(change: str, already: bool) -> bool:
    """Print what a change does, and ask the user to confirm it.

    Args:
        change: The sentence to print.
        already: Whether the user has confirmed it with --yes; then there is no question.

    Returns:
        Whether to make the change; False if standard input or output is not a terminal.
    """
    _print(change)
    if already:
        return True
    if not is_terminal():
        print("Nothing was written: there is no terminal to confirm it on. Use --yes to write it.", file=sys.stderr)
        return False
    try:
        answer = input(translate("install.confirm"))
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    print(translate("install.not_written"))
    return False
