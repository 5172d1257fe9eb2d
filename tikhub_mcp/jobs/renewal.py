"""Renewal of links: pays for a new answer, once, when the links of a post may have expired."""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import ApiCallLimit, MediaInvalid, MediaUnavailable
from tikhub_mcp.jobs.lookup import Lookup
from tikhub_mcp.jobs.model import Job, Stopped
from tikhub_mcp.jobs.source import Source
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.post import Post, parse_post
from tikhub_mcp.storage.archive import StoredAnswer
from tikhub_mcp.storage.moments import Moments

CLOCK_STEP_SECONDS = 0.1  # a timer may end early by this much
T = TypeVar("T")


class Renewals:
    """Downloads files, with new links where they are needed.

    Args:
        lookup: Looks up the posts of jobs.
        moments: For each post, when a new answer was last paid for because the previous one's links had expired.
        reuse_seconds: How long a stored answer is reused, in seconds.
        seconds_left: Returns how long the download of a job's file may still take.
    """

    def __init__(
        self, lookup: Lookup, moments: Moments, reuse_seconds: float, seconds_left: Callable[[Job], float]
    ) -> None:
        self._lookup = lookup
        self._moments = moments
        self._reuse_seconds = reuse_seconds
        self._seconds_left = seconds_left

    async def download(
        self, job: Job, source: Source, fetch: Callable[[Source, bool], Awaitable[T]], there: T | None = None
    ) -> T:
        """Download a post's files; if its links may have expired, pay for a new answer once and try its links.

        Args:
            job: The job.
            source: The post in its answer.
            fetch: Downloads the files of a source; the second argument tells whether other files may take the place of
                the first choice.
            there: A file on disk, or None. Only the first choice replaces it; if that fails, it is returned.

        Raises:
            FileError: The files could not be downloaded.
            AnswerError, ApiCallLimit, Stopped, NoCallerWaiting: There is no new answer.
        """
        renewed = False
        if source.has_expired() and await self._may_renew(job, source):
            renewed = True
            with suppress(ApiCallLimit, Stopped):  # no call may pay: try the old links
                source = await self._renew(job, source)
        try:
            return await fetch(source, there is None)
        except (MediaUnavailable, MediaInvalid) as failure:  # some CDNs serve a web page for an expired link
            if there is not None:
                return there
            in_time = self._seconds_left(job) > CLOCK_STEP_SECONDS
            if failure.refused_content or not in_time or not source.is_old():
                raise
            if renewed or not await self._may_renew(job, source):
                await self._explain(failure, source.post)
                raise
        source = await self._renew(job, source)
        try:
            return await fetch(source, False)
        except (MediaUnavailable, MediaInvalid) as failure:
            if not failure.refused_content and source.is_old():
                await self._explain(failure, source.post)
            raise

    async def _renew(self, job: Job, source: Source) -> Source:
        """Get a newer answer, which has newer links; if it is paid for, record the renewal for all processes."""
        if (newer := await self._newer_answer(job, source)) is not None:
            post = await in_thread(parse_post, newer.value, _by_id(job, source), newer.received)
        else:
            newer, post = await self._lookup.post(job, source.received)
            if not job.outcome.reused_answer:
                await in_thread(self._moments.put, time.time(), post.platform, post.video_id)
        if post.kind != source.post.kind:
            raise MediaUnavailable(
                f"The last answer about post {post.video_id} has a video in the place of pictures, or the reverse; "
                "the same call again takes what is there now."
            )
        job.outcome.post, job.outcome.raw_path = post, newer.path  # with the links to what stands beside a video
        return await in_thread(Source.of, job.options, newer, post)

    async def _newer_answer(self, job: Job, source: Source) -> StoredAnswer | None:
        """A newer answer about the same post, which another link to it may have brought."""
        return await self._lookup.find(_by_id(job, source), source.received, save=job.options.save_raw)

    async def _may_renew(self, job: Job, source: Source) -> bool:
        """Whether there is a newer answer, or one may be paid for because links have expired.

        One renewal within the reuse time, and one in a piece of work, which may take longer.
        """
        if await self._newer_answer(job, source) is not None:
            return True
        return not await self._renewed_since(min(job.created, time.time() - self._reuse_seconds), source.post)

    async def were_within_reuse_time(self, post: Post) -> bool:
        """Whether a new answer was paid for within the reuse time because the links of the post had expired."""
        return await self._renewed_since(time.time() - self._reuse_seconds, post)

    async def _renewed_since(self, moment: float, post: Post) -> bool:
        renewal = await in_thread(self._moments.get, post.platform, post.video_id)
        return renewal is not None and renewal.at > moment

    async def _explain(self, failure: MediaUnavailable | MediaInvalid, post: Post) -> None:
        """Add to a failure that the links have expired, and when new ones will be paid for."""
        renewal = await in_thread(self._moments.get, post.platform, post.video_id)
        seconds = math.ceil(renewal.at + self._reuse_seconds - time.time()) if renewal else 0
        if seconds > 0:
            failure.retryable, failure.retry_after = False, float(seconds)
            failure.message += (
                " The links in TikHub's answer have expired, and a new answer that was paid for did not mend that: "
                f"the next one is paid for in {failure.retry_after:g} s at the earliest. Do not call again before; "
                "refresh pays at once."
            )


def _by_id(job: Job, source: Source) -> Link:
    """The link to the post, also where the link that was requested does not show its id."""
    return replace(job.link, post_id=source.post.video_id)
