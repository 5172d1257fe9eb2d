"""Builds answers in TikHub's format from the templates in `shapes.json`: posts, answers without a post, and errors.

The content is invented. The counts of a post are derived from its id, so they are the same every time.
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from tikhub_mcp.sandbox.clips import Clip, cdn_path, md5, sign
from tikhub_mcp.sandbox.files import PHOTO_SIZE, file_path
from tikhub_mcp.sandbox.scenarios import Scenario

JsonValue: TypeAlias = Any

SHAPES: JsonValue = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))

_LOS_ANGELES = timezone(timedelta(hours=-8))  # the time zone of the field `time`


@dataclass(frozen=True)
class Order:
    """The post to put into an answer, and how its files are served."""

    platform: str
    post_id: str
    base_url: str
    expires: int  # Unix time at which every media link expires
    library: Mapping[str, Clip]
    scenario: Scenario

    def variants(self, kind: str) -> tuple[str, str, str]:
        """Return how CDN a, CDN b and the play API serve the files of a kind."""
        return self.scenario.variants if kind == self.scenario.affected else ("ok", "ok", "ok")

    def number(self, what: str, limit: int) -> int:
        """Return an integer from 0 to `limit` - 1 that depends only on the post's id and `what`."""
        return int(md5(f"{self.post_id} {what}".encode())[:16], 16) % limit


def envelope(path: str, share_url: str, data: JsonValue) -> JsonValue:
    """Return the complete answer around `data`; without data its `code` is 400, although the HTTP status is 200."""
    token = uuid.uuid4().hex
    cache_url = f"https://cache.tikhub.invalid/api/v1/cache/public/{token}?sign={md5(token.encode())}"
    return {**_head(200 if data else 400, path, share_url), "cache_url": cache_url, "data": data}


def error(status: int, path: str, share_url: str, headers: Mapping[str, str], said: str = "") -> JsonValue:
    """Return the body for a status other than 200; 401, 402 and 403 echo the request's headers with the key.

    Args:
        status: The status.
        path: The endpoint.
        share_url: The link that was requested.
        headers: The headers of the request.
        said: The message; empty for the usual one of the status.
    """
    echo = {"headers": dict(headers)} if status in (401, 402, 403) else {}
    words = {"message": said, "message_zh": said} if said else {}
    return {"detail": SHAPES.get(f"error_{status}") or {**_head(status, path, share_url), **words, **echo}}


def data(order: Order, shape: str) -> JsonValue:
    """Return the `data` of an answer.

    Args:
        order: The post.
        shape: The template in `shapes.json`: one under `found` gives a post, one under `missing` a reason.
    """
    now = int(time.time())
    log = {"extra": {"now": now * 1000, "fatal_item_ids": []}, "log": {"impr_id": uuid.uuid4().hex}}
    if shape in SHAPES["missing"]:
        return _fill({**SHAPES[f"{order.platform}_missing"], **SHAPES["missing"][shape]}, {**log, "id": order.post_id})
    values = {**_words(order), **_numbers(order), **_media(order)}
    post = _fill({**SHAPES["post"], **SHAPES["found"][shape]}, values)
    number = int(order.post_id)
    more = {name: {**post, "aweme_id": str(number + add)} for name, add in (("second", 10**6), ("third", 2 * 10**6))}
    found = SHAPES["several_found" if shape == "several" else f"{order.platform}_found"]
    return _fill(found, {**log, **more, "post": post})


def _head(code: int, path: str, share_url: str) -> JsonValue:
    message, message_zh = SHAPES["messages"].get(str(code), SHAPES["messages"]["500"])
    now = time.time()
    return {
        "code": code,
        "request_id": str(uuid.uuid4()),
        "message": message,
        "message_zh": message_zh,
        "support": "Answered by the sandbox of tikhub-mcp: invented, and free of charge.",
        "time": datetime.fromtimestamp(now, _LOS_ANGELES).strftime("%Y-%m-%d %H:%M:%S"),
        "time_stamp": int(now),
        "time_zone": "America/Los_Angeles",
        "router": path,
        "params": {"share_url": share_url},
    }


