"""Conversion of a raw answer into a row of the summary.

Values are the API's own. An answer of another shape (such as an array instead of an object, or a number instead of a
string) becomes a row with `parse_ok` false and an error. NaN, Infinity and integers of more than 4,300 digits are
treated as missing.
"""

import math
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from msgspec import ValidationError, convert

from tikhub_mcp.posts.answer import Json, LongInteger, check_utf_8, find_post, parse_json, platform_asked, why_missing
from tikhub_mcp.posts.aweme import BEFORE_TIKTOK, EXACT, parse_count, unix_time
from tikhub_mcp.posts.counts import COUNTS
from tikhub_mcp.posts.links import platform_in
from tikhub_mcp.summary import schema
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.schema import (
    ENVELOPE,
    OBJECTS,
    AddressFields,
    AigcFields,
    AuthorFields,
    MusicFields,
    PostFields,
    RootFields,
    StatisticsFields,
    VideoFields,
)
from tikhub_mcp.text import clean, writable

MAX_DESC_LENGTH = 2000  # characters
# Maximum bytes of an answer that msgspec cannot decode: json.loads takes four times its size for the text, and up to
# sixty times for the values. The largest known answers have 83 kB.
MAX_ODD_BYTES = 4 * 2**20

Row: TypeAlias = dict[str, Json]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; the "Z" is appended to the text
_NO_VIDEO, _NO_AUTHOR, _NO_ADDRESS = VideoFields(), AuthorFields(), AddressFields()
_NO_STATISTICS, _NO_MUSIC, _NO_AIGC = StatisticsFields(), MusicFields(), AigcFields()


class AnswerFields(NamedTuple):
    """The name of a raw file, and the decoded parts of its answer.

    Attributes:
        name: The file's name.
        root: The envelope of the answer.
        post: The post in it.
    """

    name: str
    root: RootFields
    post: PostFields


def read_fields(name: str, body: bytes) -> AnswerFields | Row:
    """Decode a raw file; return its fields, or its finished row if msgspec cannot decode it or it has no post.

    Raises:
        ValueError: It is not valid JSON, or too large for the slower parser.
    """
    name = writable(name)
    try:
        check_utf_8(body)  # msgspec checks only the strings that it decodes
        root = schema.decode(body)
        post = (root.data or root).post()
    except (ValueError, RecursionError):  # an unexpected shape, a byte order mark or invalid JSON
        post = None
    if post:
        return AnswerFields(name, root, post)
    if len(body) > MAX_ODD_BYTES:
        raise ValueError("it has more than 4 MiB, and is not as TikHub answers")
    return _lenient_row(name, parse_json(body))


def row(answer: AnswerFields) -> Row:
    """Return the row of an answer with a post."""
    result = _values(*answer)
    result["engagement_rate"] = _engagement(reported(result))
    return result


def reported(row: Row) -> dict[str, int | None]:
    """Return the counts of a row as integers; None for a count that was not reported, such as plays on Douyin."""
    # Plain integers skip parse_count(), which saves a tenth of a row's time.
    counts = {
        name: value if type(value := row[name]) is int and 0 <= value < EXACT else parse_count(value) for name in COUNTS
    }
    if row["platform"] == "douyin":
        counts["play_count"] = None
    return counts


def broken_row(name: str, why: str, value: Json = None) -> Row:
    """Return the row of a file without a post.

    Args:
        name: The file's name.
        why: The reason, a sentence.
        value: The answer, from which the envelope's fields are taken if they are there.
    """
    envelope = _envelope(value)
    name = writable(name)
    known = {
        "request_id": _id(envelope.get("request_id")),
        "api_code": envelope.get("code"),
        "router": envelope.get("router"),
    }
    plain = {field: None if isinstance(item, dict | list) else item for field, item in known.items()}
    plain["share_url"] = _asked(envelope.get("params"))
    return dict.fromkeys(COLUMNS) | {"source_file": name, "parse_ok": False, "error": why} | plain


def _lenient_row(name: str, value: Json) -> Row:
    """Return the row of an answer that msgspec could not decode, after removing what no output can represent.

    Raises:
        ValueError: It is nested too deeply.
    """
    try:
        value = _tidy(value)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    post = find_post(value) or find_post({"data": value})
    if post is None:
        return broken_row(name, _why(value), value)
    try:
        # The envelope's fields may have any type; other keys beside them, which other tools may add, are ignored.
        root = (
            RootFields(**{field: value[field] for field in ENVELOPE if field in value})
            if isinstance(value, dict)
            else RootFields()
        )
        return row(AnswerFields(name, root, convert(post, PostFields)))
    except ValidationError as error:
        return broken_row(name, f"The post is not as TikHub answers: {clean(str(error))}.", value)


def _tidy(value: Json, objects: Collection[str] = OBJECTS) -> Json:
    """Return the value without what no output can represent, and with None for empty values of the keys in `objects`.

    These keys hold objects, arrays or strings. They are looked for at the top level and inside one another only. Below
    other keys, and below `music`, whose `author` may have any type, empty values stay as they are.
    """
    match value:
        case LongInteger():
            return None
        case str():
            return writable(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_tidy(item, objects) for item in value]
        case dict():
            return {
                writable(key): None
                if not item and key in objects
                else _tidy(item, objects if key in objects and key != "music" else ())
                for key, item in value.items()
            }
    return value


