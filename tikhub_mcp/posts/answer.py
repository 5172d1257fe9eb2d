"""Reads TikHub's answers: parses the JSON, removes the key, and finds the post."""

import json
from codecs import utf_8_decode
from collections.abc import Callable
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, TypeAlias

from tikhub_mcp.posts.links import Platform
from tikhub_mcp.text import map_json

Json: TypeAlias = Any  # untrusted JSON; the name marks where it is used


REDACTED = "<redacted>"
MIN_UNMISTAKABLE_LENGTH = 12  # a text this long that equals the key is no coincidence; TikHub's keys are much longer
_REASONS = {  # by filter_list[].reason, Douyin's status_code or TikTok's statusCode, as text
    "5": "is private",
    "8": "is blocked for copyright reasons, or gone",
    "10": "is visible to some people only",
    "2053": "is not there any more, or private",
    "10204": "is not there any more, or private",
}
_PIECE = 2**14  # bytes; decoded, they take at most 64 kB


def parse_json(body: bytes, *, errors: str = "strict") -> Json:
    """Parse JSON in any Unicode encoding, with or without a byte order mark.

    Control characters inside strings are accepted. The last of several equal keys wins. An integer that is too long to
    convert becomes a LongInteger. NaN and Infinity become floats, which `write` rejects.

    Args:
        body: The encoded JSON.
        errors: How invalid bytes are handled: "strict", or "replace" for U+FFFD.

    Raises:
        ValueError: The body is not JSON, has invalid bytes, or is nested too deeply.
    """
    try:
        text = body.decode(json.detect_encoding(body), errors).removeprefix("\ufeff")
        try:
            return json.loads(text, strict=False)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more than 4,300 digits; parse_int makes parsing 25 % slower
            return json.loads(text, parse_int=_integer, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


class LongInteger(str):
    """The digits of an integer with more than 4,300 digits, which Python does not convert."""

    __slots__ = ()


def check_utf_8(body: bytes) -> None:
    """Check that the body is UTF-8, without keeping the decoded text.

    Decodes in pieces, because malloc requests memory for the text of a whole answer from the system each time: 140 µs
    instead of 17 for 76 kB.

    Raises:
        UnicodeDecodeError: The body is not UTF-8.
    """
    view, done = memoryview(body), 0
    while done < len(view):
        beyond = done + _PIECE
        done += utf_8_decode(view[done:beyond], "strict", beyond >= len(view))[1]


def write(value: Json) -> bytes:
    """Return the value as readable JSON: UTF-8, indented by two spaces, without escapes for non-ASCII characters.

    Raises:
        ValueError: The value contains NaN, Infinity or a lone surrogate, or is nested too deeply.
    """
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None


def redact(value: Json, secret: str) -> Json:
    """Return the value without the secret; TikHub's error bodies can echo the request's headers with the API key.

    Every object or list named `headers` is replaced, and the secret is removed from every string and key.

    Raises:
        ValueError: The value is nested too deeply.
    """
    try:
        return map_json(value, _redactor(secret), {"headers": REDACTED})
    except RecursionError:
        raise ValueError("nested too deeply") from None


def redact_text(text: str, secret: str) -> str:
    """Return the text without the secret.

    A secret shorter than MIN_UNMISTAKABLE_LENGTH may also be a word in a post. It is removed only when it is the whole
    text, or follows `Bearer `.
    """
    return _redactor(secret)(text)


def _redactor(secret: str) -> Callable[[str], str]:
    if len(secret) >= MIN_UNMISTAKABLE_LENGTH:
        return methodcaller("replace", secret, REDACTED)
    return lambda text: REDACTED if secret and text == secret else text.replace(f"Bearer {secret}", REDACTED)


def find_post(answer: Json) -> dict[str, Json] | None:
    """Return the post (aweme) in an answer's envelope, or None when there is none.

    Depending on TikHub's endpoint it is `data.aweme_detail` (Douyin), `data.aweme_details[0]` (TikTok by share link) or
    `data` itself (the hybrid endpoint).
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        return None
    details = data.get("aweme_details")
    for candidate in (data.get("aweme_detail"), details[0] if isinstance(details, list) and details else None):
        if isinstance(candidate, dict) and candidate:
            return candidate
    return data if "aweme_id" in data else None


def platform_asked(router: Json) -> Platform | None:
    """Return the platform of the endpoint that gave an answer.

    Args:
        router: The envelope's `router`, the path of the endpoint.

    Returns:
        The platform; None for an endpoint of neither.
    """
    if isinstance(router, str):
        if "/tiktok/" in router:
            return "tiktok"
        if "/douyin/" in router:
            return "douyin"
    return None


def why_missing(answer: Json) -> str | None:
    """Return why an answer has no post, such as "is private"; None when it gives no known reason."""
    envelope = answer if isinstance(answer, dict) else {}
    data = envelope.get("data")
    data = data if isinstance(data, dict) else envelope
    filters = data.get("filter_list")
    reasons = [item.get("reason") for item in filters if isinstance(item, dict)] if isinstance(filters, list) else []
    codes = (str(code) for code in (*reasons, data.get("status_code"), data.get("statusCode")))
    return next((_REASONS[code] for code in codes if code in _REASONS), None)


def _integer(digits: str) -> int | LongInteger:
    try:
        return int(digits)
    except ValueError:
        return LongInteger(digits)


@dataclass(frozen=True, slots=True)
class Answer:
    """TikHub's answer with HTTP 200, without the key.

    Attributes:
        body: JSON indented by two spaces; the bytes as received when they are not valid JSON.
        value: The parsed body.
        received: When it was received, in Unix seconds.
        request_id: TikHub's id of the request, of any JSON type.
    """

    body: bytes
    value: Json
    received: float
    request_id: Json
