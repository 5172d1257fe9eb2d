"""The data of jobs: a `Call` is one tool call with its budget, a `Job` is the work on one post.

A job is RUNNING from when the first call asks for its post. It becomes ENDED when its outcome is final: `ok`, `failed`
or `skipped`. It becomes ABANDONED instead, and its outcome stays `pending`, when it is cancelled, or when no call is
waiting for it at the moment it has to pay for a request. Calls join a job that is RUNNING, and a call may return before
the job ends.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from tikhub_mcp.errors import ApiCallLimit, TikHubMCPError
from tikhub_mcp.media.extras import SavedExtra, SpokenText
from tikhub_mcp.media.photos.save import SavedPhotos
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.extras import Extra
from tikhub_mcp.posts.links import Link, Platform, named
from tikhub_mcp.posts.post import Post
from tikhub_mcp.posts.renditions import Quality

MAX_TRANSFERS = 10  # transfers at once in this process; of look-ups, see MAX_CONNECTIONS of api.client
Status = Literal["ok", "failed", "pending", "skipped", "planned"]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a request for one post.

    Attributes:
        folder: Where the video file goes.
        quality: Which rendition is chosen.
        save_raw: Whether the raw API answer is saved as a JSON file.
        metrics_only: Whether to skip the video file.
        refresh: Whether to pay for a new answer even if a recent one is stored.
        include: What else is saved: beside a video, or the music in the folder of a photo post.
        photos: Where the folder of a photo post goes; by default `folder`.
    """

    folder: Path
    quality: Quality = "compatible"
    save_raw: bool = True
    metrics_only: bool = False
    refresh: bool = False
    include: tuple[Extra, ...] = ()
    photos: Path | None = None

    @property
    def photo_folder(self) -> Path:
        """Where the folder of a photo post goes."""
        return self.photos or self.folder

    @property
    def writes_files(self) -> bool:
        """Whether anything but the answer is saved: of `include`, captions alone are with `metrics_only`."""
        return not self.metrics_only or "captions" in self.include


@dataclass(slots=True)
class Outcome:
    """The result of one link, filled in while its job runs.

    Attributes:
        status: `pending` until the job ends.
        post: The post, once its answer is parsed.
        saved: The video file, once it is on disk.
        raw_path: The raw API answer on disk, if it is saved.
        error: Why the link failed or was skipped.
        api_calls: Paid API requests.
        reused_answer: Whether the answer was already stored, and so cost nothing.
        photos: The folder of a photo post, once it is on disk, complete or not.
        extras: The files of `Options.include` beside a video.
        spoken: What the captions say.
        warnings: What a caller should know about the extras.
    """

    status: Status = "pending"
    post: Post | None = None
    saved: Saved | None = None
    raw_path: Path | None = None
    error: TikHubMCPError | None = None
    api_calls: int = 0
    reused_answer: bool = False
    photos: SavedPhotos | None = None
    extras: tuple[SavedExtra, ...] = ()
    spoken: SpokenText | None = None
    warnings: tuple[str, ...] = ()


Work = tuple[Options, tuple[str, ...]]  # what repeated calls have in common: the options, and the keys of the links


class Stopped(Exception):
    """The call has already failed in a way that only a human can fix, so nothing more is paid for."""


class NoCallerWaiting(Exception):
    """No call is waiting for the job any more, so nothing more is paid for."""


