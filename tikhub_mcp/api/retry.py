"""Decides how often a failed API request is sent again, and after what delay."""

import random

from tikhub_mcp.errors import AnswerError, RateLimited

# The maximum number of requests for one link, by the failure of the last one; where none is named here, it is
# `AnswerError.attempts` of the error's class.
BAD_REQUEST_ATTEMPTS = 3  # HTTP 400 often means that the platform failed; it is not charged
UNAVAILABLE_ATTEMPTS = 4  # HTTP 5xx, or no connection; not charged
LOST_ATTEMPTS = 2  # nothing of a response arrived, which may have been charged
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
