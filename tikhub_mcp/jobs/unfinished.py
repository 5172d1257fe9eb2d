"""Pieces of work: a call and its repetitions, with the same links and options, until everything in them is done.

A client repeats a call that was cancelled or that reached its time limit. Answers that the first of these calls
received are fresh for the later ones, however short the reuse time is and even with the option `refresh`, so that
nothing is paid for twice. This also works after a restart and in other processes.
"""

import math
import time
from collections.abc import Iterable, Mapping

from tikhub_mcp.jobs.model import Call, Options, Outcome, Work
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.moments import Moment, Moments

REJOIN_SECONDS = 1800.0  # between the end of one call and the start of the same again


class UnfinishedCalls:
    """The start times of the pieces of work that are not done yet.

    `begin` and `end` block, and must not run in two threads at once.

    Args:
        moments: Where the start times are stored.
        ends: Where it is stored when a call of a piece of work last ended before everything was done.

    Attributes:
        needed_since: Answers received after this unix time are still needed, whatever their age; infinity for none.
    """

    def __init__(self, moments: Moments, ends: Moments) -> None:
        self._moments = moments
        self._ends = ends
        # By link as well, because a call with other links, such as the `retry_urls` of a reply, may finish them.
        self._remaining: dict[tuple[str, Options], Moment] = {}
        self._undone: dict[Work, set[str]] = {}  # the links that each piece of work still needs
        self.needed_since = math.inf

    def begin(self, call: Call, links: Iterable[Link], options: Options) -> None:
        """Set `call.since` to the start of the piece of work that the call resumes, if there is one.

        Args:
            call: The call that begins.
            links: The posts that it asks for.
            options: What to do with them.
        """
        now = call.began = time.time()
        call.work = (options, tuple(sorted({link.key for link in links})))
        earlier = self._moments.get(*call.work)
        if earlier and earlier.touched > now - REJOIN_SECONDS:
            call.since = min(call.since, earlier.at)
            self._moments.touch(*call.work)
        else:
            self._moments.put(call.since, *call.work)
        self._remaining = {
            key: remaining for key, remaining in self._remaining.items() if remaining.touched > now - REJOIN_SECONDS
        }
        self._undone = {
            work: keys for work, keys in self._undone.items() if any((key, work[0]) in self._remaining for key in keys)
        }
        self.needed_since = min(self._moments.oldest(now - REJOIN_SECONDS), call.since)

    def since(self, call: Call, link: Link, options: Options) -> float:
        """The unix time after which answers are fresh for one link of a call."""
        remaining = self._remaining.get((link.key, options))
        return min(call.since, remaining.at) if remaining else call.since

    def touch(self, calls: Iterable[Call]) -> None:
        """Record that these calls are still active, so that a call that is killed after an hour can be resumed."""
        for call in calls:
            self._moments.touch(*call.work)

    def end(self, call: Call, outcomes: Mapping[str, Outcome]) -> None:
        """Forget the piece of work if everything in it is done; otherwise store it for the next call.

        Args:
            call: The call that ends.
            outcomes: Outcomes by `Link.key`; empty for a call that was cancelled.
        """
        options, keys = call.work
        done = {key for key, outcome in outcomes.items() if outcome.status not in ("pending", "skipped")}
        undone = set(keys) - done
        for key in done:
            self._remaining.pop((key, options), None)
        self._remaining |= {(key, options): Moment(call.since, time.time()) for key in undone}
        self._finish_in_others(call.work, done)
        if undone:
            self._undone[call.work] = undone
            self._moments.put(call.since, *call.work)
            self._ends.put(time.time(), *call.work)
        elif not self._ended_undone_since(call):
            self._forget(call.work)

    def _ended_undone_since(self, call: Call) -> bool:
        """Whether the same call, here or in another process, ended undone meanwhile: it will be repeated."""
        other = self._ends.get(*call.work)
        return other is not None and other.at > call.began

    def _finish_in_others(self, work: Work, done: set[str]) -> None:
        """Note in the other pieces of work with the same options that these links are done."""
        for other in [other for other in self._undone if other != work and other[0] == work[0]]:
            self._undone[other] -= done
            if not self._undone[other]:
                self._forget(other)

    def _forget(self, work: Work) -> None:
        self._undone.pop(work, None)
        self._moments.remove(*work)
        self._ends.remove(*work)
