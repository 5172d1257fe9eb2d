"""The files of a post, and those of its video: every file once, with its codec, its size and all its mirrors."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote

from tikhub_mcp.posts.aweme import MAX_RENDITIONS, Address, Gear, Video

Quality = Literal["compatible", "best", "smallest"]
Tracks = Literal["both", "picture", "sound"]
# What a file has to be. A clip is the moving half of a picture: a video only if the file has a video track. A cover is
# a picture that most programs open.
FileKind = Literal["video", "picture", "cover", "clip", "sound", "caption"]

_URL_KEY = re.compile(r"_(h264|bytevc1|bytevc2)_(?:(\d{3,4})p_)?(\d{1,12}(?!\d))?", re.ASCII)
_CODECS = {"h264": "h264", "bytevc1": "h265", "bytevc2": "h266"}
_FLAGGED = ("h264", "h265", "h266")  # by the value of a codec flag
_ONE_TRACK = re.compile(r"(?<!:/)/media-(video|audio)-")  # in the path or the query of a link
# The Unix time at which a CDN link expires: in hex in its path (videos), or in its query (pictures and signed music).
_EXPIRY = re.compile(r"/[0-9a-f]{32}/([0-9a-f]{8})/|[?&]x-expires=(\d{9,11})(?!\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file of a post, with all its mirrors.

    Attributes:
        codec: Of a video "h264" or "h265"; of another file its format as its links tell; "" when unknown.
        width: In pixels; 0 when unknown.
        height: In pixels; 0 when unknown.
        bit_rate: In bits per second; 0 when unknown.
        size: In bytes; None when unknown.
        file_hash: The MD5 of the file in lower-case hex; "" when unknown.
        urls: The links, one per mirror.
        expires: When the links expire, in Unix seconds; None when unknown.
        tracks: What the answer says that a video contains.
        kind: What the file has to be.
    """

    codec: str
    width: int
    height: int
    bit_rate: int
    size: int | None
    file_hash: str
    urls: tuple[str, ...]
    expires: int | None
    tracks: Tracks = "both"
    kind: FileKind = "video"

    @property
    def side(self) -> int:
        """The shorter side in pixels: 720 for "720p"."""
        return min(self.width, self.height)


def parse_renditions(video: Video) -> Iterator[Rendition]:
    """Yield every playable file of a video once: several fields name the same file, and `bit_rate` may lack one."""
    places: list[tuple[Address, str, int | None]] = [(video.play_addr, _flagged(video), None)]
    places += [(video.play_addr_h264, "h264", None)]
    places += [(address, "h265", None) for address in (video.play_addr_265, video.play_addr_bytevc1)]
    places += [(gear.play_addr, _flagged(gear), gear.bit_rate) for gear in video.bit_rate]
    h266 = {_identity(gear.play_addr) for gear in video.bit_rate if _flagged(gear) == "h266"}
    dash = {_identity(gear.play_addr) for gear in video.bit_rate if gear.format.lower() == "dash"}
    files: dict[object, Rendition] = {}
    for address, codec, bit_rate in places[:MAX_RENDITIONS]:
        file, same = _rendition(address, codec, bit_rate, video.cdn_url_expired), _identity(address)
        if file.urls and file.codec != "h266" and same not in h266:  # ByteDance's own, which no player supports
            files.setdefault(same, replace(file, tracks="picture") if same in dash and file.tracks == "both" else file)
    yield from files.values()


def link_expiry(urls: Iterable[str]) -> int | None:
    """Return when the last of the links expires, in Unix seconds; None if none of them says so."""
    ends = [int(end[1], 16) if end[1] else int(end[2]) for end in map(_EXPIRY.search, urls) if end]
    return max(ends, default=None)


def _identity(address: Address) -> object:
    """What is equal for two addresses of the same file; a file with sound and one without may share the `url_key`."""
    if address.url_key or (address.uri and address.data_size):
        return address.url_key or address.uri, address.data_size
    return tuple(address.url_list)


def _flagged(marked: Video | Gear) -> str:
    """The codec according to the flags, which count where the `url_key` does not name it, except for H.266."""
    return _FLAGGED[min(max(marked.is_h265, marked.is_bytevc1), 2)]


def _rendition(address: Address, codec: str, bit_rate: int | None, expires: int | None) -> Rendition:
    key = _URL_KEY.search(address.url_key)
    side = int(key[2] or 0) if key else 0
    return Rendition(
        codec=_CODECS[key[1]] if key else codec,
        width=address.width or side,
        height=address.height or side,
        bit_rate=bit_rate or (int(key[3] or 0) if key else 0),
        size=address.data_size or None,
        file_hash=address.file_hash.lower(),
        urls=tuple(address.url_list),
        expires=link_expiry(address.url_list) or expires or None,
        tracks=_tracks(address.url_list),
    )


def _tracks(urls: list[str]) -> Tracks:
    """What the links say that the file contains."""
    marks = {mark[1] for url in urls if "media-" in url and (mark := _ONE_TRACK.search(unquote(url)))}
    return "sound" if "audio" in marks else "picture" if marks else "both"
