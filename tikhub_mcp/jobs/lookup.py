"""Looks up the post of a job: finds its answer in the archive, or pays for it.

Work that was paid for continues when no call is waiting any more. Nothing is paid for that could not be stored.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar, get_args

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import in_thread, run_to_completion
from tikhub_mcp.errors import AnswerError, DiskFull, NotWritable, UnexpectedAnswer
from tikhub_mcp.jobs.model import Job, NoCallerWaiting
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link, Platform, named
from tikhub_mcp.posts.post import Post, check_available, check_same_post, parse_post
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.storage.atomic import make_folder
from tikhub_mcp.storage.locks import Locks

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A stored answer, without its value, and what is in it.

    Attributes:
        stored: The answer.
        named: The post that the link names, available or not; None where the answer has another one, or none.
        result: The same post, or why it cannot be used.
    """

    stored: StoredAnswer
    named: Post | None
    result: Post | AnswerError


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


class Lookup:
    """Looks up the posts of jobs.

    Args:
        tikhub: The client of the paid API.
        archive: The store of raw answers.
        locks: Prevent two jobs, in this or another process, from paying for the same post.
        unfinished: The pieces of work; those that a received answer belongs to are marked as active.
    """

    def __init__(self, tikhub: TikHub, archive: Archive, locks: Locks, unfinished: UnfinishedCalls) -> None:
        self._tikhub = tikhub
        self._archive = archive
        self._archive_turn = asyncio.Lock()  # its methods are called from one thread at a time
        self._locks = locks
        self._unfinished = unfinished
        self._refusals = Refusals()
        self._closed = False

    def close(self) -> None:
        """Pay for nothing more."""
        self._closed = True

    async def post(self, job: Job, newer_than: float) -> tuple[StoredAnswer, Post]:
        """Return the answer for the job's link, stored or paid for, without its value, and the post in it.

        Fills in `job.outcome`.

        Args:
            job: The job.
            newer_than: Only answers received after this time count, in Unix seconds.

        Raises:
            AnswerError: There is no answer, or no post that is available in it, or another one.
            DiskFull, NotWritable: The answer could not be stored.
            Stopped, NoCallerWaiting: A request would have to be paid for, and no call may pay or is waiting.
        """
        # It runs to completion, with its lock, even if the job is cancelled: another job for the same link then waits
        # for the paid answer and finds it.
        parsed = await run_to_completion(self._find_or_pay(job, newer_than))
        outcome = job.outcome
        outcome.raw_path, outcome.post = parsed.stored.path, parsed.named or outcome.post
        if isinstance(parsed.result, AnswerError):
            if outcome.reused_answer:
                since = datetime.fromtimestamp(parsed.stored.received, UTC).strftime("%Y-%m-%d %H:%M UTC")
                parsed.result.message += (
                    f" That was the answer of {since}; it cost nothing now. Set refresh to ask again."
                )
            raise parsed.result
        return parsed.stored, parsed.result

    async def find(self, link: Link, newer_than: float, *, save: bool) -> StoredAnswer | None:
        """Return the newest stored answer for a link, as `Archive.find` does."""
        return await self._in_archive(self._archive.find, link, newer_than, save)

    async def _in_archive(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._archive_turn:
            return await in_thread(function, *args, **kwargs)

    async def _find_or_pay(self, job: Job, newer_than: float) -> _Parsed:
        # One job at a time for a link: the second one finds the first one's answer and does not pay.
        async with self._locks.everywhere("answer", job.link.key):
            found, is_unreadable = await self._in_archive(self._find, job, newer_than)
            job.outcome.reused_answer = found is not None
            if found is not None:
                return found
            if is_unreadable:
                raise UnexpectedAnswer(
                    f"TikHub's answer for {named(job.link)} came before in this piece of work, and is not JSON about a "
                    "post. It cost nothing now."
                )
            async with self._refusals.turn(job.link.platform):
                return await self._pay(job)

    def _find(self, job: Job, newer_than: float) -> tuple[_Parsed | None, bool]:
        """Return the stored answer; or None, and whether one came in this piece of work and is not JSON about a post.

        For such an answer nothing is paid again.
        """
        stored = self._archive.find(job.link, newer_than, job.options.save_raw)
        if stored is None:
            return None, self._archive.is_unreadable(job.link, job.created)
        return _parsed(stored, job.link), False

    async def _pay(self, job: Job) -> _Parsed:
        async def store(answer: Answer) -> _Parsed:
            parsed = await self._in_archive(self._store, job, answer)
            job.outcome.raw_path = parsed.stored.path
            return parsed

        if self._closed:
            raise NoCallerWaiting
        payer = job.payer()  # fail before the disk is checked if no call may pay
        try:
            await self._in_archive(self._prepare, job)
            return await self._tikhub.look_up(job.link, payer.key, job, store)
        except (DiskFull, NotWritable) as error:  # nothing is paid for that could not be stored
            job.stop(error)
            raise
        except AnswerError as error:
            if error.stop:  # set before the locks are released, so that the next job does not pay
                job.stop(error)
            raise

    def _prepare(self, job: Job) -> None:
        """Check that the answer and the files can be stored, and record that the answer is about to be paid for."""
        if job.options.writes_files:
            make_folder(job.options.folder)
            if not job.options.metrics_only:  # what kind of post it is, the answer tells
                make_folder(job.options.photo_folder)
        if job.options.save_raw:
            self._archive.check_room()
        self._unfinished.record(job.waiting)

    def _store(self, job: Job, answer: Answer) -> _Parsed:
        self._unfinished.record(job.waiting)
        return _parsed(self._archive.store(job.link, answer, job.options.save_raw), job.link)


def _parsed(stored: StoredAnswer, link: Link) -> _Parsed:
    """Parse a stored answer; an error is a part of the result, because it is not one of storing or finding."""
    # The value takes ten times the memory of its file, and is read no more.
    without_value, post = replace(stored, value=None), None
    try:
        found = parse_post(stored.value, link, stored.received)
        check_same_post(found, link)
        post = found
        check_available(post)
    except AnswerError as error:
        return _Parsed(without_value, post, error)
    return _Parsed(without_value, post, post)
