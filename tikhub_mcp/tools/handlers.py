"""The handlers of the three tools: they check the arguments, wait for the jobs and build the results."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.jobs.model import MAX_TRANSFERS, Call, Job, Options, Watch
from tikhub_mcp.jobs.scheduler import CLOSING_SECONDS, Jobs
from tikhub_mcp.posts.extras import Extra
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.renditions import Quality
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.settings.paths import allowed_path
from tikhub_mcp.storage.atomic import sweep
from tikhub_mcp.summary import summarize
from tikhub_mcp.tools import replies
from tikhub_mcp.tools.background import BACKGROUND
from tikhub_mcp.tools.batch import Given, at_least_none, parse_entries, parse_one, plan_or_run, read_list
from tikhub_mcp.tools.schemas import BatchReply, SummaryReply, VideoReply
from tikhub_mcp.tools.workspace import Workspace

MAX_LINKS = 1000  # in one call
UNSEEN_SECONDS = 600.0  # how long the result of a summary that outlived its call is available to the next call
PROGRESS_SECONDS = 0.3  # between two progress notifications

Links = Annotated[
    list[str], BeforeValidator(lambda value: [value] * bool(value.strip()) if isinstance(value, str) else value)
]
# A list, a text with commas or spaces between, or a list in JSON.
_WORDS = BeforeValidator(lambda value: re.findall(r"[^\s,\[\]\"']+", value) if isinstance(value, str) else value)
OutputDir = Annotated[str, Field(description="Folder for the files (default: videos/, photos/ in the output folder)")]
SaveRaw = Annotated[bool, Field(description="Keep the full API answer as a JSON file")]
QualityArgument = Annotated[
    Quality,
    Field(
        description="compatible: H.264 or JPEG first, opens everywhere; best: largest picture; smallest: fewest bytes"
    ),
]
MetricsOnly = Annotated[bool, Field(description="Numbers and raw answer, no file")]
Include = Annotated[
    list[Extra],
    _WORDS,
    Field(description="Any of music, cover, captions: saved too; with captions a transcript of one video"),
]
Refresh = Annotated[bool, Field(description="Pay for a new answer even if a recent one is saved")]


class Tools:
    """The three tools, with the jobs and summaries that their calls share.

    Args:
        environ: The environment variables that hold the settings and the API key; by default `os.environ`.
        workspace: Whose tools they are; by default those of the user of this process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, workspace: Workspace | None = None) -> None:
        self._workspace = workspace or Workspace(environ)
        self._jobs: Jobs | None = None
        self._closing: asyncio.Task[None] | None = None
        self._summaries: dict[tuple[object, ...], _SummaryRun] = {}

    async def download_video(
        self,
        ctx: Context,
        url: Annotated[str, Field(description="A link to one post, or share text with the link in it")],
        output_dir: OutputDir = "",
        save_raw: SaveRaw = True,
        quality: QualityArgument = "compatible",
        metrics_only: MetricsOnly = False,
        refresh: Refresh = False,
        include: Include = [],  # noqa: B006 - read only
    ) -> Annotated[CallToolResult, VideoReply]:
        """One link to a TikTok or Douyin video or photo post → verified files, the full API answer as JSON, metrics.

        A video is an MP4, a photo post a folder of pictures. Costs one paid API call per new post. The cheapest way to
        what is said in a video: metrics_only with include captions.
        """
        settings, jobs, call = self._begin(ctx)
        link, note = parse_one(url)
        videos, photos = _folders(settings, output_dir)
        wanted = tuple(sorted(set(include)))
        options = Options(videos, quality, save_raw, metrics_only, refresh, include=wanted, photos=photos)
        async with _progress(ctx, 1) as watch:
            outcome = await jobs.get(call, link, options, watch)
        return replies.result(replies.video_reply(link.given, link, outcome, note))

    async def batch_download(
        self,
        ctx: Context,
        urls: Annotated[Links, Field(description="Links or share texts, 1000 at most")] = [],  # noqa: B006 - read only
        urls_file: Annotated[str, Field(description="Text file with one link a line; # starts a comment")] = "",
        output_dir: OutputDir = "",
        save_raw: SaveRaw = True,
        max_workers: Annotated[int, Field(description="Downloads at once, 1 to 10")] = MAX_TRANSFERS,
        quality: QualityArgument = "compatible",
        metrics_only: MetricsOnly = False,
        refresh: Refresh = False,
        include: Include = [],  # noqa: B006 - read only
        dry_run: Annotated[bool, Field(description="Only count posts, files on disk and paid calls needed")] = False,
        max_api_calls: Annotated[int, Field(description="Most paid API calls; 0 = no cap")] = 0,
    ) -> Annotated[CallToolResult, BatchReply]:
        """Up to 1000 links to videos or photo posts, at most 10 transfers at once; one bad link never stops the others.

        Results stand in the order of the links; above 100 links only those that are not ok, and results_path is a table
        of all. retry_urls holds what is worth another call.
        """
        settings, jobs, call = self._begin(ctx, max_api_calls)
        videos, photos = _folders(settings, output_dir)
        wanted = tuple(sorted(set(include)))
        options = Options(videos, quality, save_raw, metrics_only, refresh, include=wanted, photos=photos)
        given = await asyncio.to_thread(_given, settings, urls, urls_file)
        progress = partial(_progress, ctx)
        reply = await plan_or_run(
            jobs,
            call,
            given,
            options,
            settings.raw,
            settings.reports,
            workers=max_workers,
            dry_run=dry_run,
            progress=progress,
        )
        return replies.result(replies.bounded(reply))

    async def summarize_raw(
        self,
        ctx: Context,
        input: Annotated[str, Field(description="A raw JSON file or a folder of them (default: raw/)")] = "",  # noqa: A002 - the argument's public name
        out_dir: Annotated[
            str, Field(description="Folder for the outputs (default: reports/, or reports/selection/ with links)")
        ] = "",
        urls: Annotated[Links, Field(description="Only the posts of these links; default: all")] = [],  # noqa: B006 - read only
        urls_file: Annotated[str, Field(description="Text file with such links, one a line")] = "",
        formats: Annotated[
            list[summarize.Format],
            _WORDS,
            Field(description="Any of csv, json, xlsx (a workbook), html (a page with charts)"),
        ] = ["csv", "json"],  # noqa: B006 - read only
    ) -> Annotated[CallToolResult, SummaryReply]:
        """Saved raw answers → tikhub_videos_summary.csv and .json, one row per post, and totals and top posts here.

        Offline, free, needs no key. With csv comes the history of posts that were asked for more than once.
        """
        settings = self._workspace.settings()
        self._workspace.publish()
        source = allowed_path(settings, input, settings.raw)
        selected = bool(urls or urls_file.strip())
        target = allowed_path(settings, out_dir, settings.selection if selected else settings.reports)
        wanted = tuple(name for name in summarize.FORMATS if name in formats) or summarize.DEFAULT_FORMATS
        given = (
            await asyncio.to_thread(_given, settings, urls, urls_file, "summarize --urls") if selected else Given([])
        )
        about = given.posts() if selected else ()
        run = self._summaries.get((source, target, wanted, about))
        if run is None or run.is_over():
            run = _SummaryRun(source, target, wanted, about)
            self._summaries = {key: other for key, other in self._summaries.items() if not other.is_over()}
            self._summaries[source, target, wanted, about] = run
        return replies.result(await run.wait(ctx, settings.call_seconds, given.posts_note()))

    def reuse_seconds(self) -> float:
        """Return for how many seconds an answer is used again."""
        return self._workspace.reuse_seconds()

    def sweep(self) -> None:
        """Remove the part files that killed processes have left in the default folders."""
        with suppress(InvalidInput):  # invalid settings are reported by the first call
            settings = self._workspace.settings()
            for folder in (settings.videos, settings.photos, settings.raw, settings.reports):
                sweep(folder)

    async def close(self) -> None:
        """End all work; return when no part files remain, or after CLOSING_SECONDS. May be called more than once."""
        self._closing = self._closing or asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        ending: list[Awaitable[Any]] = []
        if runs := [run.end() for run in self._summaries.values()]:
            ending.append(asyncio.wait(runs, timeout=CLOSING_SECONDS))
        if self._jobs:
            ending.append(self._jobs.close())  # limits itself
        await asyncio.gather(*ending)

    def _begin(self, ctx: Context, max_api_calls: int = 0) -> tuple[Settings, Jobs, Call]:
        """Return the settings, the jobs and a new call."""
        key, settings = self._workspace.begin(ctx)
        if self._jobs is None:
            self._jobs = self._workspace.jobs(settings)
        call = Call(key, settings.call_seconds, at_least_none(max_api_calls))
        if background := BACKGROUND.get():
            background.call = call
            background.keep_waiting()
        return settings, self._jobs, call


