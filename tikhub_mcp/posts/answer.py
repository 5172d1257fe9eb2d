"""A TikHub answer as it came over the wire: bytes, JSON, redaction, and where in it the post is."""

import json
from codecs import utf_8_decode
from dataclasses import dataclass
from typing import Any, TypeAlias

from tikhub_mcp.posts.links import Platform
from tikhub_mcp.text import map_json

Json: TypeAlias = Any  # whatever the wire brings; named, so that it is seen where it goes


REDACTED = "<redacted>"
MIN_UNMISTAKABLE_LENGTH = 12  # characters of a key that occurs nowhere else; TikHub's have many more
_REASONS = {  # filter_list[].reason, Douyin's status_code and TikTok's statusCode, as text
    "5": "is private",
    "8": "is blocked for copyright reasons, or gone",
    "10": "is visible to some people only",
    "2053": "is not there any more, or private",
    "10204": "is not there any more, or private",
}
_PIECE = 2**14  # bytes; a text of them is at most 64 kB


def parse_json(body: bytes, *, errors: str = "strict") -> Json:
    """Read JSON of any Unicode encoding, with or without a byte order mark.

    Control characters inside strings are let through, of two equal keys the last one wins, an integer too long
    to convert becomes a LongInteger; NaN and Infinity become floats, which no writer here lets out.

    Args:
        body: What was received, or what a file holds.
        errors: "strict", or "replace" to read on past bytes that are not in the encoding.

    Raises:
        ValueError: It is not JSON, not in its encoding, or nested too deeply.
    """
    try:
        text = body.decode(json.detect_encoding(body), errors).removeprefix("\ufeff")
        try:
            return json.loads(text, strict=False)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of more than 4,300 digits; asking for each one costs a quarter of the time
            return json.loads(text, parse_int=_integer, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


class LongInteger(str):
    """The digits of an integer that Python refuses to convert, because it has more than 4,300 of them."""

    __slots__ = ()


def check_utf_8(body: bytes) -> None:
    """Look at every byte, without keeping the text.

    In pieces, since malloc takes memory for the text of a whole answer from the system each time: of 76 kB that makes
    140 µs instead of 17.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    view, done = memoryview(body), 0
    while done < len(view):
        beyond = done + _PIECE
        done += utf_8_decode(view[done:beyond], "strict", beyond >= len(view))[1]


def write(value: Json) -> bytes:
    """The value as JSON for people: UTF-8, two blanks of indent, real characters instead of escapes.

    Raises:
        ValueError: It holds what clean JSON cannot: NaN, Infinity, lone surrogates, too deep nesting.
    """
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None


def redact(value: Json, secret: str) -> Json:
    """The value without the secret: error bodies can echo the request's headers, the API key among them.

    Every object named `headers` goes, and the secret is taken out of every string and key.

    Raises:
        ValueError: It is nested too deeply.
    """
    try:
        return map_json(value, lambda text: redact_text(text, secret), _without_headers)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def redact_text(text: str, secret: str) -> str:
    """A text without the secret. A short one may be a word of the post's: it goes only where it stands for the key."""
    if len(secret) >= MIN_UNMISTAKABLE_LENGTH:
        return text.replace(secret, REDACTED)
    return REDACTED if secret and text == secret else text.replace(f"Bearer {secret}", REDACTED)


def find_post(answer: Json) -> dict[str, Json] | None:
    """The post (aweme) in an answer's envelope, or None where there is none.

    TikHub's endpoints put it into `data.aweme_detail` (Douyin), `data.aweme_details[0]` (TikTok by share link),
    or `data` itself (the hybrid endpoint).
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
    """Whose endpoint gave an answer, by the envelope's `router`: its path; None for one of neither platform."""
    if isinstance(router, str):
        if "/tiktok/" in router:
            return "tiktok"
        if "/douyin/" in router:
            return "douyin"
    return None


def why_missing(answer: Json) -> str | None:
    """Why an answer has no post ("is private", …), as far as it says; None where it does not."""
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


def _without_headers(name: str, value: Json) -> Json:
    return REDACTED if name.lower() == "headers" and isinstance(value, dict | list) else value


@dataclass(frozen=True, slots=True)
class Answer:
    """What TikHub answered with HTTP 200, the key taken out.

    Attributes:
        body: Clean JSON with two blanks of indent, or the bytes as received where they are none.
        value: The parsed body.
        received: Unix seconds.
        request_id: TikHub's, as served.
    """

    body: bytes
    value: Json
    received: float
    request_id: Json
