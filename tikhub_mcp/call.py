"""One tool call: what it wants, how long it may take, what it may pay."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from tikhub_mcp.download import Saved
from tikhub_mcp.errors import ApiCallLimit, TikHubMCPError
from tikhub_mcp.links import Link
from tikhub_mcp.post import Post, Quality

Status = Literal["ok", "failed", "pending", "skipped", "planned"]


@dataclass(frozen=True, slots=True)
class Wish:
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


@dataclass(slots=True)
class Call:
    """One tool call: its key, its time, its money.

    Attributes:
        key: The API key.
        seconds: How long it may take; None for no limit.
        max_api_calls: Its cap on paid calls; 0 for none.
        stop: The first refusal that only a human can mend; nothing more is paid for after it.
    """

    key: SecretStr
    seconds: float | None = None
    max_api_calls: int = 0
    api_calls: int = 0
    stop: TikHubMCPError | None = None
    born: float = field(default_factory=time.time)
    _start: float = field(default_factory=time.monotonic)

    def left(self) -> float | None:
        """Seconds until the call has to answer."""
        return None if self.seconds is None else max(0.0, self._start + self.seconds - time.monotonic())


class Stopped(Exception):
    """The call that started the job pays for nothing more."""


class NobodyWaits(Exception):
    """Whoever asked has gone."""


@dataclass(slots=True, eq=False)
class Job:
    """The work on one post. Also the purse that the client asks before each request."""

    call: Call
    link: Link
    wish: Wish
    born: float
    waiters: int = 0
    api_calls: int = 0
    done: float = 0.0  # from 0 to 1, for progress
    outcome: Outcome = field(default_factory=lambda: Outcome("pending"))
    task: asyncio.Task[None] = field(init=False)

    def spend(self) -> None:
        """Account for one request, if its call may still pay and somebody waits."""
        if self.call.stop:
            raise Stopped
        if not self.waiters:
            raise NobodyWaits
        if 0 < self.call.max_api_calls <= self.call.api_calls:
            raise ApiCallLimit(f"max_api_calls={self.call.max_api_calls} is reached; this link was not asked for.")
        self.call.api_calls += 1
        self.api_calls += 1

    def refund(self) -> None:
        """Take the last request back: TikHub does not charge for what it answered."""
        self.call.api_calls -= 1
        self.api_calls -= 1


Watch = Callable[[Job], None]  # what is given each job that a call waits for
