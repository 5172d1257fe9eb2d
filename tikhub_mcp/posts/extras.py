"""What a post has beside its video or its pictures: music, a cover and captions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tikhub_mcp.posts.aweme import Address, Aweme, CaptionInfo, Video
from tikhub_mcp.posts.pictures import order_stills, parse_stills
from tikhub_mcp.posts.renditions import Rendition, link_expiry, parse_renditions

Extra = Literal["music", "cover", "captions"]

_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,16}", re.ASCII)
_UNKNOWN_LANGUAGE = "und"  # ISO 639-2: undetermined


@dataclass(frozen=True, slots=True)
class Caption:
    """The captions of a video in one language.

    Attributes:
        language: The language's code, which is safe in a file name and differs from those of the other captions.
        is_original: Whether it is the language that is spoken.
        is_auto_generated: Whether a machine wrote them.
        file: The file.
    """

    language: str
    is_original: bool
    is_auto_generated: bool
    file: Rendition


def parse_music(aweme: Aweme, *, is_photo_post: bool) -> tuple[Rendition, ...]:
    """Return the files of the post's music, the first choice first; a photo post may have it as its `video` alone."""
    files = [_file("", aweme.music.play_url)] if aweme.music else []
    if is_photo_post:
        files += [replace(file, kind="sound") for file in parse_renditions(aweme.video)]
    return tuple({file.urls: file for file in files if file.urls}.values())


def parse_covers(video: Video) -> tuple[Rendition, ...]:
    """Return the files of the cover, the first choice first; those in HEIC, which few programs open, come last."""
    return order_stills(parse_stills([video.cover, video.origin_cover], "cover"), "compatible")


def parse_captions(video: Video) -> tuple[Caption, ...]:
    """Return the captions in WebVTT, each language once; those that are given in another format are left out."""
    infos = [info for info in video.cla_info.caption_infos if info.caption_format.lower() in ("webvtt", "")]
    taken: set[str] = set()
    return tuple(caption for info in infos if (caption := _caption(info, taken)))


def _caption(info: CaptionInfo, taken: set[str]) -> Caption | None:
    urls = list(dict.fromkeys([*info.url_list, *([info.url] if info.url.startswith(("https://", "http://")) else [])]))
    if not urls:
        return None
    language = next(name for name in _languages(info) if name.lower() not in taken)  # names of files may ignore case
    taken.add(language.lower())
    file = _file("webvtt", Address(url_list=urls))
    file = replace(file, kind="caption", expires=link_expiry(urls) or info.expire)
    return Caption(language, info.is_original_caption, info.is_auto_generated, file)


def _languages(info: CaptionInfo) -> Iterator[str]:
    """The names that the captions may have, the best first: several may be in one language."""
    given = [code for code in (info.language_code, info.lang) if _LANGUAGE.fullmatch(code)]
    yield from given
    first = (given or [_UNKNOWN_LANGUAGE])[0]
    yield first
    number = 2
    while True:
        yield f"{first[:13]}-{number}"
        number += 1


def _file(form: str, address: Address) -> Rendition:
    urls = tuple(address.url_list)
    return Rendition(form, 0, 0, 0, address.data_size or None, "", urls, link_expiry(urls), kind="sound")
