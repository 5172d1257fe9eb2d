"""Parses the Retry-After header of HTTP responses."""

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds to wait that a Retry-After header names, in either form of RFC 9110.

    Args:
        header: The value of the header; None when the response has none.

    Returns:
        Seconds from now; None when there is no header, or it is invalid or names a time in the past.
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        # The obsolete asctime form names no time zone; HTTP dates are always in UTC.
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None
