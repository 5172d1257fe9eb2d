"""Which failures deserve another request, and after how long. Pure."""

import random

from tikhub_mcp.errors import AnswerError, RateLimited

MAX_WAIT_SECONDS = 20.0  # seconds; a rate limit that asks for more is handed to the caller
BACKOFF_SECONDS = 0.5  # seconds before the second request; doubled each time, with jitter


def next_wait(failure: AnswerError, attempt: int) -> float | None:
    """How many seconds to wait before asking TikHub again, or None to give up.

    Args:
        failure: What the last request came to; its `attempts` says how many requests it is worth.
        attempt: How many requests were made so far, from 1.
    """
    if attempt >= failure.attempts:
        return None
    if isinstance(failure, RateLimited) and failure.retry_after is not None:
        return failure.retry_after if failure.retry_after <= MAX_WAIT_SECONDS else None
    # Full jitter in the upper half: ten jobs that failed together do not come back together.
    return BACKOFF_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
