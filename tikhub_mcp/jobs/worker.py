"""The work of one job: look up the post, then find its video file or download it."""

import asyncio
import math
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import ApiCallLimit, MediaInvalid, MediaUnavailable, TikHubMCPError
from tikhub_mcp.jobs.lookup import Lookup
from tikhub_mcp.jobs.model import Job, Options, Stopped
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.media.download import Downloader, Saved
from tikhub_mcp.media.library import Videos
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.post import Post, Rendition, choose, parse_post, why_silent
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.storage.atomic import make_folder
from tikhub_mcp.storage.filenames import video_name
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

ACCEPTED_SECONDS = 365 * 86400.0  # how long it is known that a file is right although the answer's hash differs
MAX_TRANSFERS = 10  # transfers at once in this process; of look-ups, see MAX_CONNECTIONS of api.client
CLOCK_STEP_SECONDS = 0.1  # a timer may end early by this much
LINK_LIFETIME_SECONDS = 1800.0  # download links that are younger than this are not treated as expired after a failure


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
        self._lookup = Lookup(tikhub, archive, locks, unfinished)
        self._downloader = downloader
        self._locks = locks
        self._renewals = renewals
        self._reuse_seconds = reuse_seconds
        self._videos = Videos(Moments(archive.database, "accepted", ACCEPTED_SECONDS))
        self._transfers = asyncio.Semaphore(MAX_TRANSFERS)

    def close(self) -> None:
        """Pay for nothing more."""
        self._lookup.close()

    async def work(self, job: Job) -> None:
        """Do the work of a job, and fill in `job.outcome` as results arrive.

        Raises:
            TikHubMCPError: The work failed.
            Stopped, NoCallerWaiting: A request would have to be paid for, and no call may pay or is waiting.
        """
        options, outcome = job.options, job.outcome
        newer_than = job.created if options.refresh else min(time.time() - self._reuse_seconds, job.created)
        stored, post = await self._lookup.post(job, newer_than)
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
        newer_than = time.time() - self._reuse_seconds
        stored = None if options.refresh else await self._lookup.find(link, newer_than, save=False)
        if stored is None:
            return (link.platform, link.post_id) in existing, True
        on_disk = renewal = False
        with suppress(TikHubMCPError):  # the stored answer has no post or no video, so no further call is needed
            post = parse_post(stored.value, link, stored.received)
            on_disk = (post.platform, post.video_id) in existing
            expired = _Source.of(options, stored, post).has_expired()
            wanted = expired and not on_disk and not options.metrics_only
            renewal = wanted and not await self._renewed_since(time.time() - self._reuse_seconds, post)
        return on_disk, renewal

    async def _save(self, job: Job, stored: StoredAnswer, post: Post) -> Saved:
        """Return the post's video from the folder, or download it into it."""
        source, there, is_wanted = await in_thread(self._look_on_disk, job, stored, post)
        if there is not None and is_wanted:
            return there
        saved = await self._download(job, source, there)
        await in_thread(self._videos.add, post, saved)
        return saved

    def _look_on_disk(self, job: Job, stored: StoredAnswer, post: Post) -> tuple["_Source", Saved | None, bool]:
        """Return where the post's video comes from, its file if there is one, and whether that is the one wanted.

        If none is, the folder for it is made.
        """
        options, source = job.options, _Source.of(job.options, stored, post)
        there = self._videos.find(options.folder, options.quality, post, source.files)
        # A refresh tries the first choice again, once in a piece of work.
        if there is not None and (there.first_choice or not options.refresh or there.written > job.created):
            return source, there, True
        make_folder(options.folder)
        return source, there, False

    async def _download(self, job: Job, source: "_Source", there: Saved | None) -> Saved:
        """Download the post's video; if its links may have expired, pay for a new answer once and try its links.

        Args:
            job: The job.
            source: The post in its answer.
            there: A video on disk, or None. Only the first choice replaces it; if that fails, it is returned.
        """
        renewed = False
        if source.has_expired() and await self._may_renew(job, source):
            renewed = True
            with suppress(ApiCallLimit, Stopped):  # no call may pay: try the old links
                source = await self._renew(job, source)
        try:
            return await self._fetch(job, source, others=there is None)
        except (MediaUnavailable, MediaInvalid) as failure:  # some CDNs serve a web page for an expired link
            if there is not None:
                return there
            in_time = self._deadline(job) > time.monotonic() + CLOCK_STEP_SECONDS
            if failure.refused_content or not in_time or not source.is_old():
                raise
            if renewed or not await self._may_renew(job, source):
                await self._explain(failure, source.post)
                raise
        source = await self._renew(job, source)
        try:
            return await self._fetch(job, source, others=False)
        except (MediaUnavailable, MediaInvalid) as failure:
            if not failure.refused_content and source.is_old():
                await self._explain(failure, source.post)
            raise

    async def _renew(self, job: Job, source: "_Source") -> "_Source":
        """Get a newer answer, which has newer links; if it is paid for, record the renewal for all processes."""
        if (newer := await self._newer_answer(job, source)) is not None:
            return _Source.of(job.options, newer, parse_post(newer.value, job.link, newer.received))
        newer, post = await self._lookup.post(job, source.received)
        if not job.outcome.reused_answer:
            await in_thread(self._renewals.put, time.time(), post.platform, post.video_id)
        return _Source.of(job.options, newer, post)

    async def _newer_answer(self, job: Job, source: "_Source") -> StoredAnswer | None:
        """A newer answer about the same post, which another link to it may have brought."""
        by_id = replace(job.link, post_id=source.post.video_id)
        return await self._lookup.find(by_id, source.received, save=job.options.save_raw)

    async def _may_renew(self, job: Job, source: "_Source") -> bool:
        """Whether there is a newer answer, or one may be paid for because links have expired.

        One renewal within the reuse time, and one in a piece of work, which may take longer.
        """
        if await self._newer_answer(job, source) is not None:
            return True
        return not await self._renewed_since(min(job.created, time.time() - self._reuse_seconds), source.post)

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

    async def _fetch(self, job: Job, source: "_Source", *, others: bool) -> Saved:
        """Wait for a slot, and download the first choice, or one of the `others` if that fails."""
        file, *rest = source.files[: None if others else 1]
        job.expected, progress = file.size, partial(setattr, job, "received")
        # Only a transfer holds a slot: whoever waits for a lock or an answer would hold up the files of others.
        async with self._transfers:
            began, until = time.monotonic(), self._deadline(job)
            try:
                return await self._downloader.fetch(file, source.post.platform, source.target, progress, until, rest)
            finally:
                job.transfer_seconds += time.monotonic() - began

    def _deadline(self, job: Job) -> float:
        return self._downloader.time_is_up() - job.transfer_seconds


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the video of a post comes from.

    Attributes:
        post: The post.
        files: Its files, the first choice first.
        received: When the answer with the post was received, in Unix seconds.
        target: The path of the video.
    """

    post: Post
    files: tuple[Rendition, ...]
    received: float
    target: Path

    @classmethod
    def of(cls, options: Options, stored: StoredAnswer, post: Post) -> Self:
        name = video_name(post.platform, post.author, post.video_id, options.quality)
        return cls(post, choose(post, options.quality), stored.received, options.folder / name)

    def is_old(self) -> bool:
        """Whether the failure to get a file may be due to expired links."""
        return time.time() - self.received > LINK_LIFETIME_SECONDS or self.has_expired()

    def has_expired(self) -> bool:
        """Whether the links to the first choice have expired, by TikHub's clock: the local one may be wrong."""
        return self.files[0].expired(self.post.stamp + (time.time() - self.received))
