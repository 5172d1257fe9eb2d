"""Reads TikHub's answers: parses the JSON, removes the key, and finds the post."""

import json
import re
from codecs import utf_8_decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from html.entities import html5
from typing import Any, Literal, TypeAlias

from tikhub_mcp.posts.links import Platform
from tikhub_mcp.text import MIN_SECRET_LENGTH, map_json

Json: TypeAlias = Any  # untrusted JSON; the name marks where it is used

REDACTED = "<redacted>"
MAX_VALUES = 50_000  # of an answer about one post; real ones have up to 1,600 (seen in answers of 2024 to 2026)
# Why a post is missing, the most telling first: by a part of the texts that say it, or by a code. Douyin gives such
# texts in filter_list[] and filter_detail, TikTok in statusMsg, also two of them in one, as in
# "item_privacy_authorization&status_deleted" (seen in answers of 2024 to 2026).
_REASONS: dict[str | int, str] = {
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
    "私密": "is private",
    "私人": "is private",
    "部分": "is visible to some people only",
    "版权": "is blocked for copyright reasons",
    "审核": "is under review by the platform",
    5: "is private",
    10: "is visible to some people only",
    10217: "was removed",
    8: "is blocked for copyright reasons, or gone",
    "item_privacy_authorization": "is private, or visible to some people only",
    10216: "is private, or shown only to people who are logged in",
    10222: "is private, or shown only to people who are logged in",
    "core_dep": "was removed, or may not be seen",
    "删除": "was removed, or may not be seen",
    "doesn't exist": "does not exist, or not any more",
    2053: "is not there any more, or private",
    10204: "is not there any more, or private",
}
_STATUS_DIGITS = 4  # at least; a shorter status_code has not the meaning that it has as filter_list[].reason
_UNKNOWN_REASON = "is not available (private, deleted or blocked; TikHub does not say which)"
_NEW_REASON = "is not available, for a reason that is not known here: see the raw answer"
_REASON_CODE = re.compile(r"[a-z][a-z0-9_&,]{1,59}|[1-9][0-9]{0,8}")  # a word or a number, and no sentence
_PLACES = ("aweme_detail", "aweme_details")  # of the post in an answer about one post or several
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