def _given(settings: Settings, urls: list[str], urls_file: str, command: str = "batch") -> Given:
    given = parse_entries(urls)
    if urls_file.strip():
        given += read_list(allowed_path(settings, urls_file, settings.root))
    if not given.entries:
        raise InvalidInput("No links given: put them into urls, or name a text file in urls_file.")
    if len(given.entries) > MAX_LINKS:
        raise InvalidInput(
            f"{len(given.entries)} links are more than the {MAX_LINKS} that one call takes. Split them, or run "
            f"`tikhub-mcp {command} FILE` in a shell, which has no limit."
        )
    return given


def _folders(settings: Settings, output_dir: str) -> tuple[Path, Path | None]:
    """Return the folder of videos, and that of photo posts unless it is the same."""
    videos, photos = settings.videos, settings.photos
    return allowed_path(settings, output_dir, videos), None if output_dir.strip() else photos


class _SummaryRun:
    """One summary, running in a thread.

    It may outlive the call that started it. A repeated call joins it while it runs, and gets its result afterwards.
    """

    def __init__(
        self, source: Path, target: Path, formats: tuple[summarize.Format, ...], about: tuple[Link, ...]
    ) -> None:
        self.stop, self.seen, self._ended = threading.Event(), False, 0.0
        self.done, self.total, self._waiters = 0, 0, 0
        self._task = asyncio.create_task(
            asyncio.to_thread(
                summarize.summarize,
                source,
                target,
                formats,
                about=about,
                progress=self._note,
                stopped=self.stop.is_set,
            )
        )
        self._task.add_done_callback(self._end)

    def is_over(self) -> bool:
        """Whether a repeated call needs a new run: this one was stopped, was replied with, or ended too long ago."""
        return self.stop.is_set() or self.seen or 0 < self._ended < time.monotonic() - UNSEEN_SECONDS

    def end(self) -> asyncio.Task[summarize.Summary]:
        """Ask the thread to stop, and return the task that is done when it has stopped."""
        self.stop.set()
        return self._task

    async def wait(self, ctx: Context, seconds: float, note: str) -> SummaryReply:
        """Wait for the result and return the reply, which is `pending` after `seconds`.

        If the call is cancelled and no other call is waiting, the run is stopped.
        """
        self._waiters += 1
        try:
            async with _ticker(ctx, lambda: (float(self.done), float(self.total) or 1.0, "steps done")):
                await asyncio.wait([self._task], timeout=seconds)
        except asyncio.CancelledError:
            if self._waiters == 1:
                self.stop.set()
            raise
        finally:
            self._waiters -= 1
        self.seen = self._task.done()
        return replies.summary_reply(self._task.result(), note) if self.seen else replies.summary_pending()

    def _end(self, task: asyncio.Task[summarize.Summary]) -> None:
        self._ended = time.monotonic()
        if not task.cancelled():
            task.exception()  # marks the exception as retrieved: asyncio would log it if no call is waiting

    def _note(self, done: int, total: int) -> None:
        self.done, self.total = done, total