@dataclass(slots=True, eq=False)
class Call:
    """One tool call: its API key, time limit and budget.

    Attributes:
        key: The API key.
        seconds: The time limit, in seconds from the start or the last `renew`; None for no limit.
        max_api_calls: The maximum number of paid API calls; 0 for no maximum.
        api_calls: Paid API calls so far.
        stops: The errors after which nothing more is paid for, the first one first: failures that only a human can
            fix, or a disk that answers cannot be stored on. By the platform that they concern; None for all.
        since: Answers received after this unix time are fresh enough for this call.
        began: When the call began, in unix seconds; `since` may be earlier.
        work: The key of its piece of work, which repeated calls share; see `unfinished`.
        recorded: Whether the start of the piece of work is stored.
        slots: Limits the transfers at once for this call, as its argument `max_workers` says.
    """

    key: SecretStr
    seconds: float | None = None
    max_api_calls: int = 0
    api_calls: int = 0
    stops: dict[str | None, TikHubMCPError] = field(default_factory=dict)
    since: float = field(default_factory=time.time)
    began: float = 0.0
    work: Work = field(init=False)
    recorded: bool = False
    slots: asyncio.Semaphore = field(init=False)
    _start: float = field(default_factory=time.monotonic)

    def remaining(self) -> float | None:
        """Seconds until the time limit; None for no limit."""
        return None if self.seconds is None else max(0.0, self._start + self.seconds - time.monotonic())

    def renew(self, seconds: float) -> None:
        """Set the time limit to this many seconds from now."""
        self.seconds, self._start = seconds, time.monotonic()

    async def wait_for(self, task: asyncio.Task[Any]) -> None:
        """Wait until a task is done or the time limit, which may be renewed meanwhile, is reached."""
        while not task.done() and self.remaining() != 0:
            await asyncio.wait([task], timeout=self.remaining())

    def stop(self, error: TikHubMCPError) -> None:
        """Pay for nothing more, or only for posts of the platform that the error does not concern."""
        self.stops.setdefault(error.platform, error)

    def refusal(self, platform: Platform) -> Stopped | ApiCallLimit | None:
        """The reason why the call pays for no more posts of this platform; None while it may pay."""
        if self.stops.keys() & {None, platform}:
            return Stopped()
        return self.limit() if 0 < self.max_api_calls <= self.api_calls else None

    def limit(self) -> ApiCallLimit:
        """The error of a call that has reached `max_api_calls`."""
        return ApiCallLimit(f"max_api_calls={self.max_api_calls} is reached; what is skipped was not paid for.")


class JobState(Enum):
    """The state of a job; the module's docstring describes the lifecycle."""

    RUNNING = "works, or waits for its turn"
    ENDED = "has a final outcome"
    ABANDONED = "was given up without a final outcome"


@dataclass(slots=True, eq=False)
class Job:
    """The work on one post, and the calls that are waiting for it.

    It is also the budget that `api.client` asks before each paid request: one of the waiting calls pays.

    Attributes:
        link: The post.
        options: What to do with the post.
        created: Answers received after this unix time are fresh enough for this job.
        state: Its place in the lifecycle.
        waiting: The calls that are waiting for it, the earliest first.
        paid: The number of requests that each call paid for.
        received: Bytes of the file so far; of a photo post, files.
        expected: Bytes of the file, or files; None while they are not known.
        transfer_seconds: Time spent on transfers, without the wait for a slot.
        slots: Limits the transfers at once: those of the call that started it.
        outcome: The result so far.
        task: The task that runs it.
    """

    link: Link
    options: Options
    created: float
    state: JobState = JobState.RUNNING
    waiting: list[Call] = field(default_factory=list)
    paid: Counter[Call] = field(default_factory=Counter)
    received: int = 0
    expected: int | None = None
    transfer_seconds: float = 0.0
    slots: asyncio.Semaphore = field(init=False)
    outcome: Outcome = field(default_factory=Outcome)
    task: asyncio.Task[None] = field(init=False)
    _payer: Call = field(init=False)

    @property
    def done(self) -> float:
        """Progress, from 0 to 1: a tenth is for the answer."""
        if self.state is not JobState.RUNNING:
            return 1.0
        answered = 0.1 if self.outcome.raw_path or self.outcome.post else 0.0
        return answered + 0.9 * min(1.0, self.received / self.expected) if self.expected else answered

    def payer(self) -> Call:
        """The first waiting call that may pay.

        Raises:
            NoCallerWaiting: No call is waiting.
            Stopped, ApiCallLimit: No waiting call may pay; the reason is that of the first one.
        """
        if not self.waiting:
            raise NoCallerWaiting
        refusals = [call.refusal(self.link.platform) for call in self.waiting]
        if None not in refusals:
            refusal = next(filter(None, refusals))
            if self.was_paid and isinstance(refusal, ApiCallLimit):
                raise ApiCallLimit(
                    f"{named(self.link)} was asked for, and would take one more call than max_api_calls."
                )
            raise refusal
        return self.waiting[refusals.index(None)]

    def spend(self) -> None:
        """Charge one request to the first waiting call that may pay.

        Raises:
            NoCallerWaiting, Stopped, ApiCallLimit: See `payer`.
        """
        self._payer = self.payer()
        self._payer.api_calls += 1
        self.paid[self._payer] += 1

    @property
    def was_paid(self) -> bool:
        """Whether any call paid for a request of this job."""
        return any(self.paid.values())

    def refund(self) -> None:
        """Undo the last charge, because TikHub does not bill the response that it gave."""
        self._payer.api_calls -= 1
        self.paid[self._payer] -= 1

    def stop(self, error: TikHubMCPError) -> None:
        """Stop all waiting calls from paying for more, as `Call.stop` does."""
        for call in self.waiting:
            call.stop(error)


Watch = Callable[[Job], None]  # called with each job that a call waits for, so that progress can be shown
