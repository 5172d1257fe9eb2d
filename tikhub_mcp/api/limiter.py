"""A rate limiter for TikHub's limit of requests per second and key."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, nullcontext

from tikhub_mcp.concurrency import FairSemaphore, Share

CALLS_A_SECOND = 10  # TikHub's limit for one key


class _Rate:
    """A rate, and the turns of those who keep it together."""

    def __init__(self, calls: int, window: float) -> None:
        self._window = window
        self.sent: deque[float] = deque(maxlen=calls)  # when the latest requests were sent, by time.monotonic()
        self.turns = FairSemaphore(1)

    def seconds_to_wait(self) -> float:
        """Return in how many seconds a request may be sent; none or fewer: now."""
        full = len(self.sent) == self.sent.maxlen
        return (self.sent[0] + self._window if full else 0.0) - time.monotonic()


class RateLimiter:
    """Delays requests to stay within a rate, and stops them during a pause; all jobs of a person share one instance.

    Args:
        calls: The maximum number of requests in a window.
        window: The length of the window in seconds. It is a little over one second, because requests that were sent
            1.00 s apart may arrive closer together.
        rate: The rate to be kept together with others; see `share`.
    """

    def __init__(self, calls: int = CALLS_A_SECOND, window: float = 1.05, rate: _Rate | None = None) -> None:
        self._rate = rate or _Rate(calls, window)
        self._turn: Share | nullcontext[None] = self._rate.turns.share() if rate else nullcontext()
        self._queue = asyncio.Lock()  # of the tasks of one person
        self._closed_until = 0.0

    def share(self) -> "RateLimiter":
        """Return a limiter for one of several people: all have this one's rate and take turns, each with own pauses.

        Then the people's limiters are used, and this one is not.
        """
        return RateLimiter(rate=self._rate)

    async def wait(
        self, spend: Callable[[], None] = lambda: None, connections: Share | asyncio.Semaphore | None = None
    ) -> None:
        """Wait until a request may be sent; waiting tasks are served first come, first served.

        Args:
            spend: Called at that moment. If it raises, the request is not sent and takes no slot. So a request that no
                caller is waiting for any more does not delay those behind it.
            connections: Where a slot is taken for the request, which the caller has to release. None is held during a
                pause, when other people can use it.

        Raises:
            Exception: Whatever `spend` raises.
        """
        async with self._queue:
            while True:
                while (pause := self._closed_until - time.monotonic()) > 0:  # noqa: ASYNC110 - only time ends it
                    await asyncio.sleep(pause)
                with ExitStack() as undo:
                    if connections:
                        await connections.acquire()
                        undo.callback(connections.release)
                    async with self._turn:
                        while (pause := self._rate.seconds_to_wait()) > 0:  # noqa: ASYNC110 - only time ends it
                            await asyncio.sleep(pause)
                        if self._closed_until <= time.monotonic():
                            spend()
                            self._rate.sent.append(time.monotonic())
                            undo.pop_all()
                            return

    def pause(self, seconds: float) -> None:
        """Allow no requests for this many seconds; a longer pause that has begun stays in effect."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)