@asynccontextmanager
async def _progress(ctx: Context, total: int) -> AsyncIterator[Watch]:
    """Send the client the progress of the watched jobs, if it asked for progress."""
    jobs: list[Job] = []

    def state() -> tuple[float, float, str]:
        done = sum(job.done for job in jobs)
        finished = sum(job.done >= 1 for job in jobs)
        failed = sum(job.outcome.status == "failed" for job in jobs)
        many = f"{finished} of {total} done" + (f", {failed} failed" if failed else "")
        return done, float(total), many if total > 1 else f"{done:.0%}"

    async with _ticker(ctx, state):
        yield jobs.append


@asynccontextmanager
async def _ticker(ctx: Context, state: Callable[[], tuple[float, float, str]]) -> AsyncIterator[None]:
    background = BACKGROUND.get()
    ticking: list[asyncio.Task[None]] = []

    async def tick() -> None:
        sent = 0.0
        while True:
            done, total, message = state()
            done = min(round(done, 3), total)
            if background:
                background.message = message
            # MCP requires progress to increase, but a second attempt of a download starts lower.
            if done > sent and not (background and background.is_task):
                sent = done
                await ctx.report_progress(done, total, message)
            await asyncio.sleep(PROGRESS_SECONDS)

    # A call that is answered from disk ends before that, and takes no time for it.
    begin = asyncio.get_running_loop().call_later(PROGRESS_SECONDS, lambda: ticking.append(asyncio.create_task(tick())))
    try:
        yield
    finally:
        begin.cancel()
        for task in ticking:
            task.cancel()
            await asyncio.wait([task])  # no notification may follow the result
