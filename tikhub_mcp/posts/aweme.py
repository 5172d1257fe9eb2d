"""A lenient model of a post as TikHub returns it.

In answers, any object may be null, any list may be missing, and numbers may be strings. Validation never raises: a
value that cannot be read becomes None, an empty string or an empty list.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tikhub_mcp.posts.answer import Json

EXACT = 2**53  # JavaScript, in which most clients are written, loses digits of larger integers
BEFORE_TIKTOK = 1_400_000_000  # Unix time of May 2014: no answer is older
MAX_MIRRORS = 10  # links to one file; answers have up to 4 (seen in answers of 2024 to 2026)
MAX_RENDITIONS = 50  # files of one post; answers have up to 37 (the same)
MAX_PHOTOS = 999  # of one post; answers have up to 35 (the same)
MAX_FILE_LINK_LENGTH = 8192  # characters; links have up to 604 (the same)
YEAR_10000 = 253_402_300_800  # the first Unix time that neither Python nor Excel can represent as a date
_WEB = ("https://", "http://")


def parse_count(value: Json) -> int | None:
    """Return an integer from 0 to 2**53 - 1, also from a string or a float; None for any other value."""
    if type(value) is int:
        return value if 0 <= value < EXACT else None
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
    if digits or (isinstance(value, float) and value.is_integer()):
        return parse_count(int(value))
    return None


def unix_time(value: Json, after: int = 0, before: float = YEAR_10000) -> int | None:
    """Return a Unix time in whole seconds that is between the bounds (exclusive); None for any other value."""
    seconds = parse_count(value)
    return seconds if seconds is not None and after < seconds < before else None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def as_object(value: Json) -> Json:
    """Return the value if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Json) -> list[Json]:
    """Return the JSON objects in a list; an empty list if the value is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _links(value: Json) -> list[str]:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    links = [text for text in texts if text.startswith(_WEB) and len(text) <= MAX_FILE_LINK_LENGTH]
    return list(dict.fromkeys(links))[:MAX_MIRRORS]


def _some_objects(value: Json) -> list[Json]:
    return as_objects(value)[:MAX_RENDITIONS]


def _photos(value: Json) -> list[Json]:
    """The pictures of a post, at their places: one that cannot be read has no links."""
    has_some = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    return [as_object(item) for item in value[:MAX_PHOTOS]] if has_some else []


Whole = Annotated[int | None, BeforeValidator(parse_count)]
Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(lambda value: value is True or parse_count(value) not in (None, 0))]
# `is_h265` and `is_bytevc1`: 0 for H.264, 1 for H.265, 2 for H.266, as seen in answers of 2025 and 2026
CodecFlag = Annotated[int, BeforeValidator(lambda value: 1 if value is True else parse_count(value) or 0)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Address(_Wire):
    """The links to one file: several mirrors of the same content."""

    uri: Text = ""
    url_key: Text = ""
    url_list: Annotated[list[str], BeforeValidator(_links)] = []
    width: Whole = None
    height: Whole = None
    data_size: Whole = None
    file_hash: Text = ""


AddressField = Annotated[Address, BeforeValidator(as_object)]


class Gear(_Wire):
    """One entry of `bit_rate`: a file and its encoding; `format` is "dash" for a file of one track."""

    bit_rate: Whole = None
    format: Text = ""
    is_bytevc1: CodecFlag = 0
    is_h265: CodecFlag = 0
    play_addr: AddressField = Address()


class CaptionInfo(_Wire):
    """One language of a video's captions, as seen in TikTok's answers of 2025."""

    caption_format: Text = ""
    lang: Text = ""
    language_code: Text = ""
    is_auto_generated: Flag = False
    is_original_caption: Flag = False
    expire: Whole = None
    url: Text = ""
    url_list: Annotated[list[str], BeforeValidator(_links)] = []


class Captions(_Wire):
    """The captions of a video."""

    caption_infos: Annotated[list[CaptionInfo], BeforeValidator(_some_objects)] = []


class Video(_Wire):
    """The files of a post; in a photo post, `play_addr` is the music."""

    duration: Whole = None
    is_bytevc1: CodecFlag = 0
    is_h265: CodecFlag = 0
    cdn_url_expired: Whole = None
    play_addr: AddressField = Address()
    play_addr_h264: AddressField = Address()
    play_addr_265: AddressField = Address()
    play_addr_bytevc1: AddressField = Address()
    bit_rate: Annotated[list[Gear], BeforeValidator(_some_objects)] = []
    cover: AddressField = Address()
    origin_cover: AddressField = Address()
    cla_info: Annotated[Captions, BeforeValidator(as_object)] = Captions()


class PostStatus(_Wire):
    """Flags of a post that is in the answer but not available."""

    is_delete: Flag = False
    is_prohibited: Flag = False
    private_status: Whole = None


class Author(_Wire):
    """The author of a post."""

    nickname: Text = ""


class SizedPicture(_Wire):
    """A picture in another size; the name of its field is that of TikTok's app."""

    bitrate_image: AddressField = Address()


class Photo(Address):
    """A picture of a photo post: of Douyin an address, of TikTok an object with addresses.

    The fields with a watermark (`download_url_list`, `owner_watermark_image`, `user_watermark_image`) are not read.
    """

    display_image: AddressField = Address()
    bitrate_images: Annotated[list[SizedPicture], BeforeValidator(_some_objects)] = []
    video: Annotated[Video, BeforeValidator(as_object)] = Video()


PhotoList = Annotated[list[Photo], BeforeValidator(_photos)]


class ImagePost(_Wire):
    """The photos and the title of a TikTok photo post."""

    title: Text = ""
    images: PhotoList = []


class Music(_Wire):
    """The music of a post; copyrighted music of Douyin has no links (seen in answers of 2026)."""

    play_url: AddressField = Address()


class Aweme(_Wire):
    """A post, reduced to the fields that are used; "aweme" is the platforms' own name for it."""

    aweme_type: Whole = None
    desc: Text = ""
    author: Annotated[Author, BeforeValidator(as_object)] = Author()
    status: Annotated[PostStatus, BeforeValidator(as_object)] = PostStatus()
    music: Annotated[Music | None, BeforeValidator(lambda value: as_object(value) or None)] = None
    video: Annotated[Video, BeforeValidator(as_object)] = Video()
    image_post_info: Annotated[ImagePost, BeforeValidator(as_object)] = ImagePost()
    images: PhotoList = []
