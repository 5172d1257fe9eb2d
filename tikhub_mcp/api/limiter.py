"""A rate limiter for TikHub's limit of requests per second and key."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

CALLS_A_SECOND = 10  # TikHub's limit for one key


class RateLimiter:
    """Delays requests to stay within a rate, and stops them during a pause; all jobs share one instance.

    Args:
        calls: The maximum number of requests in a window.
        window: The length of the window in seconds. It is a little over one second, because requests that were sent
            1.00 s apart may arrive closer together.
    """

    def __init__(self, calls: int = CALLS_A_SECOND, window: float = 1.05) -> None:
        self._window = window
        self._recent: deque[float] = deque(maxlen=calls)
        self._closed_until = 0.0
        self._turn = asyncio.Lock()

    async def wait(self, spend: Callable[[], None] = lambda: None) -> None:
        """Wait until a request may be sent; waiting tasks are served first come, first served.

        Args:
            spend: Called at that moment. If it raises, the request is not sent and takes no slot. So a request that no
                caller is waiting for any more does not delay those behind it.

        Raises:
            Exception: Whatever `spend` raises.
        """
        async with self._turn:
            while (pause := self._seconds_to_wait()) > 0:  # noqa: ASYNC110 - only time ends it
                await asyncio.sleep(pause)
            spend()
            self._recent.append(time.monotonic())

    def pause(self, seconds: float) -> None:
        """Allow no requests for this many seconds; a longer pause that has begun stays in effect."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def _seconds_to_wait(self) -> float:
        full = len(self._recent) == self._recent.maxlen
        slot = self._recent[0] + self._window if full else 0.0
        return max(slot, self._closed_until) - time.monotonic()
