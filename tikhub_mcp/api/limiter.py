"""How many requests may go out in a second: TikHub's limit for one key."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

CALLS_A_SECOND = 10  # TikHub's limit for one key


class RateLimiter:
    """Lets requests out: so many a second, and none while TikHub asked for a pause. One for all jobs."""

    def __init__(self, calls: int = CALLS_A_SECOND, window: float = 1.05) -> None:
        # A little over a second: requests that left 1.00 s apart may arrive closer.
        self._window = window
        self._recent: deque[float] = deque(maxlen=calls)
        self._closed_until = 0.0
        self._turn = asyncio.Lock()

    async def wait(self, spend: Callable[[], None] = lambda: None) -> None:
        """Return when a request may go out, in the order of asking.

        Args:
            spend: Called at that moment. Where it raises, no request goes out, and none is counted: otherwise requests
                that no caller is waiting for any more would use up the turns of those that follow.
        """
        async with self._turn:
            while (pause := self._seconds_to_wait()) > 0:  # noqa: ASYNC110 - only time ends it
                await asyncio.sleep(pause)
            spend()
            self._recent.append(time.monotonic())

    def pause(self, seconds: float) -> None:
        """Let nothing out for this long."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def _seconds_to_wait(self) -> float:
        full = len(self._recent) == self._recent.maxlen
        slot = self._recent[0] + self._window if full else 0.0
        return max(slot, self._closed_until) - time.monotonic()
