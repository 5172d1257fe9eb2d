"""The work of one job: find the post's answer or pay for it, then find its video file or download it.

Work that was paid for continues when no call is waiting any more. Nothing is paid for that could not be stored.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

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
    UnexpectedAnswer,
)
from tikhub_mcp.jobs.model import Job, NoCallerWaiting, Options, Stopped
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.media.download import Downloader, Saved
from tikhub_mcp.media.library import Videos
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link, Platform, named
from tikhub_mcp.posts.post import Post, check_available, check_same_post, choose, parse_post, why_silent
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.storage.atomic import make_folder
from tikhub_mcp.storage.filenames import video_name
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

ACCEPTED_SECONDS = 365 * 86400.0  # how long it is known that a file is right although the answer's hash differs
MAX_TRANSFERS = 10  # transfers at once in this process; of look-ups, see MAX_CONNECTIONS of api.client
CLOCK_STEP_SECONDS = 0.1  # a timer may end early by this much
LINK_LIFETIME_SECONDS = 1800.0  # download links that are younger than this are not treated as expired after a failure


class Refusals:
    """Serialises requests after an error that only a human can fix, such as an invalid key.

    For each platform that the error concerns, one request is then sent alone, and the others wait for its response.
    Once it succeeds, the platform's requests run in parallel again.
    """

    def __init__(self) -> None:
        self._first = {platform: asyncio.Lock() for platform in get_args(Platform)}
        self._refused: set[str] = set()

    @asynccontextmanager
    async def turn(self, platform: Platform) -> AsyncIterator[None]:
        """Wait until a request for a post of this platform may be sent; send it inside the context."""
        async with AsyncExitStack() as lock:
            if platform in self._refused:
                await lock.enter_async_context(self._first[platform])
            if platform not in self._refused:  # it may have changed while waiting for the lock
                await lock.aclose()
            goes_first = platform in self._refused
            try:
                yield
            except AnswerError as error:
                if error.stop:
                    self._refused |= {error.platform} if error.platform else set(get_args(Platform))
                raise
            if goes_first:  # other requests may have been in flight before the error: their success proves nothing
                self._refused.discard(platform)


class Worker:
    """Does the work of jobs, from the link to the video file.

    Args:
        tikhub: The client of the paid API.
        archive: The store of raw answers.
        downloader: Fetches the video files.
        locks: Prevent two jobs, in this or another process, from paying for the same post or fetching the same file.
        unfinished: The pieces of work; those that a received answer belongs to are marked as active.
        renewals: For each post, when a new answer was last paid for because the previous one's links had expired.
        reuse_seconds: How long a stored answer is reused, in seconds.
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
        self._archive_turn = asyncio.Lock()  # its methods are called from one thread at a time
        self._downloader = downloader
        self._locks = locks
        self._unfinished = unfinished
        self._renewals = renewals
        self._reuse_seconds = reuse_seconds
        self._videos = Videos(Moments(archive.database, "accepted", ACCEPTED_SECONDS))
        self._refusals = Refusals()
        self._transfers = asyncio.Semaphore(MAX_TRANSFERS)
        self._closed = False

    def close(self) -> None:
        """Pay for nothing more."""
        self._closed = True

    async def work(self, job: Job) -> None:
        """Do the work of a job, and fill in `job.outcome` as results arrive.

        Raises:
            TikHubMCPError: The work failed.
            Stopped, NoCallerWaiting: A request would have to be paid for, and no call may pay or is waiting.
        """
        options, outcome = job.options, job.outcome
        newer_than = job.created if options.refresh else min(time.time() - self._reuse_seconds, job.created)
        stored, post = await self._look_up(job, newer_than)
        if options.metrics_only:
            return
        async with self._locks.everywhere("file", options.folder, post.platform, post.video_id, options.quality):
            saved = await self._save(job, stored, post)
        if not saved.media.has_audio:
            saved = replace(saved, warnings=(*saved.warnings, why_silent(post)))
        outcome.saved = saved

    async def plan(self, links: Sequence[Link], options: Options) -> list[tuple[bool, bool]]:
        """Return for each link whether its file is on disk and whether it needs a paid call; an estimate, and free."""
        existing = await in_thread(self._videos.identities, options.folder, options.quality)
        return [await self._plan(link, options, existing) for link in links]

    async def _plan(self, link: Link, options: Options, existing: Collection[tuple[str, str]]) -> tuple[bool, bool]:
        stored = None if options.refresh else await self._find(link, time.time() - self._reuse_seconds, save=False)
        if stored is None:
            return (link.platform, link.post_id) in existing, True
        on_disk = renewal = False
        with suppress(TikHubMCPError):  # the stored answer has no post or no video, so no further call is needed
            post = parse_post(stored.value, link, stored.received)
            on_disk = (post.platform, post.video_id) in existing
            expired = _have_expired(options, stored, post)
            wanted = expired and not on_disk and not options.metrics_only
            renewal = wanted and not await self._renewed_since(time.time() - self._reuse_seconds, post)
        return on_disk, renewal

    async def _look_up(self, job: Job, newer_than: float) -> tuple[StoredAnswer, Post]:
        """Return the answer for the job's link, stored or paid for, and the post in it, checked to be the right one."""
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
        return replace(stored, value=None), post  # it takes ten times the memory of its file, and is read no more

    async def _answer(self, job: Job, newer_than: float) -> StoredAnswer:
        # It runs to completion, with its lock, even if the job is cancelled: another job for the same link then waits
        # for the paid answer and finds it.
        return await run_to_completion(self._find_or_pay(job, newer_than))

    async def _find_or_pay(self, job: Job, newer_than: float) -> StoredAnswer:
        # One job at a time for a link: the second one finds the first one's answer and does not pay.
        async with self._locks.everywhere("answer", job.link.key):
            stored = await self._find(job.link, newer_than, job.options.save_raw)
            job.outcome.reused_answer = stored is not None
            if stored is not None:
                return stored
            await self._check_unreadable(job)
            async with self._refusals.turn(job.link.platform):
                return await self._pay(job)

    async def _check_unreadable(self, job: Job) -> None:
        """Do not pay again, in one piece of work, for an answer that came and is not JSON about a post.

        Raises:
            UnexpectedAnswer: There is such an answer.
        """
        async with self._archive_turn:
            unreadable = await in_thread(self._archive.is_unreadable, job.link, job.created)
        if unreadable:
            raise UnexpectedAnswer(
                f"TikHub's answer for {named(job.link)} came before in this piece of work, and is not JSON about a "
                "post. It cost nothing now."
            )

    async def _find(self, link: Link, newer_than: float, save: bool) -> StoredAnswer | None:
        async with self._archive_turn:
            return await in_thread(self._archive.find, link, newer_than, save)

    async def _pay(self, job: Job) -> StoredAnswer:
        async def store(answer: Answer) -> StoredAnswer:
            async with self._archive_turn:
                stored = await in_thread(self._store, job, answer)
            job.outcome.raw_path = stored.path
            return stored

        if self._closed:
            raise NoCallerWaiting
        payer = job.payer()  # fail before the disk is checked if no call may pay
        try:
            async with self._archive_turn:
                await in_thread(self._prepare, job)
            return await self._tikhub.look_up(job.link, payer.key, job, store)
        except (DiskFull, NotWritable) as error:  # nothing is paid for that could not be stored
            job.stop(error)
            raise
        except AnswerError as error:
            if error.stop:  # set before the locks are released, so that the next job does not pay
                job.stop(error)
            raise

    def _prepare(self, job: Job) -> None:
        """Check that the answer and the file can be stored, and record that the answer is about to be paid for."""
        if not job.options.metrics_only:
            make_folder(job.options.folder)
        if job.options.save_raw:
            self._archive.check_room()
        self._unfinished.record(job.waiting)

    def _store(self, job: Job, answer: Answer) -> StoredAnswer:
        self._unfinished.record(job.waiting)
        return self._archive.store(job.link, answer, job.options.save_raw)

    async def _save(self, job: Job, stored: StoredAnswer, post: Post) -> Saved:
        """Return the post's video from the folder, or download it into it."""
        options, files = job.options, choose(post, job.options.quality)
        there = await in_thread(self._videos.find, options.folder, options.quality, post, files)
        # A refresh tries the first choice again, once in a piece of work.
        if there is not None and (there.first_choice or not options.refresh or there.written > job.created):
            return there
        await in_thread(make_folder, options.folder)
        saved = await self._download(job, stored, post, there)
        await in_thread(self._videos.add, post, saved)
        return saved

    async def _download(self, job: Job, stored: StoredAnswer, post: Post, there: Saved | None) -> Saved:
        """Download the post's video; if its links may have expired, pay for a new answer once and try its links.

        Args:
            job: The job.
            stored: The answer.
            post: The post in it.
            there: A video on disk, or None. Only the first choice replaces it; if that fails, it is returned.
        """
        renewed = False
        if _have_expired(job.options, stored, post) and await self._may_renew(job, stored, post):
            renewed = True
            with suppress(ApiCallLimit, Stopped):  # no call may pay: try the old links
                stored, post = await self._renew(job, stored, post)
        try:
            return await self._fetch(job, post, others=there is None)
        except (MediaUnavailable, MediaInvalid) as failure:  # some CDNs serve a web page for an expired link
            if there is not None:
                return there
            in_time = self._deadline(job) > time.monotonic() + CLOCK_STEP_SECONDS
            if failure.refused_content or not in_time or not _are_old(job.options, stored, post):
                raise
            if renewed or not await self._may_renew(job, stored, post):
                await self._explain(failure, post)
                raise
        stored, post = await self._renew(job, stored, post)
        try:
            return await self._fetch(job, post, others=False)
        except (MediaUnavailable, MediaInvalid) as failure:
            if not failure.refused_content and _are_old(job.options, stored, post):
                await self._explain(failure, post)
            raise

    async def _renew(self, job: Job, stored: StoredAnswer, post: Post) -> tuple[StoredAnswer, Post]:
        """Get a newer answer, which has newer links; if it is paid for, record the renewal for all processes."""
        if (newer := await self._newer_answer(job, stored, post)) is not None:
            return newer, parse_post(newer.value, job.link, newer.received)
        newer, post = await self._look_up(job, stored.received)
        if not job.outcome.reused_answer:
            await in_thread(self._renewals.put, time.time(), post.platform, post.video_id)
        return newer, post

    async def _newer_answer(self, job: Job, stored: StoredAnswer, post: Post) -> StoredAnswer | None:
        """A newer answer about the same post, which another link to it may have brought."""
        by_id = replace(job.link, post_id=post.video_id)
        return await self._find(by_id, stored.received, job.options.save_raw)

    async def _may_renew(self, job: Job, stored: StoredAnswer, post: Post) -> bool:
        """Whether there is a newer answer, or one may be paid for because links have expired.

        One renewal within the reuse time, and one in a piece of work, which may take longer.
        """
        if await self._newer_answer(job, stored, post) is not None:
            return True
        return not await self._renewed_since(min(job.created, time.time() - self._reuse_seconds), post)

    async def _renewed_since(self, moment: float, post: Post) -> bool:
        renewal = await in_thread(self._renewals.get, post.platform, post.video_id)
        return renewal is not None and renewal.at > moment

    async def _explain(self, failure: MediaUnavailable | MediaInvalid, post: Post) -> None:
        """Add to a failure that the links have expired, and when new ones will be paid for."""
        renewal = await in_thread(self._renewals.get, post.platform, post.video_id)
        seconds = math.ceil(renewal.at + self._reuse_seconds - time.time()) if renewal else 0
        if seconds > 0:
            failure.retryable, failure.retry_after = False, float(seconds)
            failure.message += (
                " The links in TikHub's answer have expired, and a new answer that was paid for did not mend that: "
                f"the next one is paid for in {failure.retry_after:g} s at the earliest. Do not call again before; "
                "refresh pays at once."
            )

    async def _fetch(self, job: Job, post: Post, *, others: bool) -> Saved:
        """Wait for a slot, and download the first choice, or one of the `others` if that fails."""
        options = job.options
        file, *rest = choose(post, options.quality)[: None if others else 1]

        def progress(received: int) -> None:
            job.done = 0.1 + 0.9 * min(1.0, received / file.size) if file.size else 0.1

        target = options.folder / video_name(post.platform, post.author, post.video_id, options.quality)
        # Only a transfer holds a slot: whoever waits for a lock or an answer would hold up the files of others.
        async with self._transfers:
            began, until = time.monotonic(), self._deadline(job)
            try:
                return await self._downloader.fetch(file, post.platform, target, progress, until, rest)
            finally:
                job.transfer_seconds += time.monotonic() - began

    def _deadline(self, job: Job) -> float:
        return self._downloader.time_is_up() - job.transfer_seconds


def _are_old(options: Options, stored: StoredAnswer, post: Post) -> bool:
    """Whether the failure to get a file may be due to expired links."""
    return time.time() - stored.received > LINK_LIFETIME_SECONDS or _have_expired(options, stored, post)


def _have_expired(options: Options, stored: StoredAnswer, post: Post) -> bool:
    """Whether the links to the first choice say that they have expired, by TikHub's clock: the local may be wrong."""
    return choose(post, options.quality)[0].expired(post.stamp + (time.time() - stored.received))
