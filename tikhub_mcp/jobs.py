"""Many links at once: one job a post, joined by everyone who asks for it; ten at a time; in time, and within budget.

A tool call (`Call`) waits for jobs; a job may outlive the call that started it. What has been paid for goes on when
the call's time is up, so that asking again finds it; nothing is paid for while nobody waits.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tikhub_mcp.archive import Archive, Kept
from tikhub_mcp.call import Call, Job, NobodyWaits, Outcome, Stopped, Watch, Wish
from tikhub_mcp.client import Answer, TikHub, carried, carried_through
from tikhub_mcp.download import Downloader, Saved
from tikhub_mcp.errors import AnswerError, ApiCallLimit, MediaInvalid, MediaUnavailable, TikHubMCPError
from tikhub_mcp.files import make_folder
from tikhub_mcp.links import Link
from tikhub_mcp.locks import Locks
from tikhub_mcp.names import video_name
from tikhub_mcp.network import Network
from tikhub_mcp.post import Post, Rendition, choose, identify, judge, named, read
from tikhub_mcp.settings import Settings
from tikhub_mcp.transfer import Limits, in_thread
from tikhub_mcp.videos import Videos

logger = logging.getLogger(__name__)

LOCK_NAME, JOURNAL_NAME = ".lock", ".journal"  # in the output folder, for all processes that share it
AT_ONCE = 10  # jobs in the whole process
CLOSING_SECONDS = 1.5  # hosts kill what is not gone after 2
REMEMBERED = 600.0  # seconds in which the same call again counts as the same wish
CLOCK_STEP = 0.1  # seconds by which a timer may end early
LINKS_LIVE = 1800.0  # seconds; links younger than this are not blamed on their age


class Jobs:
    """All work of the process.

    Args:
        tikhub: Who is asked, and paid.
        archive: Where answers are kept and found.
        downloader: Who fetches files.
        locks: What keeps two jobs, here or in another process, from paying for one post or fetching one file.
        reuse_seconds: How long an answer is used again.
    """

    def __init__(
        self, tikhub: TikHub, archive: Archive, downloader: Downloader, locks: Locks, reuse_seconds: float
    ) -> None:
        self._tikhub = tikhub
        self._archive = archive
        self._downloader = downloader
        self._locks = locks
        self._reuse_seconds = reuse_seconds
        self._videos = Videos()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[tuple[str, Wish], Job] = {}
        self._unseen: dict[tuple[str, Wish], tuple[float, float]] = {}
        self._refused = False
        self._closed = False

    @classmethod
    def of(cls, settings: Settings, raw: Path | None = None) -> Self:
        """Put the parts together for these settings; `raw` is another folder for the raw answers."""
        network = Network(loopback_media=settings.on_loopback)
        limits = Limits(seconds=settings.download_seconds, largest=settings.max_bytes)
        return cls(
            TikHub(settings.base_url, network),
            Archive(raw or settings.raw, settings.reuse_seconds, settings.root / JOURNAL_NAME),
            Downloader(network, limits),
            Locks(settings.root / LOCK_NAME),
            settings.reuse_seconds,
        )

    async def get(self, call: Call, link: Link, wish: Wish, watch: Watch) -> Outcome:
        """One link's outcome, as far as the call's time goes; foreseen failures are in it, not raised.

        Args:
            call: Whose time and money it is.
            link: What is asked for.
            wish: What is wanted of it.
            watch: Given the job once it runs, to follow its progress.
        """
        while True:
            job = self._jobs.get((link.key, wish)) or await self._start(call, link, wish)
            if job is None:
                return Outcome("pending")
            watch(job)
            outcome = await self._wait_for(call, job)
            # It may have ended before this call could pay for it, or because those who waited before had gone.
            cut_short = outcome.status == "pending" and job.task.done()
            if self._closed or not (cut_short or (outcome.status == "skipped" and call.refusal() is None)):
                return outcome

    async def get_all(
        self, call: Call, links: Sequence[Link], wish: Wish, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        """The outcome of each distinct link by its `key`, at most `workers` at once."""
        outcomes: dict[str, Outcome] = {}
        waiting = iter({link.key: link for link in links}.values())

        async def work() -> None:
            for link in waiting:  # one iterator for all workers: each link goes to one of them
                outcomes[link.key] = await self.get(call, link, wish, watch)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, len(links))):
                group.create_task(work())
        if wish.refresh and any(outcome.status == "pending" for outcome in outcomes.values()):
            # The same call again is the same wish, for what it has answered already as well.
            self._unseen |= {(key, wish): (call.born, time.time()) for key in outcomes}
        return outcomes

    async def plan(self, links: Sequence[Link], wish: Wish) -> list[tuple[bool, bool]]:
        """Of each link, whether its file is on disk, and whether it needs a paid call, as far as that can be told."""
        there = await in_thread(self._videos.identities, wish.folder, wish.quality)
        return [await self._plan(link, wish, there) for link in links]

    async def _plan(self, link: Link, wish: Wish, there: Collection[tuple[str, str]]) -> tuple[bool, bool]:
        kept = None if wish.refresh else await self._find(link, time.time() - self._reuse_seconds, save=False)
        if kept is None:
            return (link.platform, link.post_id) in there, True
        on_disk = renewal = False
        with suppress(TikHubMCPError):  # no post, no video: then there is nothing more to pay for either
            post = read(kept.value, link, kept.received)
            on_disk = (post.platform, post.video_id) in there
            expired = choose(post, wish.quality).expired(_platform_time(kept, post))
            renewal = expired and not on_disk and not wish.metrics_only
        return on_disk, renewal

    async def close(self) -> None:
        """Cancel all jobs and start no more.

        Returns when their part files are gone and the answers under way, which are paid for, are kept, or after
        CLOSING_SECONDS.
        """
        self._closed = True
        tasks: set[asyncio.Task[Any]] = {job.task for job in self._jobs.values()}
        for task in tasks:
            task.cancel()
        if tasks := tasks | carried():
            await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
        self._locks.close()

    async def _start(self, call: Call, link: Link, wish: Wish) -> Job | None:
        """Start a job once there is room for it; None when the call's time is up before."""
        if self._closed or call.left() == 0:
            return None
        try:
            async with asyncio.timeout(call.left()):
                await self._slots.acquire()
        except TimeoutError:
            return None
        key = (link.key, wish)
        if key in self._jobs:  # somebody else started it meanwhile
            self._slots.release()
            return self._jobs[key]
        if self._closed:
            self._slots.release()
            return None
        born, left = self._unseen.get(key, (0.0, 0.0))
        job = Job(link, wish, born if left > time.time() - REMEMBERED else call.born)
        self._jobs[key] = job
        job.task = asyncio.create_task(self._run(key, job))
        return job

    async def _wait_for(self, call: Call, job: Job) -> Outcome:
        job.waiting.append(call)
        try:
            await asyncio.wait([job.task], timeout=call.left())
        except asyncio.CancelledError:
            if job.waiting == [call]:
                job.task.cancel()
            raise
        finally:
            job.waiting.remove(call)
            self._remember(job)
        error = job.outcome.error
        if error is not None and error.stop:
            call.stop = error
        return replace(job.outcome, api_calls=job.paid[call])

    def _remember(self, job: Job) -> None:
        """Note who left before the end: asked again soon, the answer that came meanwhile is as fresh as was wanted."""
        key, now = (job.link.key, job.wish), time.time()
        self._unseen.pop(key, None)
        if not job.task.done():
            self._unseen = {old: times for old, times in self._unseen.items() if times[1] > now - REMEMBERED}
            self._unseen[key] = job.born, now

    async def _run(self, key: tuple[str, Wish], job: Job) -> None:
        outcome = job.outcome
        try:
            await self._work(job)
            outcome.status = "ok"
        except Stopped:
            outcome.status = "skipped"
        except NobodyWaits:
            pass  # still pending, and nobody sees it
        except ApiCallLimit as error:
            outcome.status, outcome.error = "failed" if job.was_paid else "skipped", error
        except TikHubMCPError as error:
            outcome.status, outcome.error = "failed", error
        except Exception:  # one item's outermost door: a bug in it must not take the others along
            logger.exception("A bug ended the work on %s", job.link.key)
            outcome.status = "failed"
            outcome.error = TikHubMCPError(
                f"A bug in tikhub-mcp ended the work on {named(job.link)}; its log has more."
            )
        finally:
            job.done = 1.0
            if outcome.post:  # a batch holds thousands, and the links to its files are most of a post
                outcome.post = replace(outcome.post, renditions=())
            del self._jobs[key]
            self._slots.release()

    async def _work(self, job: Job) -> None:
        """From the link to the file; what is known goes into `job.outcome` as soon as it is."""
        wish, outcome = job.wish, job.outcome
        await in_thread(self._check_folders, wish)
        newer_than = job.born if wish.refresh else min(time.time() - self._reuse_seconds, job.born)
        kept, post = await self._look_up(job, newer_than)
        if wish.metrics_only:
            return
        async with self._locks.everywhere("file", wish.folder, post.platform, post.video_id, wish.quality):
            file = choose(post, wish.quality)
            outcome.saved = await in_thread(self._videos.find, wish.folder, wish.quality, post, file)
            if outcome.saved is None:
                outcome.saved = await self._download(job, kept, post, file)
                await in_thread(self._videos.add, outcome.saved.path)

    async def _look_up(self, job: Job, newer_than: float) -> tuple[Kept, Post]:
        """The answer for the job's link, kept or paid for, and the post in it, which is the one that was asked for."""
        kept = await self._answer(job, newer_than)
        outcome = job.outcome
        outcome.raw_path, job.done = kept.path, 0.1
        try:
            post = read(kept.value, job.link, kept.received)
            identify(post, job.link)
            outcome.post = post
            judge(post)
        except AnswerError as error:
            if outcome.reused_answer:
                since = datetime.fromtimestamp(kept.received, UTC).strftime("%Y-%m-%d %H:%M UTC")
                error.message += f" That was the answer of {since}; it cost nothing now. Set refresh to ask again."
            raise
        return kept, post

    async def _answer(self, job: Job, newer_than: float) -> Kept:
        # The lock outlives a cancellation: who asks again meanwhile waits for what was paid for, and finds it.
        return await carried_through(self._find_or_pay(job, newer_than))

    async def _find_or_pay(self, job: Job, newer_than: float) -> Kept:
        # One at a time for one link: who comes second finds the first one's answer, and does not pay.
        async with self._locks.everywhere("answer", job.link.key):
            kept = await self._find(job.link, newer_than, job.wish.save_raw)
            job.outcome.reused_answer = kept is not None
            if kept is not None:
                return kept
            if self._refused:  # the last call was turned away: one request first, the others after it
                async with self._locks.here("refused"):
                    if self._refused:
                        return await self._pay(job)
            return await self._pay(job)

    async def _find(self, link: Link, newer_than: float, save: bool) -> Kept | None:
        async with self._locks.here("archive"):
            return await in_thread(self._archive.find, link, newer_than, save)

    async def _pay(self, job: Job) -> Kept:
        async def keep(answer: Answer) -> Kept:
            async with self._locks.here("archive"):
                kept = await in_thread(self._archive.keep, job.link, answer, job.wish.save_raw)
            job.outcome.raw_path = kept.path
            return kept

        if self._closed or not job.waiting:
            raise NobodyWaits
        probing = self._refused
        try:
            kept = await self._tikhub.look_up(job.link, job.waiting[0].key, job, keep)
        except AnswerError as error:
            if error.stop:  # here, before a lock lets the next one through: nothing more is paid for
                self._refused = True
                job.stop(error)
            raise
        if probing:  # an answer that was under way when a refusal came says nothing of what came after
            self._refused = False
        return kept

    async def _download(self, job: Job, kept: Kept, post: Post, file: Rendition) -> Saved:
        """Fetch the file; once more with fresh links, which cost a call, when old ones are to blame."""
        until, renewed = self._downloader.time_is_up(), file.expired(_platform_time(kept, post))
        if renewed:
            with suppress(ApiCallLimit, Stopped):  # then the old ones have to do
                kept, post = await self._look_up(job, kept.received)
                file = choose(post, job.wish.quality)
        try:
            return await self._fetch(job, post, file, until)
        except (MediaUnavailable, MediaInvalid):  # some CDNs answer for an expired link with a page
            old = time.time() - kept.received > LINKS_LIVE or file.expired(_platform_time(kept, post))
            if renewed or not old or time.monotonic() >= until - CLOCK_STEP:
                raise
        _, post = await self._look_up(job, kept.received)
        return await self._fetch(job, post, choose(post, job.wish.quality), until)

    async def _fetch(self, job: Job, post: Post, file: Rendition, until: float) -> Saved:
        def progress(got: int) -> None:
            job.done = 0.1 + 0.9 * min(1.0, got / file.size) if file.size else 0.1

        target = job.wish.folder / video_name(post.platform, post.author, post.video_id, job.wish.quality)
        return await self._downloader.fetch(file, post.platform, target, progress, until)

    def _check_folders(self, wish: Wish) -> None:
        """What cannot be written is to be known before anything is paid for."""
        if not wish.metrics_only:
            make_folder(wish.folder)
        if wish.save_raw:
            self._archive.check()


def _platform_time(kept: Kept, post: Post) -> float:
    """Now, by the clock that dated the answer: this machine's may be wrong, and would make links look old."""
    return post.stamp + (time.time() - kept.received)
