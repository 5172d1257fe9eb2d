"""The msgspec structs of those parts of an answer that the summary needs.

msgspec skips the other nine tenths of an answer without creating objects. It decodes 75 kB in 40 µs, for which
json.loads takes 200 µs and more.
"""

from typing import Any

from msgspec import Struct
from msgspec.json import Decoder


class Fields(Struct, gc=False):
    """An object of an answer; keys that are not declared are skipped."""


class AddressFields(Fields):
    """The address of a file: its name, its links, and the size of its picture."""

    uri: Any = None
    width: Any = None
    height: Any = None
    url_list: list[Any] | None = None


class VideoFields(Fields):
    """The post's `video`."""

    duration: Any = None
    ratio: Any = None
    has_watermark: Any = None
    play_addr: AddressFields | None = None
    cover: AddressFields | None = None


class AuthorFields(Fields, rename=lambda name: name.removeprefix("author_")):
    """The post's `author`; its fields have the names and the order of the columns."""

    author_nickname: Any = None
    author_unique_id: Any = None
    author_sec_uid: Any = None
    author_uid: Any = None
    author_follower_count: Any = None
    author_following_count: Any = None
    author_aweme_count: Any = None
    author_verification_type: Any = None
    author_account_region: Any = None
    author_commerce_user_level: Any = None


class StatisticsFields(Fields):
    """The post's `statistics`; its fields have the names and the order of the columns."""

    digg_count: Any = None
    comment_count: Any = None
    share_count: Any = None
    play_count: Any = None
    collect_count: Any = None
    download_count: Any = None
    forward_count: Any = None
    whatsapp_share_count: Any = None


class MusicFields(Fields):
    """The post's `music`."""

    id_str: Any = None
    mid: Any = None
    title: Any = None
    owner_nickname: Any = None
    author: Any = None
    is_original_sound: Any = None
    is_commerce_music: Any = None
    commercial_right_type: Any = None
    user_count: Any = None
    play_url: Any = None


class AigcFields(Fields, rename={"aigc_created_by_ai": "created_by_ai"}):
    """The post's `aigc_info`, its label as made by AI; its fields have the names and the order of the columns."""

    aigc_created_by_ai: Any = None
    aigc_label_type: Any = None


class ExtraFields(Fields):
    """An item of the post's `text_extra`, such as a hashtag."""

    hashtag_name: str | None = None


class PostFields(Fields):
    """A post (aweme)."""

    aweme_id: Any = None
    desc: str | None = None
    create_time: Any = None
    aweme_type: Any = None
    content_desc: str | None = None
    share_url: Any = None
    is_ads: Any = None
    author: AuthorFields | None = None
    statistics: StatisticsFields | None = None
    video: VideoFields | None = None
    music: MusicFields | None = None
    aigc_info: AigcFields | None = None
    commerce_info: Any = None
    images: Any = None
    image_post_info: Any = None
    text_extra: list[ExtraFields | None] | None = None


class BodyFields(PostFields):
    """The platform's answer, with the posts under one of two keys or the post at the top level."""

    aweme_detail: PostFields | None = None
    aweme_details: list[PostFields | None] | None = None
    filter_list: Any = None

    def posts(self) -> list[PostFields]:
        """Return the posts, see `answer.find_posts`; an empty list unless every one is there and has an id."""
        found = [self.aweme_detail] if self.aweme_detail else self.aweme_details or [self]
        if self.filter_list:  # of several posts that were asked for, some are missing
            return []
        return [post for post in found if post] if all(post and post.aweme_id is not None for post in found) else []


class RootFields(BodyFields):
    """TikHub's envelope, or the platform's answer without an envelope, as other tools save it."""

    request_id: Any = None
    code: Any = None
    message: Any = None
    router: Any = None
    cache_url: Any = None
    time_stamp: Any = None
    params: Any = None
    data: BodyFields | None = None


decode = Decoder(RootFields).decode
ENVELOPE = RootFields.__annotations__.keys() - {"data"}
# Keys whose value is an object, an array or a string wherever they occur, except below `music`.
OBJECTS = {
    field
    for part in (RootFields, BodyFields, PostFields, VideoFields, AddressFields)
    for field, kind in part.__annotations__.items()
    if kind is not Any
}
