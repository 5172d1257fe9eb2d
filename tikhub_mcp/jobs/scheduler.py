"""Many links at once: one job a post, joined by everyone who asks for it; ten at a time; in time, and within budget.

A tool call (`Call`) waits for jobs; a job may outlive the call that started it. What has been paid for goes on when
the call's time is up, so that asking again finds it; nothing is paid for while nobody waits.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import in_flight, in_thread
from tikhub_mcp.errors import ApiCallLimit, TikHubMCPError
from tikhub_mcp.jobs.model import Call, Job, JobState, NoCallerWaiting, Options, Outcome, Stopped, Watch
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.jobs.worker import Worker
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Link, named
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

logger = logging.getLogger(__name__)

LOCK_NAME, JOURNAL_NAME, STATE_NAME = ".lock", ".journal", ".state"  # in the output folder, for all its processes
MAX_JOBS = 10  # jobs in the whole process
CLOSING_SECONDS = 1.5  # hosts kill what is not gone after 2


class Jobs:
    """All work of the process.

    Args:
        tikhub: Who is asked, and paid.
        archive: Where answers are kept and found.
        downloader: Who fetches files.
        locks: What keeps two jobs, here or in another process, from paying for one post or fetching one file.
        state: A folder for what all processes remember together; made in one that may be missing.
        reuse_seconds: How long an answer is used again.
    """

    def __init__(
        self,
        tikhub: TikHub,
        archive: Archive,
        downloader: Downloader,
        locks: Locks,
        state: Path,
        reuse_seconds: float,
    ) -> None:
        self._archive = archive
        self._locks = locks
        self._slots = asyncio.Semaphore(MAX_JOBS)
        self._jobs: dict[tuple[str, Options], Job] = {}
        self._unfinished = UnfinishedCalls(Moments(state, "call"))
        renewals = Moments(state, "renewal")
        self._worker = Worker(tikhub, archive, downloader, locks, self._unfinished, renewals, reuse_seconds)
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
            settings.root / STATE_NAME,
            settings.reuse_seconds,
        )

    async def get(self, call: Call, link: Link, options: Options, watch: Watch) -> Outcome:
        """One link's outcome, as far as the call's time goes; foreseen failures are in it, not raised.

        Args:
            call: Whose time and money it is.
            link: What is asked for.
            options: What is wanted of it.
            watch: Given the job once it runs, to follow its progress.
        """
        return (await self.get_all(call, [link], options, 1, watch))[link.key]

    async def get_all(
        self, call: Call, links: Sequence[Link], options: Options, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        """The outcome of each distinct link by its `key`, at most `workers` at once."""
        outcomes: dict[str, Outcome] = {}
        waiting = iter({link.key: link for link in links}.values())

        async def work() -> None:
            for link in waiting:  # one iterator for all workers: each link goes to one of them
                outcomes[link.key] = await self._get(call, link, options, watch)

        async with self._locks.here("unfinished"):
            await in_thread(self._unfinished.begin, call, links, options)
            self._archive.needed_since = self._unfinished.needed_since
        ended: dict[str, Outcome] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(workers, len(links))):
                    group.create_task(work())
            ended = outcomes
        finally:
            async with self._locks.here("unfinished"):
                await in_thread(self._unfinished.end, call, ended, options)
        return outcomes

    async def _get(self, call: Call, link: Link, options: Options, watch: Watch) -> Outcome:
        while True:
            job = self._jobs.get((link.key, options))
            if job is None:
                if self._closed or call.remaining() == 0:
                    return Outcome("pending")
                job = self._start(call, link, options)
            watch(job)
            outcome = await self._wait_for(call, job)
            # It was joined in its last moment, or no call that waited for it before this one could pay.
            start_again = job.state is JobState.ABANDONED or (outcome.status == "skipped" and call.refusal() is None)
            if self._closed or not start_again:
                return outcome

    async def plan(self, links: Sequence[Link], options: Options) -> list[tuple[bool, bool]]:
        """Of each link, whether its file is on disk, and whether it needs a paid call, as far as that can be told."""
        return await self._worker.plan(links, options)

    async def close(self) -> None:
        """Cancel all jobs and start no more.

        Returns when their part files are gone and the answers under way, which are paid for, are kept, or after
        CLOSING_SECONDS.
        """
        self._closed = True
        self._worker.close()
        tasks: set[asyncio.Task[Any]] = {job.task for job in self._jobs.values()}
        for task in tasks:
            task.cancel()
        if tasks := tasks | in_flight():
            await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
        self._locks.close()

    def _start(self, call: Call, link: Link, options: Options) -> Job:
        key = (link.key, options)
        job = self._jobs[key] = Job(link, options, self._unfinished.since(call, link, options))
        job.task = asyncio.create_task(self._run(key, job))
        return job

    async def _wait_for(self, call: Call, job: Job) -> Outcome:
        job.waiting.append(call)
        try:
            await asyncio.wait([job.task], timeout=call.remaining())
        except asyncio.CancelledError:
            if job.waiting == [call]:
                job.task.cancel()
            raise
        finally:
            job.waiting.remove(call)
        error = job.outcome.error
        if error is not None and error.stop:
            call.stop = error
        return replace(job.outcome, api_calls=job.paid[call])

    async def _run(self, key: tuple[str, Options], job: Job) -> None:
        """Take a job from one of the slots to its end, which stands in its state and its outcome."""
        job_ended = JobState.ABANDONED
        try:
            async with self._slots:
                if not job.waiting:
                    return
                job.state = JobState.RUNNING
                await self._work(job)
                job_ended = JobState.ENDED
        except NoCallerWaiting:
            pass
        finally:
            job.state, job.done = job_ended, 1.0
            if job.outcome.post:  # a batch holds thousands, and the links to its files are most of a post
                job.outcome.post = replace(job.outcome.post, renditions=())
            del self._jobs[key]

    async def _work(self, job: Job) -> None:
        """Work on a job; its outcome has the failure, if there is one.

        Raises:
            NoCallerWaiting: Nothing more is paid for, because no call waits.
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
        except Exception:  # one item's outermost door: a bug in it must not take the others along
            logger.exception("A bug ended the work on %s", job.link.key)
            outcome.status = "failed"
            outcome.error = TikHubMCPError(
                f"A bug in tikhub-mcp ended the work on {named(job.link)}; its log has more."
            )
