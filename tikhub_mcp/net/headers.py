"""Headers of HTTP responses, parsed. Pure."""

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_retry_after(header: str | None) -> float | None:
    """The seconds in a Retry-After header, in both of RFC 9110's forms; None where it holds no time to come."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        # One of the old forms names no zone; HTTP's is always UTC.
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None