def _fill(shape: JsonValue, values: Mapping[str, JsonValue]) -> JsonValue:
    """Return the template with every `$name` replaced by its value."""
    match shape:
        case str() if shape.startswith("$"):
            return values[shape[1:]]
        case list():
            return [_fill(item, values) for item in shape]
        case dict():
            return {key: _fill(item, values) for key, item in shape.items()}
    return shape


def _words(order: Order) -> dict[str, JsonValue]:
    nickname, handle, caption, tags = SHAPES["texts"][int(order.post_id) % len(SHAPES["texts"])]
    tiktok = order.platform == "tiktok"
    return {
        "id": order.post_id,
        "nickname": nickname,
        "handle": handle,
        "desc": " ".join([caption, *(f"#{tag}" for tag in tags)]),
        "text_extra": [{"hashtag_name": tag, "type": 1, "is_commerce": False} for tag in tags],
        "music_title": f"original sound - {nickname}",
        "sec_uid": f"MS4wLjABAAAA{md5(order.post_id.encode())}",
        "region": "NO" if tiktok else "CN",
        "aigc_info": {"aigc_label_type": 0, "created_by_ai": False} if tiktok else None,
    }


def _numbers(order: Order) -> dict[str, JsonValue]:
    plays = order.number("plays", 5_000_000) + 1000
    parts = {"diggs": 12, "collects": 40, "shares": 90, "comments": 150, "downloads": 400}
    others = {"followers": 2_000_000, "following": 900, "posts": 700, "music_users": 4000}
    music_id = f"69{order.number('music', 10**17):017}"
    return {
        "plays": plays,
        **{name: order.number(name, plays // part) for name, part in parts.items()},
        **{name: order.number(name, limit) for name, limit in others.items()},
        # Douyin does not report these two and gives 0.
        **({"plays": 0, "followers": 0} if order.platform == "douyin" else {}),
        "create_time": 1_700_000_000 + order.number("create_time", 40_000_000),
        "uid": f"68{order.number('uid', 10**14):014}",
        "music_id": music_id,
        "music_number": int(music_id),
        "music_links": [_small(order, "music", f"{music_id}.m4a", mirror) for mirror in "ab"]
        if order.scenario.photos.music_link
        else [],
    }


def _media(order: Order) -> dict[str, JsonValue]:
    clips = [order.library[name] for name in order.scenario.clips]
    main = clips[0]
    best = {clip.codec: _address(order, clip) for clip in reversed(clips)}  # the best of a codec comes first in clips
    gears = {clip.name: _gear(order, clip) for clip in clips}
    cover = _picture(order, "cover", order.scenario.cover, "cover")
    values = {
        "expires": order.expires,
        "duration": main.duration_ms,
        "seconds": main.duration_ms // 1000,
        "width": main.width,
        "height": main.height,
        "ratio": f"{main.width}p",
        "is_h265": int(main.codec == "bytevc1"),
        "main": best[main.codec],
        "h264": best.get("h264"),
        "h265": best.get("bytevc1"),
        "gears": list(gears.values()),
        "other_gears": [gears[clip.name] for clip in clips if clip.codec != "h264" or clip.format == "dash"],
        # As on the platforms, these are not the real width and height of the file.
        "watermarked": {**_address(order, main, variant="watermark"), "width": 720, "height": 720},
        "cover": cover,
        "captions": {
            "caption_infos": [_caption(order, *language) for language in (("en", "eng-US"), ("de", "deu-DE"))]
        },
        "music_only": {"play_addr": best[main.codec], "cover": cover, "duration": 0},
    }
    return {**values, **_photos(order), "video": _fill(SHAPES[f"{order.platform}_video"], values)}


def _photos(order: Order) -> dict[str, JsonValue]:
    """The pictures of a photo post, as the platforms give them; every one is offered with a watermark as well."""
    numbers = range(1, order.scenario.photos.count + 1)
    if order.platform == "douyin":
        images = [_picture(order, number, (".heic", ".jpeg")) | {"video": _moving(order, number)} for number in numbers]
        images = [image | {"download_url_list": [_small(order, "watermark", "water.jpeg")]} for image in images]
        return {"photo_type": 68, "images": images, "photo_info": None}
    shown = [_picture(order, number, (".webp", ".webp", ".jpeg")) for number in numbers]
    marked = _picture(order, "water", (".jpeg",), "watermark")
    photos = [{"display_image": image, "owner_watermark_image": marked} for image in shown]
    return {"photo_type": 150, "images": None, "photo_info": {"title": "", "images": photos}}


def _picture(order: Order, number: int | str, extensions: tuple[str, ...], kind: str = "picture") -> JsonValue:
    width, height = PHOTO_SIZE
    variant = "broken" if number in order.scenario.photos.broken else ""
    links = [
        _small(order, kind, f"{order.post_id}-{number}~tplv-q75{end}", "ab"[at % 2], variant)
        for at, end in enumerate(extensions)
        if number not in order.scenario.photos.without_link
    ]
    return {"uri": f"tos-sandbox/{order.post_id}-{number}", "url_list": links, "width": width, "height": height}


def _moving(order: Order, number: int) -> JsonValue:
    """What a picture has as its `video`: a clip, the music of the post, or nothing."""
    photos = order.scenario.photos
    name = photos.clip if number in photos.moving else "music" if number in photos.with_music else None
    if name is None:
        return None
    uri = f"v0moving{order.post_id[-3:]}{number}"
    return {"duration": 2917, "play_addr": _address(order, order.library[name], "clip") | {"uri": uri, "url_key": uri}}


def _caption(order: Order, code: str, lang: str) -> JsonValue:
    links = [_small(order, "captions", f"{order.post_id}-{code}.vtt", mirror) for mirror in "ab"]
    return {
        "caption_format": "webvtt",
        "lang": lang,
        "language_code": code,
        "is_auto_generated": True,
        "is_original_caption": code == "en",
        "expire": order.expires,
        "url": links[0],
        "url_list": links,
    }


def _small(order: Order, kind: str, name: str, mirror: str = "a", variant: str = "") -> str:
    variant = variant or order.variants(kind)["ab".index(mirror)]
    return order.base_url + file_path(mirror, f"{order.expires:08x}", variant, name)


def _gear(order: Order, clip: Clip) -> JsonValue:
    flag = {"bytevc1": 1, "bytevc2": 2}.get(clip.codec, 0)
    name = f"{'adapt' if flag else 'normal'}_{clip.width}_0"
    gear = {"gear_name": name, "quality_type": 20, "bit_rate": clip.bit_rate, "is_h265": flag, "is_bytevc1": flag}
    return {**gear, "FPS": 30, "HDR_type": "", "format": clip.format, "play_addr": _address(order, clip)}


def _address(order: Order, clip: Clip, kind: str = "", *, variant: str = "") -> JsonValue:
    uri = f"v0sandbox{md5(order.post_id.encode())[:20]}"
    size = len(clip.content)
    variants = order.variants(kind or ("video" if clip.codec else "music"))
    if variant or clip.name in order.scenario.dead:
        variants = (variant or "refused",) * 3
    known = {"data_size": size, "file_hash": clip.md5, "file_cs": f"c:0-{size}-{clip.md5[:4]}"}
    return {
        "uri": uri,
        "url_list": _mirrors(order, clip, *variants),
        "width": clip.width,
        "height": clip.height,
        "url_key": _url_key(order, clip, uri),
        **({} if "unsized" in variants else known),
    }


def _url_key(order: Order, clip: Clip, uri: str) -> str:
    if clip.codec == "bytevc2":  # some answers mark a file in H.266 by its gear's flags alone
        return ""
    return f"{uri}_{clip.codec}_{clip.width}p_{clip.bit_rate}" if clip.codec else order.post_id


def _mirrors(order: Order, clip: Clip, a: str, b: str, play: str) -> list[str]:
    """Return two links to the CDN, and one to the play API, which redirects to the CDN."""
    expires = f"{order.expires:08x}"
    tail = "?a=1233&br=1820&mime_type=video_mp4&btag=e000b8000"
    cdn = [cdn_path(mirror, expires, variant, clip.name) + tail for mirror, variant in (("a", a), ("b", b))]
    query = {"video_id": order.post_id, "line": 0, "is_play_url": 1, "source": "FEED", "clip": clip.name}
    query |= {"variant": play, "expires": expires, "signature": sign(expires, play, clip.name)}
    return [order.base_url + link for link in (*cdn, f"/aweme/v1/play/?{urlencode(query)}")]