def _values(name: str, root: RootFields, post: PostFields) -> Row:
    numbers, video, aigc = post.statistics or _NO_STATISTICS, post.video or _NO_VIDEO, post.aigc_info or _NO_AIGC
    play, share_url = video.play_addr or _NO_ADDRESS, _asked(root.params) or _text(post.share_url)
    platform = platform_asked(root.router) or platform_in(share_url) or platform_in(_text(post.share_url))
    return {
        "source_file": name,
        "parse_ok": True,
        "error": None,
        "request_id": _id(root.request_id),
        "api_code": root.code,
        "api_message": root.message,
        "router": root.router,
        "share_url": share_url,
        "cache_url": root.cache_url,
        "aweme_id": _id(post.aweme_id),
        "desc": (post.desc or "")[:MAX_DESC_LENGTH],
        "create_time_unix": post.create_time,
        "aweme_type": post.aweme_type,
        "content_desc": post.content_desc or "",
        **_of_author(post.author or _NO_AUTHOR),
        "digg_count": numbers.digg_count,
        "comment_count": numbers.comment_count,
        "share_count": numbers.share_count,
        "play_count": numbers.play_count,
        "collect_count": numbers.collect_count,
        "download_count": numbers.download_count,
        "forward_count": numbers.forward_count,
        "whatsapp_share_count": numbers.whatsapp_share_count,
        "video_duration_ms": video.duration,
        "video_width": play.width,
        "video_height": play.height,
        "video_ratio": video.ratio,
        "video_has_watermark": video.has_watermark,
        "cover_url": _first(video.cover),
        "play_url_sample": _first(play),
        **_of_music(post.music or _NO_MUSIC),
        "is_ads": post.is_ads,
        "commerce_info_min": _commerce(post.commerce_info),
        "aigc_created_by_ai": aigc.created_by_ai,
        "aigc_label_type": aigc.aigc_label_type,
        "hashtags": "|".join([extra.hashtag_name for extra in post.text_extra or () if extra and extra.hashtag_name]),
        "platform": platform,
        "as_of": _moment(root.time_stamp),
        "engagement_rate": None,  # computed from the row's counts
        "is_latest": None,  # known once all files are read
    }


def _of_author(author: AuthorFields) -> Row:
    return {
        "author_nickname": author.nickname,
        "author_unique_id": _id(author.unique_id),
        "author_sec_uid": _id(author.sec_uid),
        "author_uid": _id(author.uid),
        "author_follower_count": author.follower_count,
        "author_following_count": author.following_count,
        "author_aweme_count": author.aweme_count,
        "author_verification_type": author.verification_type,
        "author_account_region": author.account_region,
        "author_commerce_user_level": author.commerce_user_level,
    }


def _of_music(music: MusicFields) -> Row:
    return {
        "music_id": _id(music.id_str or music.mid),
        "music_title": music.title,
        "music_author": music.owner_nickname or music.author,
        "music_is_original_sound": music.is_original_sound,
        "music_is_commerce_music": music.is_commerce_music,
        "music_commercial_right_type": music.commercial_right_type,
        "music_user_count": music.user_count,
    }


def _asked(params: Json) -> str:
    """Return the link that was requested, from the envelope's `params`."""
    return _text(params.get("share_url")) if isinstance(params, dict) else ""


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _id(value: Json) -> Json:
    """Return an id as text: ids exceed 2^53, and spreadsheets and JavaScript would round the numbers."""
    return str(value) if type(value) is int else value


def _first(address: AddressFields | None) -> str:
    links = address.url_list if address else None
    return _text(links[0]) if links else ""


def _commerce(info: Json) -> Json:
    if not isinstance(info, dict):
        return None
    return {key: info[key] for key in ("auction_ad_invited", "ad_source", "adv_promotable") if key in info} or {
        "_present": True
    }


def _moment(stamp: Json) -> str | None:
    seconds = unix_time(stamp, BEFORE_TIKTOK)
    if seconds is None:
        return None
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}Z"  # a fifth of the time of strftime


def _engagement(counts: dict[str, int | None]) -> float | None:
    plays, *parts = (
        counts[name] for name in ("play_count", "digg_count", "comment_count", "share_count", "collect_count")
    )
    if not plays or None in parts:
        return None
    return round(sum(part for part in parts if part) / plays, 6)


def _envelope(value: Json) -> dict[str, Json]:
    """Return the object with code, request_id and router, which TikHub's errors have under `detail`."""
    return _object(_object(value).get("detail")) or _object(value)


def _why(value: Json) -> str:
    """Return the reason why an answer has no post, as a sentence."""
    envelope = _envelope(value)
    if (reason := why_missing(envelope)) is not None:
        return f"The post {reason}."
    code = envelope.get("code")
    code = None if isinstance(code, dict | list) else code
    if code not in (None, 200) or "detail" in _object(value):
        texts = (envelope.get("message"), envelope.get("message_zh"))
        message = next(filter(None, map(_text, texts)), "TikHub does not say which")
        return (
            f"An error instead of a post, code {'unknown' if code is None else clean(str(code), 20)}: {clean(message)}"
        )
    if {"data", "aweme_detail", "aweme_details"} & envelope.keys():
        return "The post is not available (private, deleted or blocked; TikHub does not say which)."
    return "Not an answer of TikHub's: no post is in it."


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
