"""What the commands that download have in common: jobs, options, visible progress, and the end on a signal."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

    from tikhub_mcp.jobs.model import Call, Job, Options, Watch
    from tikhub_mcp.jobs.scheduler import Jobs
    from tikhub_mcp.settings.environment import Settings
    from tikhub_mcp.tools.batch import Entry
from tikhub_mcp.cli.inputs import absolute
from tikhub_mcp.cli.output import print_at_once, row_of
from tikhub_mcp.cli.terminal import is_pipe, is_seen
from tikhub_mcp.concurrency import use_many_threads
from tikhub_mcp.messages import counted, translate

T = TypeVar("T")

LINE_SECONDS = 10.0  # between two lines about the progress, where there is no bar
LOOK_SECONDS = 0.1  # between two looks at the jobs


class Screen:
    """The progress of a command on standard error, and of a batch a row on standard output for each link that is done.

    On a terminal there is a bar, unless standard output is a pipe, whose reader may write to the same terminal. Else
    there is a line now and then.

    Args:
        entries: The links, those that are no links to posts too.
        call: The call whose costs are shown.
        rows: Whether links get rows.
        progress: Whether there is a bar, or lines.
        full: Whether a row has the link and the path on a terminal too.
    """

    def __init__(
        self, entries: "Iterable[Entry]", call: "Call", *, rows: bool = False, progress: bool = True, full: bool = False
    ) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._invalid: list[Entry] = []
        for entry in entries:
            if entry.link:
                self._entries.setdefault(entry.key, []).append(entry)
            else:
                self._invalid.append(entry)
        self._total = sum(map(len, self._entries.values())) + len(self._invalid)
        self._done, self._failed = len(self._invalid), len(self._invalid)
        self._call, self._rows, self._progress, self._full = call, rows, progress, full
        self._open: list[Job] = []

    def counts(self) -> str:
        """Return how far the command is, in words."""
        if self._total == 1:
            return translate("progress.one")
        failed = counted("progress.failed", self._failed) if self._failed else ""
        return translate(
            "progress.counts", done=self._done, total=self._total, failed=failed, paid=self._call.api_calls
        )

    @asynccontextmanager
    async def watching(self, _posts: int = 1) -> "AsyncIterator[Watch]":
        """Show the progress while the body runs; `plan_or_run` takes this method as it is.

        Yields:
            A callback that takes each job as it starts.

        Raises:
            BrokenPipeError, NotWritable: Standard output cannot be written any more; the body is cancelled.
        """
        try:
            over = asyncio.Event()
            with self._bar() as bar:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._show(bar, over))
                    yield self._open.append
                    over.set()
        except BaseExceptionGroup as group:  # the body's own errors are in one too
            raise group.exceptions[0] from None

    def _bar(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        shown = self._progress and is_seen(sys.stderr) and not is_pipe(sys.stdout)
        # Rows and the bar must be written by one console, or the bar would be written over.
        console = Console(stderr=not (self._rows and is_seen(sys.stdout)))
        columns = (TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn())
        bar = Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=False, expand=True)
        bar.add_task(self.counts(), total=self._total)
        return bar

    async def _show(self, bar: "Progress", over: asyncio.Event) -> None:
        for entry in self._invalid:
            await self._print_row(bar, entry, None)
        next_line = time.monotonic() + LINE_SECONDS
        is_over = False
        while not is_over:
            is_over = over.is_set()  # before the last look
            await self._print_ended(bar)
            going_on = sum(job.done * len(self._entries[job.link.key]) for job in self._open)
            bar.update(bar.task_ids[0], completed=self._done + going_on, description=self.counts())
            if bar.disable and self._progress and time.monotonic() >= next_line:
                print(self.counts(), file=sys.stderr, flush=True)
                next_line += LINE_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LOOK_SECONDS)

    async def _print_ended(self, bar: "Progress") -> None:
        """Count and print the jobs that are done; one that was skipped may begin again."""
        ended = [job for job in self._open if job.task.done()]
        self._open[:] = [job for job in self._open if not job.task.done()]  # `watching` has handed this list out
        final = [job for job in ended if job.outcome.status in ("ok", "failed")]
        rows = [(entry, job) for job in final for entry in self._entries[job.link.key]]
        self._done += len(rows)
        self._failed += sum(job.outcome.status == "failed" for _, job in rows)
        for entry, job in rows:
            await self._print_row(bar, entry, job)

    async def _print_row(self, bar: "Progress", entry: "Entry", job: "Job | None") -> None:
        if not self._rows:
            return
        from tikhub_mcp.jobs.model import Outcome
        from tikhub_mcp.tools.replies import batch_item

        outcome = job.outcome if job else Outcome("failed", error=entry.error)
        item = batch_item(entry.given, entry.link, outcome)
        row = row_of(item, outcome.post.title if outcome.post else None, full=self._full)
        if bar.disable:
            await asyncio.to_thread(print_at_once, row)  # a reader that waits must not hold up the downloads
        else:
            bar.console.print(row, markup=False, highlight=False, emoji=False, soft_wrap=True)


def finish(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to completion; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Raises:
        KeyboardInterrupt: A signal cancelled it.
    """

    async def guarded() -> T:
        use_many_threads()
        task = asyncio.create_task(work)
        for name in ("SIGTERM", "SIGHUP"):
            with suppress(AttributeError, NotImplementedError, RuntimeError):  # Windows, or not in the main thread
                asyncio.get_running_loop().add_signal_handler(getattr(signal, name), task.cancel)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def open_jobs(settings: "Settings", raw: Path) -> "AsyncIterator[Jobs]":
    """The jobs of one command, closed on exit; `raw` is the folder for raw answers."""
    from tikhub_mcp.jobs.scheduler import Jobs

    jobs = Jobs.of(settings, raw)
    try:
        yield jobs
    finally:
        await jobs.close()


def job_options(args: argparse.Namespace, settings: "Settings") -> "Options":
    """Return what the arguments say about each post."""
    from tikhub_mcp.jobs.model import Options

    folder, include = absolute(args.output_dir), tuple(sorted(set(args.include)))
    videos, photos = (folder, None) if folder else (settings.videos, settings.photos)
    return Options(
        videos, args.quality, not args.no_save_raw, args.metrics_only, args.refresh, include=include, photos=photos
    )
