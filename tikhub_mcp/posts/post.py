"""Parses TikHub's answer into a post with its metrics and files, and chooses the file to download."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from tikhub_mcp.errors import NotAVideo, PostUnavailable, UnexpectedAnswer, WrongPost
from tikhub_mcp.posts.answer import Json, find_post, why_no_post
from tikhub_mcp.posts.aweme import (
    BEFORE_TIKTOK,
    EXACT,
    Aweme,
    PostStatus,
    as_object,
    parse_count,
    unix_time,
)
from tikhub_mcp.posts.counts import API_COUNTS
from tikhub_mcp.posts.extras import Caption, parse_captions, parse_covers, parse_music
from tikhub_mcp.posts.links import Link, Platform, is_post_id, named
from tikhub_mcp.posts.pictures import PostPicture, parse_pictures
from tikhub_mcp.posts.renditions import Quality, Rendition, Tracks, parse_renditions
from tikhub_mcp.text import clean

PHOTO_TYPES = (2, 68, 150)  # aweme_type of photo posts
MAX_TITLE_LENGTH = 300  # characters
_PREFERENCE: tuple[Tracks, ...] = ("sound", "picture", "both")  # the last is best


class Metrics(BaseModel):
    """The metrics of a post at one moment; `notes` has the reason for each null, and a 0 was reported as 0."""

    video_id: str
    author: str = Field(description="Untrusted text")
    likes: int | None
    comments: int | None
    shares: int | None
    plays: int | None
    saves: int | None
    downloads: int | None
    duration_ms: int | None
    resolution: str | None
    as_of: str = Field(description="ISO 8601, UTC")
    notes: dict[str, str] = Field(description="Null field or missing extra → reason")


@dataclass(frozen=True, slots=True)
class Post:
    """A post.

    Attributes:
        platform: The platform of the link that was requested.
        video_id: The post's id, or a hash when it has none; safe in a file name.
        kind: "images" for a photo post.
        author: The author's nickname: untrusted text, as received.
        title: The caption, and before it the title of a photo post that has one: untrusted text, cleaned.
        metrics: The metrics.
        renditions: The playable files; empty for a photo post.
        pictures: The pictures of a photo post, in their order.
        aweme: What of the answer music, cover and captions are read from, which few callers ask for.
        has_music: Whether the answer names the post's music, which is also the name of a video's own sound.
        unavailable_reason: Why the post is not available although it is in the answer, or "".
        stamp: When TikHub answered, in Unix seconds of its own clock, against which the links expire.
    """

    platform: Platform
    video_id: str
    kind: Literal["video", "images"]
    author: str
    title: str
    metrics: Metrics
    renditions: tuple[Rendition, ...]
    has_music: bool
    unavailable_reason: str
    stamp: float
    pictures: tuple[PostPicture, ...] = ()
    aweme: Aweme | None = None

    @property
    def music(self) -> tuple[Rendition, ...]:
        """The files of the music, the first choice first."""
        return parse_music(self.aweme, is_photo_post=self.kind == "images") if self.aweme else ()

    @property
    def covers(self) -> tuple[Rendition, ...]:
        """The files of a video's cover, the first choice first."""
        return parse_covers(self.aweme.video) if self.aweme and self.kind == "video" else ()

    @property
    def captions(self) -> tuple[Caption, ...]:
        """A video's captions, one per language."""
        return parse_captions(self.aweme.video) if self.aweme and self.kind == "video" else ()

    def without_files(self) -> "Post":
        """Return the post without its links, which take most of its memory."""
        return replace(self, renditions=(), pictures=(), aweme=None)


def parse_post(answer: Json, link: Link, received: float) -> Post:
    """Parse the post in an answer's envelope, of several the one that the link names.

    Args:
        answer: The parsed body.
        link: The link that was requested. It determines the platform, and the hash that replaces a missing id.
        received: When the answer was received, in Unix seconds; used when the envelope has no time.

    Raises:
        PostUnavailable: The answer has no post; it was charged nevertheless.
        UnexpectedAnswer: The answer says that the request failed, or holds something else; it was charged as well.
    """
    found = find_post(answer, link.post_id)
    if found is None:
        raise _no_post(answer, link)
    aweme = Aweme.model_validate(found)
    pictures = parse_pictures(aweme)
    images = is_photo_post(aweme)
    video_id = safe_id(found.get("aweme_id")) or _digest(link.url)
    stamp = _stamp(answer, received)
    return Post(
        platform=link.platform,
        video_id=video_id,
        kind="images" if images else "video",
        author=aweme.author.nickname,
        title=_title(aweme),
        metrics=_metrics(found, aweme, link.platform, video_id, images, stamp),
        renditions=() if images else tuple(parse_renditions(aweme.video)),
        has_music=bool(aweme.music),
        unavailable_reason=_unavailable_reason(aweme.status),
        stamp=stamp,
        pictures=pictures,
        aweme=aweme,
    )


def is_photo_post(aweme: Aweme) -> bool:
    """Return whether a post has pictures, or says that it is a photo post; some have another type, or none."""
    return bool(aweme.image_post_info.images or aweme.images or aweme.aweme_type in PHOTO_TYPES)


