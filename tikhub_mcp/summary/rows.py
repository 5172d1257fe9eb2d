"""Conversion of a post in a raw answer into a row of the summary; values are the API's own."""

from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from msgspec.structs import asdict

from tikhub_mcp.posts.answer import Json, platform_asked
from tikhub_mcp.posts.aweme import BEFORE_TIKTOK, Aweme, as_object, parse_count, unix_time
from tikhub_mcp.posts.counts import COUNTS
from tikhub_mcp.posts.links import Platform, canonical, is_post_id, platform_in
from tikhub_mcp.posts.pictures import count_clips
from tikhub_mcp.posts.post import PHOTO_TYPES, is_photo_post
from tikhub_mcp.summary.schema import (
    AddressFields,
    AigcFields,
    AuthorFields,
    MusicFields,
    PostFields,
    RootFields,
    StatisticsFields,
    VideoFields,
)

MAX_DESC_LENGTH = 2000  # characters
MAX_DEPTH = 300  # levels of nested objects and lists in a row, well below the limits of the JSON libraries

Row: TypeAlias = dict[str, Json]

# The API gives 0 for all three where it does not report them, also for accounts with millions of followers (seen in
# answers of 2025 and 2026).
_AUTHOR_COUNTS = ("author_follower_count", "author_following_count", "author_aweme_count")
_NESTING = {dict, list}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; the "Z" is appended to the text
_NO_VIDEO, _NO_AUTHOR, _NO_ADDRESS = VideoFields(), AuthorFields(), AddressFields()
_VIDEO: Row = {"kind": "video", "image_count": 0, "clip_count": 0, "title": None}
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


def row(answer: AnswerFields) -> Row:
    """Return the row of an answer with a post."""
    result = _values(*answer)
    result["engagement_rate"] = _engagement(reported(result))
    return result


def reported(row: Row) -> dict[str, int | None]:
    """Return the counts of a row as integers; None for a count that was not reported, such as plays on Douyin."""
    counts = {name: parse_count(row[name]) for name in COUNTS}
    if row["platform"] == "douyin":
        counts["play_count"] = None
    return counts


def is_deep(value: Json, levels: int = MAX_DEPTH) -> bool:
    """Whether a row, or a value in it, is nested too deeply for the outputs."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if _NESTING.isdisjoint(map(type, inner)):  # most rows, in a fifth of the time
        return levels < 0
    return levels < 0 or any(is_deep(item, levels - 1) for item in inner if type(item) in _NESTING)


def without_unreported(row: Row) -> Row:
    """Return the row for people: None in the place of a 0 that stands for "not reported"."""
    unreported = ["play_count"] if row["platform"] == "douyin" else []
    if all(parse_count(row[name]) == 0 for name in _AUTHOR_COUNTS):
        unreported += _AUTHOR_COUNTS
    return row | dict.fromkeys(unreported)


def own_words(row: Row) -> str:
    """Return the words of a post for people: the title, if it is a photo post that has one, and the text."""
    return " ".join(filter(None, (row["title"], row["desc"])))


def _values(name: str, root: RootFields, post: PostFields) -> Row:
    video, author = post.video or _NO_VIDEO, _of_author(post.author or _NO_AUTHOR)
    play, share_url, aweme_id = video.play_addr or _NO_ADDRESS, asked_link(root.params), id_text(post.aweme_id)
    platform = platform_asked(root.router) or platform_in(share_url) or platform_in(_text(post.share_url))
    photos = _of_photos(post)
    return {
        "source_file": name,
        "parse_ok": True,
        "error": None,
        "request_id": id_text(root.request_id),
        "api_code": root.code,
        "api_message": root.message,
        "router": root.router,
        "share_url": share_url,
        "cache_url": root.cache_url,
        "aweme_id": aweme_id,
        "desc": (post.desc or "")[:MAX_DESC_LENGTH],
        "create_time_unix": post.create_time,
        "aweme_type": post.aweme_type,
        "content_desc": post.content_desc or "",
        **author,
        **asdict(post.statistics or _NO_STATISTICS),
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
        **asdict(post.aigc_info or _NO_AIGC),
        "hashtags": "|".join([extra.hashtag_name for extra in post.text_extra or () if extra and extra.hashtag_name]),
        "platform": platform,
        "as_of": _moment(root.time_stamp),
        "engagement_rate": None,  # computed from the row's counts
        "is_latest": None,  # known once all files are read
        "link": address_of(platform, aweme_id, author["author_unique_id"], photos=photos is not _VIDEO)
        or share_url
        or None,
        **photos,
    }


def _of_author(author: AuthorFields) -> Row:
    fields = asdict(author)
    for name in ("author_unique_id", "author_sec_uid", "author_uid"):
        fields[name] = id_text(fields[name])
    return fields


def _of_music(music: MusicFields) -> Row:
    return {
        "music_id": id_text(music.id_str or music.mid),
        "music_title": music.title,
        "music_author": music.owner_nickname or music.author,
        "music_is_original_sound": music.is_original_sound,
        "music_is_commerce_music": music.is_commerce_music,
        "music_commercial_right_type": music.commercial_right_type,
        "music_user_count": music.user_count,
    }


def _of_photos(post: PostFields) -> Row:
    if not (post.images or post.image_post_info or parse_count(post.aweme_type) in PHOTO_TYPES):
        return _VIDEO
    # Without the addresses of the stills, which would take most of the time and are not needed here.
    info = as_object(post.image_post_info)
    info = {"title": info.get("title"), "images": _moving_halves(info.get("images"))}
    play, music = (post.video or _NO_VIDEO).play_addr or _NO_ADDRESS, post.music or _NO_MUSIC
    aweme = Aweme.model_validate(
        {
            "aweme_type": post.aweme_type,
            "image_post_info": info,
            "images": _moving_halves(post.images),
            "video": {"play_addr": {"uri": play.uri, "url_list": play.url_list}},
            "music": {"play_url": music.play_url},
        }
    )
    if not is_photo_post(aweme):
        return _VIDEO
    return {
        "kind": "images",
        "image_count": len(aweme.image_post_info.images or aweme.images),
        "clip_count": count_clips(aweme),
        "title": aweme.image_post_info.title[:MAX_DESC_LENGTH] or None,
    }


def _moving_halves(images: Json) -> Json:
    if not isinstance(images, list):
        return images
    return [{"video": image.get("video")} if isinstance(image, dict) else image for image in images]


def address_of(platform: Platform | None, aweme_id: Json, user: Json = "", *, photos: bool = False) -> str | None:
    """Return the canonical address of a post; None if the platform is not known, or the id is none.

    Args:
        platform: The platform.
        aweme_id: The id.
        user: The author's handle, which addresses of TikTok have.
        photos: Whether it is a photo post.
    """
    if platform is None or not isinstance(aweme_id, str) or not is_post_id(aweme_id):
        return None
    kind = ("photo" if platform == "tiktok" else "note") if photos else "video"
    return canonical(platform, aweme_id, kind, _text(user))


def asked_link(params: Json) -> str:
    """Return the link that was requested, from the envelope's `params`; "" if there is none."""
    return _text(params.get("share_url")) if isinstance(params, dict) else ""


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def id_text(value: Json) -> Json:
    """Return an id as text, and any other value unchanged.

    Ids exceed 2^53, and spreadsheets and JavaScript would round the numbers.
    """
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
