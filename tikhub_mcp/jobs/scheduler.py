"""Scheduling of jobs: one job per post, joined by every call that asks for the same post.

A job may outlive the call that started it. When the call's time limit is reached, the job keeps running, so that a
repeated call finds its result; but it makes no paid request while no call is waiting.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import in_flight, in_thread
from tikhub_mcp.errors import ApiCallLimit, RateLimited, TikHubMCPError
from tikhub_mcp.jobs.capacity import PersonalLimits
from tikhub_mcp.jobs.model import (
    MAX_TRANSFERS,
    Call,
    Job,
    JobState,
    NoCallerWaiting,
    Options,
    Outcome,
    Stopped,
    Watch,
    Work,
)
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.jobs.worker import Worker
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Link, named
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.database import INDEX_NAME
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"  # in the output folder, shared by all processes
UNSEEN_PLAN_SECONDS = 60.0  # how long a plan that outlived its call is available to the next call
CLOSING_SECONDS = 1.5  # clients kill a server that has not exited after 2 s

Plan = list[tuple[bool, bool]]  # for each link, whether its file is on disk, and whether it needs a paid call


class Jobs:
    """All jobs of the process.

    Args:
        tikhub: The client of the paid API.
        archive: The store of raw answers.
        downloader: Fetches the video files.
        locks: Prevent two jobs, in this or another process, from paying for the same post or fetching the same file.
        reuse_seconds: How long a stored answer is reused, in seconds.
        limits: Limits that are shared with the jobs of other people; by default these jobs have their own.
    """

    def __init__(
        self,
        tikhub: TikHub,
        archive: Archive,
        downloader: Downloader,
        locks: Locks,
        reuse_seconds: float,
        limits: PersonalLimits | None = None,
    ) -> None:
        self._tikhub = tikhub
        self._archive = archive
        self._locks = locks
        self._jobs: dict[tuple[str, Options], Job] = {}
        self._plans: dict[Work, asyncio.Task[Plan]] = {}
        renewals = Moments(archive.database, "renewal", reuse_seconds)
        self._unfinished = UnfinishedCalls(Moments(archive.database, "call"), Moments(archive.database, "undone"))
        transfers = limits.transfers if limits else None
        self._worker = Worker(tikhub, archive, downloader, locks, self._unfinished, renewals, reuse_seconds, transfers)
        self._max_pending = limits.max_pending if limits else None
        self._asked: Counter[tuple[str, Options]] = Counter()  # the links of calls that are not answered yet
        self._closed = False

    @classmethod
    def of(cls, settings: Settings, raw: Path | None = None, shared: PersonalLimits | None = None) -> Self:
        """Create the jobs of these settings.

        Args:
            settings: Folders, limits and the API's address.
            raw: The folder of the raw answers; by default that of the settings.
            shared: Limits that are shared with the jobs of other people.
        """
        network = Network(loopback_media=settings.on_loopback)
        # Names in the index are relative to the folder of the answers, so each such folder has an index of its own.
        index = None if raw and raw != settings.raw else settings.root / INDEX_NAME
        limits = Limits(seconds=settings.download_seconds, largest=settings.max_bytes)
        limiter, connections = (shared.limiter, shared.connections) if shared else (None, None)
        return cls(
            TikHub(settings.base_url, network, limiter=limiter, connections=connections),
            Archive(raw or settings.raw, settings.reuse_seconds, index),
            Downloader(network, limits),
            Locks(settings.root / LOCK_NAME),
            settings.reuse_seconds,
            shared,
        )

    async def get(self, call: Call, link: Link, options: Options, watch: Watch) -> Outcome:
        """Return the outcome of one link, `pending` if the call's time limit is reached first.

        Expected failures are part of the outcome; they are not raised.

        Args:
            call: The call that waits and pays.
            link: The post.
            options: What to do with the post.
            watch: Called with the job before it is waited for.
        """
        return (await self.get_all(call, [link], options, MAX_TRANSFERS, watch))[link.key]

    async def get_all(
        self, call: Call, links: Sequence[Link], options: Options, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        """Return the outcome of each distinct link by `Link.key`, with at most `workers` transfers at once.

        Raises:
            RateLimited: More links would be pending than one person may have.
        """
        with self._counted({(link.key, options) for link in links}):
            return await self._get_all(call, links, options, workers, watch)

    @contextmanager
    def _counted(self, links: set[tuple[str, Options]]) -> Iterator[None]:
        """Count the links as pending inside the context; a link that several calls wait for counts once."""
        pending = len(self._asked.keys() | self._jobs.keys() | links)
        if self._max_pending is not None and pending > self._max_pending:
            raise RateLimited(
                f"With these links, {pending:,} would be pending, and this server works on {self._max_pending:,} for "
                "one person. Nothing was paid for. Call again when earlier calls are done."
            )
        self._asked.update(links)
        try:
            yield
        finally:
            self._asked -= Counter(links)

    async def _get_all(
        self, call: Call, links: Sequence[Link], options: Options, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        call.slots = asyncio.Semaphore(workers)
        waiting = iter({link.key: link for link in links}.values())

        async def work() -> None:
            for link in waiting:  # one iterator for all workers: each link goes to one of them
                outcomes[link.key] = await self._get(call, link, options, watch)

        if not self._locks.is_open:  # the lock file is in a folder above those that are written to
            await in_thread(self._make_folders, options)
        await self._unfinished.begin(call, links, options)
        ended: dict[str, Outcome] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(links))):
                    group.create_task(work())
            ended = outcomes
        finally:
            await self._unfinished.end(call, ended)
        return outcomes

    def _make_folders(self, options: Options) -> None:
        with suppress(OSError):  # checked, and told, before anything is paid for
            if options.save_raw:
                self._archive.folder.mkdir(parents=True, exist_ok=True)
            if options.writes_files:
                options.folder.mkdir(parents=True, exist_ok=True)

    async def _get(self, call: Call, link: Link, options: Options, watch: Watch) -> Outcome:
        while True:
            job = self._jobs.get((link.key, options))
            if job is None:
                if self._closed or call.remaining() == 0:
                    return Outcome()
                job = self._start(call, link, options, self._unfinished.since(call, link, options))
            watch(job)
            outcome = await self._wait_for(call, job)
            # A call may join a job that is just being abandoned, or that was skipped because no earlier call could pay.
            start_again = job.state is JobState.ABANDONED or (
                outcome.status == "skipped" and call.refusal(link.platform) is None
            )
            if self._closed or not start_again:
                return outcome

    async def plan(self, call: Call, links: Sequence[Link], options: Options) -> Plan | None:
        """Return for each link whether its file is on disk and whether it needs a paid call; an estimate, and free.

        None if the call's time limit is reached first, because all young answers of a large folder have to be read, for
        example. The work goes on, and a repeated call joins it.
        """
        key = options, tuple(link.key for link in links)
        while not self._closed:
            plan = self._plans.get(key) or self._start_plan(key, links)
            try:
                await call.wait_for(plan)
            except asyncio.CancelledError:
                plan.cancel()
                raise
            if not plan.done():
                break
            self._forget(key, plan)
            if not plan.cancelled():  # it is where another call that was waiting for it was cancelled
                return plan.result()
        return None

    def _start_plan(self, key: Work, links: Sequence[Link]) -> asyncio.Task[Plan]:
        def ended(plan: asyncio.Task[Plan]) -> None:
            if not plan.cancelled():
                plan.exception()  # marks it as retrieved: asyncio would log it if no call is waiting
            asyncio.get_running_loop().call_later(UNSEEN_PLAN_SECONDS, self._forget, key, plan)

        plan = self._plans[key] = asyncio.create_task(self._worker.plan(links, key[0]))
        plan.add_done_callback(ended)
        return plan

    def _forget(self, key: Work, plan: asyncio.Task[Plan]) -> None:
        if self._plans.get(key) is plan:
            del self._plans[key]

    async def close(self) -> None:
        """Cancel all jobs and plans, and start no more.

        Returns when their part files are removed and the paid answers that are in flight are stored, or after
        CLOSING_SECONDS. Posts whose answers have not come by then are logged.
        """
        self._closed = True
        self._worker.close()
        tasks: set[asyncio.Task[Any]] = {*(job.task for job in self._jobs.values()), *self._plans.values()}
        for task in tasks:
            task.cancel()
        if tasks := tasks | in_flight():
            await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
        if lost := self._tikhub.unanswered:
            posts = ", ".join(sorted(map(named, lost)))
            logger.warning("Ended before TikHub's answer was stored, which may be charged, for %s", posts)
        self._locks.close()
        self._archive.database.close()

    def _start(self, call: Call, link: Link, options: Options, since: float) -> Job:
        key = (link.key, options)
        job = self._jobs[key] = Job(link, options, since)
        job.slots = call.slots
        job.task = asyncio.create_task(self._run(key, job))
        return job

    async def _wait_for(self, call: Call, job: Job) -> Outcome:
        job.waiting.append(call)
        try:
            await call.wait_for(job.task)
        except asyncio.CancelledError:
            if job.waiting == [call]:
                job.task.cancel()
            raise
        finally:
            job.waiting.remove(call)
        error = job.outcome.error
        if error is not None and error.stop:
            call.stop(error)
        return replace(job.outcome, api_calls=job.paid[call])

    async def _run(self, key: tuple[str, Options], job: Job) -> None:
        """Do the job's work and set its final state."""
        job_ended = JobState.ABANDONED
        try:
            await self._work(job)
            job_ended = JobState.ENDED
        except NoCallerWaiting:
            pass
        finally:
            job.state = job_ended
            if job.outcome.post:  # saves memory: a batch holds thousands of posts, and renditions are most of each
                job.outcome.post = job.outcome.post.without_files()
            del self._jobs[key]

    async def _work(self, job: Job) -> None:
        """Do the job's work and set the status and the error of its outcome.

        Raises:
            NoCallerWaiting: A request would have to be paid for, and no call is waiting.
        """
        outcome = job.outcome
        try:
            await self._worker.work(job)
            outcome.status = "ok"
        except Stopped:
            outcome.status = "skipped"
        except ApiCallLimit as error:
            outcome.status, outcome.error = "failed" if job.was_paid else "skipped", error
        except TikHubMCPError as error:
            outcome.status, outcome.error = "failed", error
        except NoCallerWaiting:
            raise
        except Exception:  # the outermost boundary of one job: a bug in it must not fail the other jobs
            logger.exception("A bug ended the work on %s", job.link.key)
            outcome.status = "failed"
            outcome.error = TikHubMCPError(
                f"A bug in tikhub-mcp ended the work on {named(job.link)}; its log has more."
            )
