"""One tool call: what it wants, how long it may take, what it may pay."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from tikhub_mcp.errors import ApiCallLimit, TikHubMCPError
from tikhub_mcp.media.download import Saved
from tikhub_mcp.posts.links import Link, named
from tikhub_mcp.posts.post import Post, Quality

Status = Literal["ok", "failed", "pending", "skipped", "planned"]


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a post, beside its answer."""

    folder: Path
    quality: Quality = "compatible"
    save_raw: bool = True
    metrics_only: bool = False
    refresh: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of one link so far."""

    status: Status
    post: Post | None = None
    saved: Saved | None = None
    raw_path: Path | None = None
    error: TikHubMCPError | None = None
    api_calls: int = 0
    reused_answer: bool = False


class Stopped(Exception):
    """A refusal that only a human can mend came before: nothing more is paid for."""


class NoCallerWaiting(Exception):
    """Whoever asked has gone."""


@dataclass(slots=True, eq=False)
class Call:
    """One tool call: its key, its time, its money.

    Attributes:
        key: The API key.
        seconds: How long it may take; None for no limit.
        max_api_calls: Its cap on paid calls; 0 for none.
        api_calls: What it paid for so far.
        stop: The first failure after which nothing more is paid for: a refusal that only a human can mend, or a disk
            that cannot keep answers.
        since: Answers that came later, in unix seconds, are fresh enough for it.
        work: What it has in common with the same call before and after it; see `unfinished`.
    """

    key: SecretStr
    seconds: float | None = None
    max_api_calls: int = 0
    api_calls: int = 0
    stop: TikHubMCPError | None = None
    since: float = field(default_factory=time.time)
    work: tuple[object, ...] = ()
    _start: float = field(default_factory=time.monotonic)

    def remaining(self) -> float | None:
        """Seconds until the call has to answer."""
        return None if self.seconds is None else max(0.0, self._start + self.seconds - time.monotonic())

    def refusal(self) -> Stopped | ApiCallLimit | None:
        """Why it pays for nothing more; None while it does."""
        if self.stop:
            return Stopped()
        return self.limit() if 0 < self.max_api_calls <= self.api_calls else None

    def limit(self) -> ApiCallLimit:
        """The error of a call whose cap is reached."""
        return ApiCallLimit(f"max_api_calls={self.max_api_calls} is reached; what is skipped was not paid for.")


class JobState(Enum):
    """Where a job is. Its outcome is `pending` in the first two, and in the last."""

    QUEUED = "waits for one of the slots"
    RUNNING = "is being worked on"
    ENDED = "came to an outcome"
    ABANDONED = "ended without one, because no call waited for it any more"


@dataclass(slots=True, eq=False)
class Job:
    """The work on one post, and the calls that wait for it. Also the budget that the client asks before each request.

    Attributes:
        state: Where it is.
        created: Answers that came later (unix seconds) are fresh enough for it.
        waiting: Who waits, the longest first; one of them pays.
        paid: How many requests each call paid for.
        done: How far it is, from 0 to 1.
    """

    link: Link
    options: Options
    created: float
    state: JobState = JobState.QUEUED
    waiting: list[Call] = field(default_factory=list)
    paid: Counter[Call] = field(default_factory=Counter)
    done: float = 0.0
    outcome: Outcome = field(default_factory=lambda: Outcome("pending"))
    task: asyncio.Task[None] = field(init=False)
    _payer: Call = field(init=False)

    def payer(self) -> Call:
        """The first waiting call that may pay.

        Raises:
            NoCallerWaiting, Stopped, ApiCallLimit: There is none; of several reasons, the first call's.
        """
        if not self.waiting:
            raise NoCallerWaiting
        refusals = [call.refusal() for call in self.waiting]
        if None not in refusals:
            refusal = next(filter(None, refusals))
            if self.was_paid and isinstance(refusal, ApiCallLimit):
                raise ApiCallLimit(
                    f"{named(self.link)} was asked for, and would take one more call than max_api_calls."
                )
            raise refusal
        return self.waiting[refusals.index(None)]

    def spend(self) -> None:
        """Account for one request with the first waiting call that may pay.

        Raises:
            NoCallerWaiting, Stopped, ApiCallLimit: As `payer`.
        """
        self._payer = self.payer()
        self._payer.api_calls += 1
        self.paid[self._payer] += 1

    @property
    def was_paid(self) -> bool:
        """Whether anything was paid for it."""
        return any(self.paid.values())

    def refund(self) -> None:
        """Take the last request back: TikHub does not charge for what it answered."""
        self._payer.api_calls -= 1
        self.paid[self._payer] -= 1

    def stop(self, refusal: TikHubMCPError) -> None:
        """Let no call that waits pay for anything more."""
        for call in self.waiting:
            call.stop = refusal


Watch = Callable[[Job], None]  # what is given each job that a call waits for