def parse_answer(body: bytes, *, errors: str = "strict") -> Json:
    """Parse an answer about one post as `parse_json` does, with a limit for its memory and time.

    Raises:
        ValueError: As `parse_json`, or there are more than about MAX_VALUES objects, lists and other values.
    """
    if sum(map(body.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise ValueError(f"the JSON has more than {MAX_VALUES:,} values")
    return parse_json(body, errors=errors)


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

    What is shorter than MIN_SECRET_LENGTH is no usable key, and may also be a word. It is removed only when it is the
    whole text, or follows `Bearer `.
    """
    return _redactor(secret)(text)


def _redactor(secret: str) -> Callable[[str], str]:
    if len(secret) >= MIN_SECRET_LENGTH:
        return partial(_spelled(secret).sub, REDACTED)
    return lambda text: REDACTED if secret and text == secret else text.replace(f"Bearer {secret}", REDACTED)


@lru_cache(maxsize=4)
def _spelled(secret: str) -> re.Pattern[str]:
    """Return a pattern of the secret as a page may repeat it: its signs escaped, and with signs in it that do not show.

    Between two of its characters may stand whatever is no ASCII letter, digit or sign of its own: blanks, line ends,
    invisible characters, their escapes and tags. The quantifiers are possessive, so that no page takes long.
    """
    hidden = r"&\#?[0-9A-Za-z]{1,32};|<[^<>]{0,80}>|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[nrtfvb]"
    gap = f"(?:{hidden}|[^0-9A-Za-z{re.escape(secret)}])"
    first, *rest = map(_escaped, secret)
    # A gap ends where the secret may begin again: otherwise the work would grow with the square of the length.
    return re.compile(first + "".join(f"(?:(?!{char}|{first}){gap})*+{char}" for char in rest))


def _escaped(char: str) -> str:
    """Return a pattern of a character, and of its escapes in links, HTML and JSON if it is neither letter nor digit.

    Escapes that are escaped again count as well. With escapes of letters the search would take a hundred times as long.
    """
    plain, code = re.escape(char), f"{ord(char):x}"
    if char.isalnum():
        return plain
    names = "".join(f"|&{name}" for name, meaning in html5.items() if meaning == char and name.endswith(";"))
    numbers = f"%(?:25){{0,3}}{code}|&#(?:0{{0,8}}{ord(char)}|x0{{0,8}}{code});"
    return rf"(?:{plain}|\\{plain}{names}|(?i:{numbers}|(?:%|\\{{1,8}})[ux]\{{?0{{0,8}}{code}\}}?))"


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


def find_post(answer: Json, post_id: str | None = None) -> dict[str, Json] | None:
    """Return the post (aweme) in an answer's envelope, or None when there is none.

    Args:
        answer: The parsed body.
        post_id: The id of the post that is wanted of several; the first one if it is not among them.
    """
    posts = list(filter(_is_post, find_posts(answer)))
    wanted = (post for post in posts if str(post.get("aweme_id")) == post_id)
    return next(wanted, posts[0] if posts else None)


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


@dataclass(frozen=True, slots=True)
class NoPost:
    """Why an answer has no post.

    Attributes:
        kind: "missing": the post is not available. "failed": the answer says that the request failed. "other": the
            answer holds something else, such as a list of posts or the results of a search.
        reason: The predicate of a sentence about a missing post, such as "is private"; otherwise "".
        code: The code of a failure, digits or "unknown"; otherwise "".
    """

    kind: Literal["missing", "failed", "other"]
    reason: str = ""
    code: str = ""


def why_no_post(answer: Json) -> NoPost:
    """Return why an answer has no post; a known reason counts whatever else the answer holds."""
    envelope = envelope_of(answer)
    reason = _why_missing(envelope)
    if reason not in (_NEW_REASON, _UNKNOWN_REASON):
        return NoPost("missing", reason)
    code = envelope.get("code")
    nested = isinstance(answer, dict) and "detail" in answer
    if nested or (isinstance(code, int | str) and str(code) not in ("0", "200")):
        return NoPost("failed", code=str(code) if re.fullmatch(r"[0-9]{1,9}", str(code)) else "unknown")
    return NoPost("other") if _is_other_form(envelope) else NoPost("missing", reason)


def why_filtered(item: Json) -> str:
    """Return why the post of an item of `filter_list` is missing, as `NoPost.reason` has it."""
    return _reason([item], [], [])


def envelope_of(answer: Json) -> dict[str, Json]:
    """Return the object with code, request_id and router, which TikHub's errors have under `detail`."""
    if not isinstance(answer, dict):
        return {}
    detail = answer.get("detail")
    return detail if isinstance(detail, dict) and detail else answer


def _why_missing(envelope: dict[str, Json]) -> str:
    data = _data(envelope)
    listed = None if _is_list(data) else data.get("filter_list")
    filtered = [*(listed if isinstance(listed, list) else []), data.get("filter_detail")]
    texts, statuses = list[Json](), list[Json]()
    for code, text in (("status_code", "status_msg"), ("statusCode", "statusMsg")):
        if data.get(code) not in (0, "0"):
            texts.append(data.get(text))
            statuses.append(data.get(code))
    return _reason(filtered, texts, statuses)


def _reason(filtered: list[Json], texts: list[Json], statuses: list[Json]) -> str:
    items = [item for item in filtered if isinstance(item, dict)]
    texts = [item.get(name) for name in ("filter_reason", "detail_msg", "notice") for item in items] + texts
    texts = [text for text in texts if isinstance(text, str)]
    reasons, statuses = [str(item.get("reason")) for item in items], [str(status) for status in statuses]
    given = [text for text in (*texts, *reasons, *statuses) if _REASON_CODE.fullmatch(text)]
    codes = {*reasons, *(status for status in statuses if len(status) >= _STATUS_DIGITS)}
    said = "\n".join(texts)
    known = (why for sign, why in _REASONS.items() if (sign in said if isinstance(sign, str) else str(sign) in codes))
    return next(known, _NEW_REASON if given else _UNKNOWN_REASON)


def _is_list(data: dict[str, Json]) -> bool:
    """Whether it is the answer of an endpoint for lists, whose `filter_list` is about posts of that list."""
    if any(name in data for name in _PLACES):
        return False
    others = ((name, value) for name, value in data.items() if name not in _BESIDE_POST)
    return any(isinstance(value, list) or name.endswith("_list") for name, value in others)


def _is_other_form(envelope: dict[str, Json]) -> bool:
    """Whether an answer without a post, and without a known reason for that, holds something else."""
    data = _data(envelope)
    places = [data[name] for name in _PLACES if name in data]
    if places:
        return any(any(place) if isinstance(place, list) else place for place in places)
    if data is envelope:
        return "data" not in envelope or isinstance(envelope["data"], list) or bool(envelope["data"])
    return _is_list(data) or any(value for name, value in data.items() if name not in _BESIDE_POST)


def _data(envelope: dict[str, Json]) -> dict[str, Json]:
    """Return the platform's answer, which may stand in TikHub's envelope or alone."""
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
