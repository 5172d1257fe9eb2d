"""The limits on requests and transfers of the process, for several people whose jobs are otherwise apart."""

from typing import NamedTuple

from tikhub_mcp.api.client import MAX_CONNECTIONS
from tikhub_mcp.api.limiter import RateLimiter
from tikhub_mcp.concurrency import FairSemaphore, Share
from tikhub_mcp.jobs.model import MAX_TRANSFERS


class PersonalLimits(NamedTuple):
    """The limits as the jobs of one person have them.

    Attributes:
        limiter: Delays requests to TikHub.
        connections: Limits requests to TikHub at once.
        transfers: Limits transfers at once.
        max_pending: The maximum number of links that are asked for and not done yet.
    """

    limiter: RateLimiter
    connections: Share
    transfers: Share
    max_pending: int


class Capacity:
    """The limits of the process, given to people in turn: whoever waits for one transfer waits no longer than it takes.

    Args:
        max_pending: The maximum number of links that one person waits for.
    """

    def __init__(self, max_pending: int) -> None:
        self._limiter = RateLimiter()
        self._connections = FairSemaphore(MAX_CONNECTIONS)
        self._transfers = FairSemaphore(MAX_TRANSFERS)
        self._max_pending = max_pending

    def share(self) -> PersonalLimits:
        """Return the limits for another person."""
        connections, transfers = self._connections.share(), self._transfers.share()
        return PersonalLimits(self._limiter.share(), connections, transfers, self._max_pending)
