"""The one table of fields: what a row of a summary holds, and where in an answer it stands.

Values are the API's own: what stands where another type belongs (a list for an object, an object for a number) counts
as missing, and so do NaN and Infinity.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from tikhub_mcp.answer import Json, find_post, why_missing
from tikhub_mcp.text import clean

LONGEST_DESC = 2000  # characters

Row: TypeAlias = dict[str, Json]
Parts: TypeAlias = dict[str, dict[str, Json]]  # the objects of an answer that fields are taken from
Getter: TypeAlias = Callable[[Parts], Json]


def _plain(part: str, key: str) -> Getter:
    return lambda parts: _scalar(parts[part].get(key))


def _same(part: str, keys: str, prefix: str = "") -> dict[str, Getter]:
    return {prefix + key: _plain(part, key) for key in keys.split()}


def _text(part: str, key: str) -> Getter:
    return lambda parts: next(_texts([parts[part].get(key)]), "")


def _link(part: str) -> Getter:
    return lambda parts: next(_texts(parts[part].get("url_list")), "")


def _either(one: Getter, other: Getter) -> Getter:
    return lambda parts: one(parts) or other(parts)


def _id(get: Getter) -> Getter:
    """Numbers become text: ids exceed 2^53, and spreadsheets and JavaScript would round them."""
    return lambda parts: str(value) if type(value := get(parts)) is int else value


def _commerce(parts: Parts) -> Json:
    info = parts["post"].get("commerce_info")
    if not isinstance(info, dict):
        return None
    keys = ("auction_ad_invited", "ad_source", "adv_promotable")
    return {key: _scalar(info[key]) for key in keys if key in info} or {"_present": True}


def _hashtags(parts: Parts) -> str:
    return "|".join(_texts([extra.get("hashtag_name") for extra in _objects(parts["post"].get("text_extra"))]))


FIELDS: Final[dict[str, Getter]] = {
    **_same("row", "source_file parse_ok error"),
    "request_id": _id(_plain("envelope", "request_id")),
    "api_code": _plain("envelope", "code"),
    "api_message": _plain("envelope", "message"),
    "router": _plain("envelope", "router"),
    "share_url": _either(_text("params", "share_url"), _text("post", "share_url")),  # as asked, else the post's own
    "cache_url": _plain("envelope", "cache_url"),
    "aweme_id": _id(_plain("post", "aweme_id")),
    "desc": lambda parts: _text("post", "desc")(parts)[:LONGEST_DESC],
    "create_time_unix": _plain("post", "create_time"),
    "aweme_type": _plain("post", "aweme_type"),
    "content_desc": _text("post", "content_desc"),
    "author_nickname": _plain("author", "nickname"),
    "author_unique_id": _id(_plain("author", "unique_id")),
    "author_sec_uid": _id(_plain("author", "sec_uid")),
    "author_uid": _id(_plain("author", "uid")),
    **_same("author", "follower_count following_count aweme_count", "author_"),
    **_same("author", "verification_type account_region commerce_user_level", "author_"),
    **_same("statistics", "digg_count comment_count share_count play_count"),
    **_same("statistics", "collect_count download_count forward_count whatsapp_share_count"),
    "video_duration_ms": _plain("video", "duration"),
    **_same("play_addr", "width height", "video_"),
    **_same("video", "ratio has_watermark", "video_"),
    "cover_url": _link("cover"),
    "play_url_sample": _link("play_addr"),
    "music_id": _id(_either(_plain("music", "id_str"), _plain("music", "mid"))),
    "music_title": _plain("music", "title"),
    "music_author": _either(_plain("music", "owner_nickname"), _plain("music", "author")),
    **_same("music", "is_original_sound is_commerce_music commercial_right_type user_count", "music_"),
    "is_ads": _plain("post", "is_ads"),
    "commerce_info_min": _commerce,
    "aigc_created_by_ai": _plain("aigc_info", "created_by_ai"),
    "aigc_label_type": _plain("aigc_info", "aigc_label_type"),
    "hashtags": _hashtags,
}
COLUMNS: Final = tuple(FIELDS)


def row(name: str, root: Json) -> Row:
    """The row of a parsed raw file: its fields, or why it has none."""
    # Other tools save the body without TikHub's envelope, or the bare post.
    post = find_post(root) or find_post({"data": root})
    if post is None:
        return broken_row(name, _why(root), root)
    parts = _parts(root, post) | {"row": {"source_file": name, "parse_ok": True}}
    return {field: get(parts) for field, get in FIELDS.items()}


def broken_row(name: str, why: str, root: Json = None) -> Row:
    """The row of a file without a post: the reason, and what is known of the answer."""
    parts = _parts(_envelope(root), {})
    known = {field: FIELDS[field](parts) for field in ("request_id", "api_code", "router", "share_url")}
    return dict.fromkeys(COLUMNS) | {"source_file": name, "parse_ok": False, "error": why} | known


def _parts(envelope: dict[str, Json], post: dict[str, Json]) -> Parts:
    parts = {"envelope": envelope, "params": _object(envelope.get("params")), "post": post}
    for key in ("author", "statistics", "video", "music", "aigc_info"):
        parts[key] = _object(post.get(key))
    return parts | {key: _object(parts["video"].get(key)) for key in ("play_addr", "cover")}


def _envelope(root: Json) -> dict[str, Json]:
    """What holds code, request_id and router: in TikHub's errors that is one level down."""
    return _object(_object(root).get("detail")) or _object(root)


def _why(root: Json) -> str:
    """Why there is no post, as far as the answer says."""
    envelope = _envelope(root)
    if (reason := why_missing(envelope)) is not None:
        return f"The post {reason}."
    code = _scalar(envelope.get("code"))
    if code not in (None, 200) or "detail" in _object(root):
        said = next(_texts([envelope.get("message"), envelope.get("message_zh")]), "TikHub does not say which")
        return f"An error instead of a post, code {'unknown' if code is None else clean(str(code), 20)}: {clean(said)}"
    if {"data", "aweme_detail", "aweme_details"} & envelope.keys():
        return "The post is not available (private, deleted or blocked; TikHub does not say which)."
    return "Not an answer of TikHub's: no post is in it."


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Json) -> Iterator[str]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, str) and item)


def _scalar(value: Json) -> Json:
    lost = isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value))
    return None if lost else value
