"""Decides which failures are retried, and after what delay."""

import random

from tikhub_mcp.errors import AnswerError, RateLimited

MAX_WAIT_SECONDS = 20.0  # a rate limit that requires a longer wait is reported to the caller
BACKOFF_SECONDS = 0.5  # before the second request; doubled each time, with jitter


def next_wait(failure: AnswerError, attempt: int) -> float | None:
    """Return how many seconds to wait before the next request, or None to give up.

    Args:
        failure: The failure of the last request; its `attempts` is the maximum number of requests.
        attempt: The number of requests sent so far, at least 1.
    """
    if attempt >= failure.attempts:
        return None
    if isinstance(failure, RateLimited) and failure.retry_after is not None:
        return failure.retry_after if failure.retry_after <= MAX_WAIT_SECONDS else None
    # Between half and one and a half times the backoff, so that jobs that failed together do not retry together.
    return BACKOFF_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
