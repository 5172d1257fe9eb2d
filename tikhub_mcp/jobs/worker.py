"""The work on one post: its answer, found or paid for, and its file, found or fetched.

What is paid for goes on when nobody waits any more; nothing is paid for that could not be kept.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import in_thread, run_to_completion
from tikhub_mcp.errors import (
    AnswerError,
    ApiCallLimit,
    DiskFull,
    MediaInvalid,
    MediaUnavailable,
    NotWritable,
    TikHubMCPError,
)
from tikhub_mcp.jobs.model import Job, NoCallerWaiting, Options, Stopped
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.media.download import Downloader, Saved
from tikhub_mcp.media.library import Videos
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.post import Post, Rendition, check_available, check_same_post, choose, parse_post
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.storage.atomic import make_folder
from tikhub_mcp.storage.filenames import video_name
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

CLOCK_STEP_SECONDS = 0.1  # seconds by which a timer may end early
LINK_LIFETIME_SECONDS = 1800.0  # seconds; links younger than this are not blamed on their age


class Refusals:
    """After a refusal that only a human can mend, one request goes first; the others follow once it was answered."""

    def __init__(self) -> None:
        self._refused = False
        self._first = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Make a request in here."""
        async with AsyncExitStack() as held:
            if self._refused:
                await held.enter_async_context(self._first)
            if not self._refused:  # or not any more
                await held.aclose()
            goes_first = self._refused
            try:
                yield
            except AnswerError as error:
                self._refused |= error.stop
                raise
            if goes_first:  # an answer that was under way when the refusal came says nothing of what came after
                self._refused = False


