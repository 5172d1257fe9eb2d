"""Reads TikHub's answers: parses the JSON, removes the key, and finds the post."""

import itertools
import json
import re
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
# Why a post is missing, by a part of the texts that say it, the most telling first. Douyin gives such texts in
# filter_list[] and filter_detail, TikTok in statusMsg, also two of them in one, as in
# "item_privacy_authorization&status_deleted" (seen in answers of 2024 to 2026).
_REASONS_BY_TEXT = {
    "status_delete": "was deleted",
    "status_self_see": "is private",
    "status_audit_not_pass": "was refused by the platform's review",
    "status_audit": "is under review by the platform",
    "status_reviewing": "is under review by the platform",
    "story_": "was a daily story, and has ended",
    "copyright": "is blocked for copyright reasons in the region that TikHub asks from",
    "cross_border_violation": "is not shown in the region that TikHub asks from",
    "geo_fencing": "is not shown in the region that TikHub asks from",
    "content_classification": "is restricted by its content rating, for example to adults",
    "core_dep": "was removed, or may not be seen",
    "item_privacy_authorization": "is private, or visible to some people only",
    "doesn't exist": "does not exist, or not any more",
    "私密": "is private",
    "私人": "is private",
    "部分": "is visible to some people only",
    "版权": "is blocked for copyright reasons",
    "审核": "is under review by the platform",
    "删除": "was removed, or may not be seen",
}
_REASONS_BY_CODE = {  # filter_list[].reason, Douyin's status_code or TikTok's statusCode, as text
    "5": "is private",
    "8": "is blocked for copyright reasons, or gone",
    "10": "is visible to some people only",
    "2053": "is not there any more, or private",
    "10204": "is not there any more, or private",
    "10216": "is private, or shown only to people who are logged in",
    "10217": "was removed",
    "10222": "is private, or shown only to people who are logged in",
}
UNKNOWN_REASON = "is not available (private, deleted or blocked; TikHub does not say which)"
_PLAIN_CODE = re.compile(r"[a-z][a-z0-9_&,]{1,59}|[0-9]{1,9}")  # a code that may be repeated: no sentence, no markup
# What stands beside a post, or in the place of a missing one, and is none itself.
_BESIDE_POST = {"aweme_status", "cursor", "extra", "filter_detail", "filter_list", "has_more", "log_pb", "max_cursor"}
_BESIDE_POST |= {"min_cursor", "now", "status_code", "status_msg", "statusCode", "statusMsg"}
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


def find_posts(answer: Json) -> list[Json]:
    """Return what an answer's envelope has in the place of its posts; empty when there is no post.

    Depending on TikHub's endpoint it is `data.aweme_detail` (Douyin), `data.aweme_details` (TikTok by share link, or
    several posts) or `data` itself (the hybrid endpoint). Of several, some may be no posts.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        return []
    detail, details = data.get("aweme_detail"), data.get("aweme_details")
    if _is_post(detail):
        return [detail]
    if isinstance(details, list) and any(map(_is_post, details)):
        return details
    return [data] if "aweme_id" in data else []


def find_post(answer: Json) -> dict[str, Json] | None:
    """Return the post (aweme) in an answer's envelope, the first of several, or None when there is none."""
    return next(filter(_is_post, find_posts(answer)), None)


def _is_post(value: Json) -> bool:
    return isinstance(value, dict) and bool(value)


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
    """Return why an answer has no post, such as "is private"; None when it does not say.

    A reason that is not known is named by its code, if that is a plain word or number.
    """
    data = _data(answer)
    listed = data.get("filter_list")
    filtered = [*(listed if isinstance(listed, list) else []), data.get("filter_detail")]
    texts, codes = list[Json](), list[Json]()
    for code, text in (("status_code", "status_msg"), ("statusCode", "statusMsg")):
        if data.get(code) not in (0, "0"):
            texts.append(data.get(text))
            codes.append(data.get(code))
    return _reason([item for item in filtered if isinstance(item, dict)], texts, codes)


def why_filtered(item: Json) -> str | None:
    """Return why the post of an item of `filter_list` is missing; see `why_missing`."""
    return _reason([item], [], [])


def _reason(filtered: list[dict[str, Json]], texts: list[Json], codes: list[Json]) -> str | None:
    texts = [item.get(name) for name in ("filter_reason", "detail_msg", "notice") for item in filtered] + texts
    texts = [text for text in texts if isinstance(text, str)]
    codes = [str(code) for code in (*(item.get("reason") for item in filtered), *codes)]
    said = "\n".join(texts)
    known = (reason for part, reason in _REASONS_BY_TEXT.items() if part in said)
    by_code = (_REASONS_BY_CODE[code] for code in codes if code in _REASONS_BY_CODE)
    plain = (code for code in (*texts, *codes) if _PLAIN_CODE.fullmatch(code))
    unknown = (f"is not available; TikHub gives the reason code {code}" for code in plain)
    return next(itertools.chain(known, by_code, unknown), None)


def is_other_form(answer: Json) -> bool:
    """Whether an answer without a post holds something else, such as a list of posts or the results of a search."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        return bool(data)
    others = [value for name, value in data.items() if name not in _BESIDE_POST]
    others = [value for value in others if (any(value) if isinstance(value, list) else value)]
    return any(isinstance(value, list) for value in others) or (bool(others) and why_missing(answer) is None)


def _data(answer: Json) -> dict[str, Json]:
    """Return the platform's answer, which may stand in TikHub's envelope or alone."""
    envelope = answer if isinstance(answer, dict) else {}
    data = envelope.get("data")
    return data if isinstance(data, dict) else envelope


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
