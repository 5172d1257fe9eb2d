"""Pieces of work: a call and its repetitions, with the same links and options, until everything in them is done.

A client repeats a call that was cancelled or that reached its time limit. Answers that the first of these calls
received are fresh for the later ones, however short the reuse time is and even with the option `refresh`, so that
nothing is paid for twice. This also works after a restart and in other processes.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.jobs.model import Call, Options, Outcome, Work
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.moments import Moment, Moments

REJOIN_SECONDS = 1800.0  # between the end of one call and the start of the same again


class UnfinishedCalls:
    """The start times of the pieces of work that are not done yet.

    Args:
        moments: Where the start times are stored.
        ends: Where it is stored when a call of a piece of work last ended before everything was done.
    """

    def __init__(self, moments: Moments, ends: Moments) -> None:
        self._moments = moments
        self._ends = ends
        # By link as well, because a call with other links, such as the `retry_urls` of a reply, may finish them.
        self._remaining: dict[tuple[str, Options], Moment] = {}
        self._undone: dict[Work, set[str]] = {}  # the links that each piece of work still needs
        self._turn = asyncio.Lock()

    async def begin(self, call: Call, links: Iterable[Link], options: Options) -> None:
        """Set `call.since` to the start of the piece of work that the call resumes, if there is one.

        Args:
            call: The call that begins.
            links: The posts that it asks for.
            options: What to do with them.
        """
        now = call.began = time.time()
        call.work = (options, tuple(sorted({link.key for link in links})))
        async with self._turn:
            self._remaining = {
                key: remaining for key, remaining in self._remaining.items() if remaining.touched > now - REJOIN_SECONDS
            }
            self._undone = {
                work: keys
                for work, keys in self._undone.items()
                if any((key, work[0]) in self._remaining for key in keys)
            }
            await in_thread(self._resume, call)

    def _resume(self, call: Call) -> None:
        call.recorded = self._started_before(call)
        if call.recorded:
            self._moments.touch(*call.work)

    def since(self, call: Call, link: Link, options: Options) -> float:
        """The unix time after which answers are fresh for one link of a call."""
        remaining = self._remaining.get((link.key, options))
        return min(call.since, remaining.at) if remaining else call.since

    def record(self, calls: Iterable[Call]) -> None:
        """Record that these calls are active, so that they can be resumed even if the process is killed.

        To be called before an answer is paid for, and when it has come: a call that pays for nothing records nothing.
        """
        for call in calls:
            if self._started_before(call):
                self._moments.touch(*call.work)
            else:
                self._moments.put(call.since, *call.work)
            call.recorded = True

    def _started_before(self, call: Call) -> bool:
        """Whether the piece of work of a call is recorded; sets `call.since` to its start."""
        earlier = self._moments.get(*call.work)
        if earlier is None or earlier.touched <= time.time() - REJOIN_SECONDS:
            return False
        call.since = min(call.since, earlier.at)
        return earlier.at <= call.since

    async def end(self, call: Call, outcomes: Mapping[str, Outcome]) -> None:
        """Forget the piece of work if everything in it is done; otherwise store it for the next call.

        Args:
            call: The call that ends.
            outcomes: Outcomes by `Link.key`; empty for a call that was cancelled.
        """
        options, keys = call.work
        done = {key for key, outcome in outcomes.items() if outcome.status not in ("pending", "skipped")}
        undone = set(keys) - done
        async with self._turn:
            for key in done:
                self._remaining.pop((key, options), None)
            self._remaining |= {(key, options): Moment(call.since, time.time()) for key in undone}
            finished = self._finish_in_others(call.work, done)
            if undone:
                self._undone[call.work] = undone
            elif call.recorded:
                finished.append(call.work)
            if undone or finished:  # most calls are answered from disk and record nothing
                await in_thread(self._write_end, call, finished, bool(undone))

    def _finish_in_others(self, work: Work, done: set[str]) -> list[Work]:
        """Note in other pieces of work with the same options that links are done; return those that are finished."""
        others = [other for other in self._undone if other != work and other[0] == work[0]]
        for other in others:
            self._undone[other] -= done
        return [other for other in others if not self._undone[other]]

    def _write_end(self, call: Call, finished: Iterable[Work], is_undone: bool) -> None:
        if is_undone:
            self._moments.put(call.since, *call.work)
            self._ends.put(time.time(), *call.work)
        for work in finished:
            # The same call may have ended undone meanwhile, here or in another process: then it will be repeated.
            other = self._ends.get(*work) if work == call.work else None
            if other is None or other.at <= call.began:
                self._undone.pop(work, None)
                self._moments.remove(*work)
                self._ends.remove(*work)
