"""The parts of an answer that fields are taken from, as msgspec reads them.

It steps over the nine tenths of an answer that no field needs, without building them: that takes 40 µs for 75 kB, for
which json.loads takes 200 and more.
"""

from typing import Any

from msgspec import Struct
from msgspec.json import Decoder


class Fields(Struct, gc=False):
    """A part of an answer; what is not named is stepped over."""


class AddressFields(Fields):
    """Where one file is."""

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


class AuthorFields(Fields):
    """Who posted."""

    nickname: Any = None
    unique_id: Any = None
    sec_uid: Any = None
    uid: Any = None
    follower_count: Any = None
    following_count: Any = None
    aweme_count: Any = None
    verification_type: Any = None
    account_region: Any = None
    commerce_user_level: Any = None


class StatisticsFields(Fields):
    """The post's numbers."""

    digg_count: Any = None
    comment_count: Any = None
    share_count: Any = None
    play_count: Any = None
    collect_count: Any = None
    download_count: Any = None
    forward_count: Any = None
    whatsapp_share_count: Any = None


class MusicFields(Fields):
    """The post's sound."""

    id_str: Any = None
    mid: Any = None
    title: Any = None
    owner_nickname: Any = None
    author: Any = None
    is_original_sound: Any = None
    is_commerce_music: Any = None
    commercial_right_type: Any = None
    user_count: Any = None


class AigcFields(Fields):
    """How the post is labelled as AI's."""

    created_by_ai: Any = None
    aigc_label_type: Any = None


class ExtraFields(Fields):
    """A mark in the post's text."""

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
    text_extra: list[ExtraFields | None] | None = None


class BodyFields(PostFields):
    """The platform's answer: the post in one of two places, or at the top."""

    aweme_detail: PostFields | None = None
    aweme_details: list[PostFields | None] | None = None

    def post(self) -> PostFields | None:
        """The post, if it has an id; see answer.find_post."""
        first = self.aweme_details[0] if self.aweme_details else None
        post = self.aweme_detail or first or self
        return post if post.aweme_id is not None else None


class RootFields(BodyFields):
    """TikHub's envelope, or, as other tools save it, what would be in one."""

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
# What is an object, a list or a text wherever it stands, but for `music`, whose `author` may be anything.
OBJECTS = {
    field
    for part in (RootFields, BodyFields, PostFields, VideoFields, AddressFields)
    for field in part.__struct_fields__
} - {
    field
    for part in (RootFields, PostFields, VideoFields, AddressFields)
    for field, kind in part.__annotations__.items()
    if kind is Any
}
