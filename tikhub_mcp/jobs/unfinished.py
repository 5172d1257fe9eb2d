"""Calls that are one piece of work: the same links and options, until everything in them is done.

A client cuts a call off, or its time is up, and it is sent again: what the first of them fetched is fresh for all of
them, however short the time of reuse, and also where a new answer was asked for. It holds in other processes too, and
after a restart.
"""

import math
import time
from collections.abc import Iterable, Mapping

from tikhub_mcp.jobs.model import Call, Options, Outcome
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.moments import Moment, Moments

REJOIN_SECONDS = 1800.0  # between the end of one call and the start of the same again


class UnfinishedCalls:
    """When the first of the calls that are not done yet began. `begin` and `end` block; one thread at a time.

    Args:
        moments: Where that is kept.

    Attributes:
        needed_since: Answers that came later, in unix seconds, are needed whatever their age; infinity for none.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        # Links that a call left undone: they are done in a call with other links as well, such as its `retry_urls`.
        self._left: dict[tuple[str, Options], Moment] = {}
        self.needed_since = math.inf

    def begin(self, call: Call, links: Iterable[Link], options: Options) -> None:
        """Set since when answers are fresh for a call: its own start, or that of the work which it goes on with."""
        now = time.time()
        call.work = (options, sorted({link.key for link in links}))
        earlier = self._moments.get(*call.work)
        if earlier and earlier.touched > now - REJOIN_SECONDS:
            call.since = min(call.since, earlier.at)
            self._moments.touch(*call.work)
        else:
            self._moments.put(call.since, *call.work)
        self._left = {key: left for key, left in self._left.items() if left.touched > now - REJOIN_SECONDS}
        self.needed_since = min(self._moments.oldest(now - REJOIN_SECONDS), call.since)

    def since(self, call: Call, link: Link, options: Options) -> float:
        """Since when answers are fresh for one link of a call, in unix seconds."""
        left = self._left.get((link.key, options))
        return min(call.since, left.at) if left else call.since

    def touch(self, calls: Iterable[Call]) -> None:
        """Note that these calls are still being worked on: one that is killed after an hour can be gone on with."""
        for call in calls:
            self._moments.touch(*call.work)

    def end(self, call: Call, outcomes: Mapping[str, Outcome], options: Options) -> None:
        """Forget the work if everything in it is done; else keep it for the next call.

        Args:
            call: The call that ends.
            outcomes: By the links' keys; empty for a call that was cancelled.
            options: What was wanted.
        """
        undone = [key for key, outcome in outcomes.items() if outcome.status in ("pending", "skipped")]
        for key in outcomes:
            self._left.pop((key, options), None)
        self._left |= {(key, options): Moment(call.since, time.time()) for key in undone}
        if outcomes and not undone:
            self._moments.remove(*call.work)
        else:
            self._moments.put(call.since, *call.work)