def _title(aweme: Aweme) -> str:
    """The post's own words: the title of a photo post, a blank line and the caption, or the one that is there."""
    title, caption = clean(aweme.image_post_info.title, MAX_TITLE_LENGTH), clean(aweme.desc, MAX_TITLE_LENGTH)
    room = MAX_TITLE_LENGTH - len(f"{title}\n\n")
    return f"{title}\n\n{clean(caption, room)}" if title and caption and room > 0 else title or caption


def _no_post(answer: Json, link: Link) -> PostUnavailable | UnexpectedAnswer:
    why = why_no_post(answer)
    if why.kind == "missing":
        return PostUnavailable(f"TikHub answered, and charged, but {named(link)} {why.reason}.")
    about = f"TikHub's answer about {named(link)} was charged, and"
    if why.kind == "failed":
        return UnexpectedAnswer(f"{about} says that the request failed (code {why.code}). Another call is charged too.")
    return UnexpectedAnswer(f"{about} is not in a form that this reads: no post is in it.")


def check_same_post(post: Post, link: Link) -> None:
    """Check that the post is the one that the link names.

    Raises:
        WrongPost: It is another post.
    """
    if link.post_id and link.post_id != post.video_id:
        raise WrongPost(
            f"TikHub's answer for post {link.post_id} is about another post, or names none; no file of it was saved."
        )


def check_available(post: Post) -> None:
    """Check that a post in an answer is still available on the platform.

    Raises:
        PostUnavailable: The post is deleted, private or prohibited.
    """
    if post.unavailable_reason:
        raise PostUnavailable(f"TikHub answered, and charged, but post {post.video_id} {post.unavailable_reason}.")


def choose(post: Post, quality: Quality) -> tuple[Rendition, ...]:
    """Return the files to download for a quality, the first choice first.

    Files of one track come last: what is wanted is a picture with its sound.

    Args:
        post: The post.
        quality: "compatible" prefers H.264, "best" the highest resolution, "smallest" the smallest file.

    Raises:
        NotAVideo: The post is a photo post without pictures.
        PostUnavailable: The answer has no link to a playable file.
    """
    if post.kind == "images":
        raise NotAVideo(f"Post {post.video_id} is a photo post, and TikHub's answer has neither pictures nor a video.")
    if not post.renditions:
        raise PostUnavailable(
            f"TikHub answered, and charged, but post {post.video_id} came without the address of a playable file."
        )
    order: dict[Quality, Callable[[Rendition], tuple[int, ...]]] = {
        # H.265 does not play everywhere, and some TikTok files in it have no sound: H.264 first.
        "compatible": lambda file: (file.codec == "h264", file.side, file.bit_rate),
        "best": lambda file: (file.side, file.width * file.height, file.codec == "h264", file.bit_rate),
        "smallest": lambda file: (-(file.size or EXACT), -(file.bit_rate or EXACT)),
    }

    def rank(file: Rendition) -> tuple[int, ...]:
        return _PREFERENCE.index(file.tracks), *order[quality](file)

    return tuple(sorted(post.renditions, key=rank, reverse=True))


def why_silent(post: Post) -> str:
    """Return the warning about a video file of the post that has no sound, with the reason as far as it is known."""
    complete = [file for file in post.renditions if file.tracks == "both"]
    if not complete:
        return "it has no sound: TikHub's answer offers only files of the picture alone"
    if not post.has_music:
        return "it has no sound"
    advice = ": another quality may have it" if len(complete) > 1 else ""
    return f"it has no sound, although the post names music{advice}"


def safe_id(value: Json) -> str:
    """Return an id that is safe in a file name: an id of 5 to 25 digits unchanged, any other hashed, no id as ""."""
    text = str(value) if type(value) is int or (isinstance(value, str) and value) else ""
    return text if not text or is_post_id(text) else _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _unavailable_reason(status: PostStatus) -> str:
    if status.is_delete:
        return "was deleted"
    if status.is_prohibited:
        return "was taken down by the platform"
    return "is private, or visible to some people only" if status.private_status else ""


def _stamp(answer: Json, received: float) -> float:
    tomorrow = time.time() + 86400  # TikHub's clock and this machine's may differ
    return unix_time(as_object(answer).get("time_stamp"), BEFORE_TIKTOK, tomorrow) or received


def _metrics(found: Json, aweme: Aweme, platform: Platform, video_id: str, images: bool, stamp: float) -> Metrics:
    served = as_object(found.get("statistics"))
    values: dict[str, int | None] = {name: parse_count(served.get(field)) for name, field in API_COUNTS.items()}
    notes = {name: _why_null(served.get(API_COUNTS[name])) for name, value in values.items() if value is None}
    if platform == "douyin":
        values["plays"], notes["plays"] = None, "Douyin does not report plays"
    size = aweme.video.play_addr
    resolution = f"{size.width}x{size.height}" if size.width and size.height and not images else None
    if resolution is None:
        notes["resolution"] = "a photo post has none" if images else "not in the answer"
    duration = None if images else aweme.video.duration  # photo posts say 0, or the music's
    if duration is None:
        served_duration = as_object(found.get("video")).get("duration")
        notes["duration_ms"] = "a photo post has none" if images else _why_null(served_duration)
    return Metrics(
        video_id=video_id,
        author=clean(aweme.author.nickname, 100),
        **values,
        duration_ms=duration,
        resolution=resolution,
        as_of=datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        notes=notes,
    )


def _why_null(served: Json) -> str:
    return "not in the answer" if served is None else "unreadable in the answer"