class Worker:
    """Does the work of jobs, each from the link to the file.

    Args:
        tikhub: Who is asked, and paid.
        archive: Where answers are kept and found.
        downloader: Who fetches files.
        locks: What keeps two jobs, here or in another process, from paying for one post or fetching one file.
        unfinished: Told when a call's answers come.
        renewals: When a new answer was paid for because the links of the one before had expired, by post.
        reuse_seconds: How long an answer is used again.
    """

    def __init__(
        self,
        tikhub: TikHub,
        archive: Archive,
        downloader: Downloader,
        locks: Locks,
        unfinished: UnfinishedCalls,
        renewals: Moments,
        reuse_seconds: float,
    ) -> None:
        self._tikhub = tikhub
        self._archive = archive
        self._downloader = downloader
        self._locks = locks
        self._unfinished = unfinished
        self._renewals = renewals
        self._reuse_seconds = reuse_seconds
        self._videos = Videos()
        self._refusals = Refusals()
        self._closed = False

    def close(self) -> None:
        """Pay for nothing more."""
        self._closed = True

    async def work(self, job: Job) -> None:
        """From the link to the file; what is known goes into `job.outcome` as soon as it is."""
        options, outcome = job.options, job.outcome
        await in_thread(self._check_folders, options)
        newer_than = job.created if options.refresh else min(time.time() - self._reuse_seconds, job.created)
        stored, post = await self._look_up(job, newer_than)
        if options.metrics_only:
            return
        async with self._locks.everywhere("file", options.folder, post.platform, post.video_id, options.quality):
            file = choose(post, options.quality)
            outcome.saved = await in_thread(self._videos.find, options.folder, options.quality, post, file)
            if outcome.saved is None:
                outcome.saved = await self._download(job, stored, post, file)
                await in_thread(self._videos.add, outcome.saved.path)

    async def plan(self, links: Sequence[Link], options: Options) -> list[tuple[bool, bool]]:
        """Of each link, whether its file is on disk, and whether it needs a paid call, as far as that can be told."""
        there = await in_thread(self._videos.identities, options.folder, options.quality)
        return [await self._plan(link, options, there) for link in links]

    async def _plan(self, link: Link, options: Options, there: Collection[tuple[str, str]]) -> tuple[bool, bool]:
        stored = None if options.refresh else await self._find(link, time.time() - self._reuse_seconds, save=False)
        if stored is None:
            return (link.platform, link.post_id) in there, True
        on_disk = renewal = False
        with suppress(TikHubMCPError):  # no post, no video: then there is nothing more to pay for either
            post = parse_post(stored.value, link, stored.received)
            on_disk = (post.platform, post.video_id) in there
            expired = choose(post, options.quality).expired(_platform_time(stored, post))
            wanted = expired and not on_disk and not options.metrics_only
            renewal = wanted and not await self._seconds_to_renewal(post)
        return on_disk, renewal

    async def _look_up(self, job: Job, newer_than: float) -> tuple[StoredAnswer, Post]:
        """The answer for the job's link, kept or paid for, and the post in it, which is the one that was asked for."""
        stored = await self._answer(job, newer_than)
        outcome = job.outcome
        outcome.raw_path, job.done = stored.path, 0.1
        try:
            post = parse_post(stored.value, job.link, stored.received)
            check_same_post(post, job.link)
            outcome.post = post
            check_available(post)
        except AnswerError as error:
            if outcome.reused_answer:
                since = datetime.fromtimestamp(stored.received, UTC).strftime("%Y-%m-%d %H:%M UTC")
                error.message += f" That was the answer of {since}; it cost nothing now. Set refresh to ask again."
            raise
        return stored, post

    async def _answer(self, job: Job, newer_than: float) -> StoredAnswer:
        # The lock outlives a cancellation: who asks again meanwhile waits for what was paid for, and finds it.
        return await run_to_completion(self._find_or_pay(job, newer_than))

    async def _find_or_pay(self, job: Job, newer_than: float) -> StoredAnswer:
        # One at a time for one link: who comes second finds the first one's answer, and does not pay.
        async with self._locks.everywhere("answer", job.link.key):
            stored = await self._find(job.link, newer_than, job.options.save_raw)
            job.outcome.reused_answer = stored is not None
            if stored is not None:
                return stored
            async with self._refusals.turn():
                return await self._pay(job)

    async def _find(self, link: Link, newer_than: float, save: bool) -> StoredAnswer | None:
        async with self._locks.here("archive"):
            return await in_thread(self._archive.find, link, newer_than, save)

    async def _pay(self, job: Job) -> StoredAnswer:
        async def store(answer: Answer) -> StoredAnswer:
            async with self._locks.here("archive"):
                stored = await in_thread(self._store, job, answer)
            job.outcome.raw_path = stored.path
            return stored

        if self._closed:
            raise NoCallerWaiting
        payer = job.payer()  # nothing more is looked at where nobody may pay
        try:
            if job.options.save_raw:
                async with self._locks.here("archive"):
                    await in_thread(self._archive.check_room)
            return await self._tikhub.look_up(job.link, payer.key, job, store)
        except (DiskFull, NotWritable) as error:  # nothing is paid for that could not be kept
            job.stop(error)
            raise
        except AnswerError as error:
            if error.stop:  # here, before a lock lets the next one through: nothing more is paid for
                job.stop(error)
            raise

    def _store(self, job: Job, answer: Answer) -> StoredAnswer:
        self._unfinished.touch(job.waiting)
        return self._archive.store(job.link, answer, job.options.save_raw)

    async def _download(self, job: Job, stored: StoredAnswer, post: Post, file: Rendition) -> Saved:
        """Fetch the file; once more with fresh links, which cost a call, when old ones are to blame."""
        until, renewing = self._downloader.time_is_up(), False
        if file.expired(_platform_time(stored, post)) and not await self._seconds_to_renewal(post):
            renewing = True
            with suppress(ApiCallLimit, Stopped):  # then the old ones have to do
                stored, post = await self._renew(job, stored)
                file = choose(post, job.options.quality)
        try:
            return await self._fetch(job, post, file, until)
        except (MediaUnavailable, MediaInvalid) as failure:  # some CDNs answer for an expired link with a page
            if not _are_old(stored, post, file) or time.monotonic() >= until - CLOCK_STEP_SECONDS:
                raise
            if renewing or await self._seconds_to_renewal(post):
                await self._explain(failure, post)
                raise
        stored, post = await self._renew(job, stored)
        file = choose(post, job.options.quality)
        try:
            return await self._fetch(job, post, file, until)
        except (MediaUnavailable, MediaInvalid) as failure:
            if _are_old(stored, post, file):
                await self._explain(failure, post)
            raise

    async def _renew(self, job: Job, stored: StoredAnswer) -> tuple[StoredAnswer, Post]:
        """A newer answer, with newer links in it; one that is paid for is noted for all processes."""
        newer, post = await self._look_up(job, stored.received)
        if not job.outcome.reused_answer:
            await in_thread(self._renewals.put, time.time(), post.platform, post.video_id)
        return newer, post

    async def _seconds_to_renewal(self, post: Post) -> float:
        """How long no new answer is paid for only because the links of the one before have expired; 0 for no time."""
        renewal = await in_thread(self._renewals.get, post.platform, post.video_id)
        return max(0.0, renewal.at + self._reuse_seconds - time.time()) if renewal else 0.0

    async def _explain(self, failure: MediaUnavailable | MediaInvalid, post: Post) -> None:
        """Say of a failure that the links are to blame, and when paying for new ones makes sense again."""
        if seconds := await self._seconds_to_renewal(post):
            failure.retryable, failure.retry_after = False, float(math.ceil(seconds))
            failure.message += (
                " The links in TikHub's answer have expired, and a new answer that was paid for did not mend that: "
                f"the next one is paid for in {failure.retry_after:g} s at the earliest. Do not call again before; "
                "refresh pays at once."
            )

    async def _fetch(self, job: Job, post: Post, file: Rendition, until: float) -> Saved:
        def progress(got: int) -> None:
            job.done = 0.1 + 0.9 * min(1.0, got / file.size) if file.size else 0.1

        target = job.options.folder / video_name(post.platform, post.author, post.video_id, job.options.quality)
        return await self._downloader.fetch(file, post.platform, target, progress, until)

    def _check_folders(self, options: Options) -> None:
        """What cannot be written is to be known before anything is paid for."""
        if not options.metrics_only:
            make_folder(options.folder)
        if options.save_raw:
            self._archive.check()


def _are_old(stored: StoredAnswer, post: Post, file: Rendition) -> bool:
    """Whether a file that cannot be had may be one whose links are too old."""
    return time.time() - stored.received > LINK_LIFETIME_SECONDS or file.expired(_platform_time(stored, post))


def _platform_time(stored: StoredAnswer, post: Post) -> float:
    """Now, by the clock that dated the answer: this machine's may be wrong, and would make links look old."""
    return post.stamp + (time.time() - stored.received)
