"""The pictures of a photo post: the files of each, and the one to download for a quality."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from tikhub_mcp.posts.aweme import Address, Aweme, Photo, Video
from tikhub_mcp.posts.renditions import FileKind, Quality, Rendition, link_expiry, parse_renditions

_EXTENSION = re.compile(r"\.(jpe?g|png|webp|hei[cf])$", re.IGNORECASE)
_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "heic": "heic", "heif": "heic"}
_COMPATIBLE = ("jpeg", "png", "webp", "", "heic")  # the format that most programs open comes first
_PATH = re.compile(r"https?://[^/?#]*([^?#]*)")  # urlsplit raises for some links that nothing can be fetched from
_WATERMARK = re.compile(r"[-_:]water(?:mark)?(?:[-_:.]|$)")  # in the path, the name of Douyin's template for them


@dataclass(frozen=True, slots=True)
class PostPicture:
    """One picture of a photo post.

    Attributes:
        number: Its place in the post, from 1.
        stills: The files of the picture, in the order of the answer, without those that have a watermark.
        clips: The files of its moving half, the first choice first; empty for most pictures. A file without a video
            track is no clip, but music.
        source: A hash that is the same when the post is asked for again, and differs for another picture.
    """

    number: int
    stills: tuple[Rendition, ...]
    clips: tuple[Rendition, ...]
    source: str


def parse_pictures(aweme: Aweme) -> tuple[PostPicture, ...]:
    """Return the pictures of a photo post; empty for any other post."""
    music = _music_names(aweme)
    return tuple(_picture(number, photo, music) for number, photo in enumerate(_photos(aweme), start=1))


def count_clips(aweme: Aweme) -> int:
    """Return how many pictures of a photo post have a moving half."""
    music = _music_names(aweme)
    return sum(bool(_clips(photo.video, music)) for photo in _photos(aweme))


def order_stills(stills: Iterable[Rendition], quality: Quality) -> tuple[Rendition, ...]:
    """Return the files of a picture, the first choice for a quality first.

    The formats are those that the extensions of the links name: "compatible" prefers JPEG, "smallest" WebP; "best"
    prefers the largest area.
    """

    def rank(still: Rendition) -> tuple[int, ...]:
        if quality == "best":
            return (-still.width * still.height,)
        return quality == "smallest" and still.codec != "webp", _COMPATIBLE.index(still.codec)

    return tuple(sorted(stills, key=rank))


def parse_stills(addresses: Iterable[Address], kind: FileKind = "picture") -> tuple[Rendition, ...]:
    """Return the files that addresses of pictures name, each with the mirrors that have its format."""
    return tuple(still for address in addresses for still in _by_format(address, kind))


def _photos(aweme: Aweme) -> list[Photo]:
    return aweme.image_post_info.images or aweme.images


def _music_names(aweme: Aweme) -> set[str]:
    return _names(aweme.video.play_addr) | (_names(aweme.music.play_url) if aweme.music else set())


def _by_format(address: Address, kind: FileKind) -> list[Rendition]:
    mirrors: dict[str, list[str]] = {}
    for url in address.url_list:
        path = _path(url)
        if not _WATERMARK.search(path):
            extension = _EXTENSION.search(path)
            mirrors.setdefault(_FORMATS[extension[1].lower()] if extension else "", []).append(url)
    width, height = address.width or 0, address.height or 0
    return [
        Rendition(name, width, height, 0, None, "", tuple(urls), link_expiry(urls), kind=kind)
        for name, urls in mirrors.items()
    ]


def _picture(number: int, photo: Photo, music: set[str]) -> PostPicture:
    places = [photo.display_image, *(size.bitrate_image for size in photo.bitrate_images), photo]
    stills = parse_stills(places)
    names = (*(place.uri for place in places), *(_file_name(url) for still in stills for url in still.urls))
    source = next(filter(None, names), "")
    return PostPicture(
        number,
        stills,
        _clips(photo.video, music),
        hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )


def _clips(video: Video, music: set[str]) -> tuple[Rendition, ...]:
    """The files of the moving half of a picture; a plain picture can have the music of the post in its place."""
    if _names(video.play_addr) & music:
        return ()
    if video.play_addr_h264.url_list:
        video = video.model_copy(update={"play_addr": video.play_addr_h264})
    files = [replace(file, kind="clip") for file in parse_renditions(video) if file.tracks != "sound"]
    return tuple(sorted(files, key=lambda file: (file.tracks != "both", file.codec != "h264")))


def _names(address: Address) -> set[str]:
    """What tells a file from others, whatever its host and signature."""
    return {address.uri, *map(_file_name, address.url_list)} - {""}


def _file_name(url: str) -> str:
    """The name of a file in a link, without the size that is asked for; "" for a link that only redirects to it."""
    path = _path(url).rstrip("/")
    return "" if path.endswith(("/aweme/v1/play", "/aweme/v1/playwm")) else path.rpartition("/")[2].partition("~")[0]


def _path(url: str) -> str:
    match = _PATH.match(url)
    return unquote(match[1]) if match else ""
