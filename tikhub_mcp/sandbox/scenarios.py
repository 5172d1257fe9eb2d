"""The table of scenarios that the sandbox can play, and the links to them.

A link to the post 7000000000000000NNN selects the scenario with that number, on either platform. Any other id is an
available video with its own counts. The code of a short link is `demo` and the scenario's name in camel case, as in
`https://v.douyin.com/demoFriendsOnly/`; any other code is an available video, the same one every time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tikhub_mcp.sandbox.clips import md5

_LINKS = {
    "tiktok": re.compile(r"https://(?:[\w-]+\.)*(?:tiktok\.com|tiktokv\.(?:com|us|eu))/(\S*)"),
    "douyin": re.compile(r"https://(?:[\w-]+\.)*(?:douyin|iesdouyin|amemv)\.com/(\S*)"),
}
_SHORT = re.compile(r"https://(?:v\.douyin\.com|v[mt]\.tiktok\.com|(?:www\.)?tiktok\.com/t)/([\w-]+)/?(?:\?\S*)?")
_ID = re.compile(r"(?<![^/=])\d{5,25}(?![\w-])")
_MUSIC = ("music",)  # the clip in the `play_addr` of a photo post
_FILES = ("h264_large", "h264", "h265")  # the usual clips
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>cloudflare</p></body></html>"


@dataclass(frozen=True)
class Photos:
    """The pictures of a photo post; pictures are named by their numbers, from 1."""

    count: int = 3
    moving: tuple[int, ...] = ()  # those that have a moving half
    clip: str = "h264"  # the file in it
    with_music: tuple[int, ...] = ()  # those that have the music in its place
    broken: tuple[int, ...] = ()  # those that the CDN refuses until the sandbox is repaired
    without_link: tuple[int, ...] = ()  # those that are there with a watermark only
    music_link: bool = True  # whether the post's `music` has a link


@dataclass(frozen=True)
class Scenario:
    """How the sandbox answers requests for one post; the defaults are a video that can be downloaded."""

    number: int
    name: str
    platform: str  # the default platform of `link`
    what: str
    shape: str = "video"  # the template in shapes.json; "" gives an answer without data
    other: str = ""  # the id in the answer, if it differs from the requested one
    clips: tuple[str, ...] = _FILES
    variants: tuple[str, str, str] = ("ok", "ok", "ok")  # how the two mirrors and the play API serve files
    affected: str = "video"  # the files that `variants` is about: also picture, clip, music, captions or cover
    cover: tuple[str, ...] = (".webp", ".jpeg")  # the formats of the cover
    dead: tuple[str, ...] = ()  # the clips that every mirror refuses
    photos: Photos = Photos()
    status: int = 200
    said: str = ""  # TikHub's message, if it is not the usual one of `status`
    retry_after: str = ""
    page: str = ""  # the body, if it is not JSON
    half: bool = False  # the body ends in the middle
    delay: float = 0.0  # seconds before the response
    stale: bool = False  # the media links have expired
    params: bool = True  # whether the answer repeats the link
    once: bool = False  # `status` and `stale` apply to the first request only

    @property
    def post_id(self) -> str:
        """The post id that selects the scenario."""
        return f"7000000000000000{self.number:03}"

    @property
    def short_code(self) -> str:
        """The code of the short link to the scenario."""
        return "demo" + self.name.title().replace("_", "")


# How the files of one kind are served, whatever the kind.
_SERVED = (
    ("first_refused", "the first mirror answers 403 for each {}", ("refused", "ok", "ok")),
    ("refused", "every mirror answers 403 for each {}", ("refused",) * 3),
    ("page", "a web page, labelled as the file, in the place of each {}", ("page",) * 3),
    ("short", "two thirds of each {}, as if that were all of it", ("short",) * 3),
    ("unsized", "the size of each {} is not given", ("unsized",) * 3),
)


def _affected(base: Scenario) -> Iterator[Scenario]:
    """Yield the scenarios in which the files of the kind that is the base's name are not served well."""
    kind = base.name
    for number, (name, what, variants) in enumerate(_SERVED, base.number):
        words = f"{base.what}; {what.format('file with captions' if kind == 'captions' else kind)}"
        yield replace(base, number=number, name=f"{kind}_{name}", what=words, variants=variants, affected=kind)


_GOOD = Scenario(0, "good", "tiktok", "a good video")
SCENARIOS = (
    Scenario(1, "tiktok", "tiktok", "a video: H.264 in two sizes, H.265, a watermarked copy"),
    Scenario(2, "douyin", "douyin", "a video: H.264 in play_addr alone, H.265 in the rest; no plays reported"),
    Scenario(3, "h265", "tiktok", "a video in H.265 only", clips=("h265",)),
    Scenario(4, "silent", "tiktok", "a video in H.265 only, without sound", clips=("h265_silent",)),
    Scenario(5, "photos", "tiktok", "photos; play_addr is the music", shape="photos", clips=_MUSIC, photos=Photos(9)),
    Scenario(6, "album", "douyin", "photos; play_addr is the music", shape="photos", clips=_MUSIC),
    Scenario(7, "many_photos", "tiktok", "35 photos", shape="photos", clips=_MUSIC, photos=Photos(35)),
    Scenario(
        8,
        "moving_photos",
        "douyin",
        "photos, two of which move, and one with the music in the place of a clip",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(4, moving=(2, 3), with_music=(4,)),
    ),
    Scenario(
        9,
        "photos_with_hidden_music",
        "douyin",
        "photos; the music is in play_addr alone",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(2, music_link=False),
    ),
    Scenario(
        49,
        "broken_photo",
        "tiktok",
        "photos, one of which is refused until the sandbox is repaired",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(3, broken=(2,)),
    ),
    Scenario(
        50,
        "no_photos",
        "tiktok",
        "a photo post without pictures in the answer",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(0),
    ),
    Scenario(
        51,
        "expired_photos",
        "douyin",
        "photos whose links have expired; a second call gets fresh ones",
        shape="photos",
        clips=_MUSIC,
        stale=True,
        once=True,
    ),
    Scenario(
        52,
        "expired_photos_always",
        "tiktok",
        "photos whose links have expired, however often they are asked for",
        shape="photos",
        clips=_MUSIC,
        stale=True,
    ),
    Scenario(
        53,
        "photo_without_link",
        "tiktok",
        "photos, one of which is there with a watermark only",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(3, without_link=(2,)),
    ),
    Scenario(
        54,
        "encrypted_clip",
        "douyin",
        "photos, one of which has an encrypted moving half",
        shape="photos",
        clips=_MUSIC,
        photos=Photos(3, moving=(2,), clip="encrypted"),
    ),
    Scenario(
        55,
        "wrong_photos",
        "tiktok",
        "another photo post comes back",
        shape="photos",
        clips=_MUSIC,
        other="7300000000000000001",
    ),
    Scenario(56, "heic_cover", "tiktok", "a video whose cover is there in HEIC only", cover=(".heic", ".heic")),
    *_affected(Scenario(100, "picture", "tiktok", "photos", shape="photos", clips=_MUSIC)),
    *_affected(
        Scenario(110, "clip", "douyin", "photos, two of which move", "photos", clips=_MUSIC, photos=Photos(3, (1, 3)))
    ),
    *_affected(Scenario(120, "music", "tiktok", "photos with music", shape="photos", clips=_MUSIC)),
    *_affected(Scenario(130, "captions", "tiktok", "a video with captions")),
    *_affected(Scenario(140, "cover", "tiktok", "a video with a cover")),
    Scenario(10, "private", "douyin", "200 without the post: private (reason 5)", shape="private"),
    Scenario(11, "friends_only", "tiktok", "200 without the post: visible to some (reason 10)", shape="friends_only"),
    Scenario(12, "blocked", "douyin", "200 without the post: copyright (reason 8)", shape="blocked"),
    Scenario(13, "gone_on_tiktok", "tiktok", "200 without the post: statusCode 10204", shape="gone_on_tiktok"),
    Scenario(14, "gone_on_douyin", "douyin", "200 without the post: status_code 2053", shape="gone_on_douyin"),
    Scenario(15, "empty", "douyin", "200 without the post or a reason", shape="nothing"),
    Scenario(16, "no_details", "tiktok", "200 with an empty list of posts", shape="nothing"),
    Scenario(17, "null_data", "douyin", "200 with code 400 and no data", shape=""),
    Scenario(18, "deleted", "tiktok", "the post is there, and says that it was deleted", shape="deleted"),
    Scenario(19, "no_addresses", "douyin", "a video without an address", shape="no_addresses"),
    Scenario(21, "removed", "douyin", "200 without the post: removed (core_dep)", shape="removed"),
    Scenario(22, "under_review", "douyin", "200 without the post: under review", shape="under_review"),
    Scenario(23, "story_ended", "douyin", "200 without the post: a daily story that ended", shape="story_ended"),
    Scenario(24, "self_see", "tiktok", "200 without the post: private (statusMsg)", shape="self_see"),
    Scenario(25, "region", "tiktok", "200 without the post: blocked in the region", shape="region"),
    Scenario(26, "new_reason", "douyin", "200 without the post: a reason that is new", shape="new_reason"),
    Scenario(27, "other_form", "douyin", "200 with a list of posts", shape="list"),
    Scenario(28, "several_posts", "tiktok", "three posts in one answer", shape="several"),
    Scenario(29, "no_author_counts", "tiktok", "a video whose author's counts are all 0", shape="no_author_counts"),
    Scenario(48, "no_params", "tiktok", "a video; the answer does not say what was asked for", params=False),
    Scenario(20, "wrong_post", "tiktok", "another post comes back", other="7300000000000000000"),
    Scenario(30, "failed_once", "tiktok", "400 once, then the video", status=400, once=True),
    Scenario(31, "failed", "douyin", "400 always", status=400),
    Scenario(32, "bad_key", "tiktok", "401, echoing the key", status=401),
    Scenario(33, "no_balance", "douyin", "402, echoing the key", status=402),
    Scenario(34, "no_scope", "tiktok", "403, echoing the key", status=403),
    Scenario(35, "firewall", "douyin", "403 from a firewall, as text", status=403, page="error code: 1010"),
    Scenario(36, "not_found", "tiktok", "404", status=404),
    Scenario(37, "rejected", "douyin", "422, its detail a list", status=422),
    Scenario(38, "busy_once", "tiktok", "429 for 1 s once, then the video", status=429, retry_after="1", once=True),
    Scenario(39, "busy", "douyin", "429 for an hour", status=429, retry_after="3600"),
    Scenario(40, "error_once", "tiktok", "500 once, then the video", status=500, once=True),
    Scenario(41, "unavailable", "douyin", "503 always", status=503),
    Scenario(42, "timed_out", "tiktok", "522 as a web page", status=522, page=_HTML.format("522: Timed out")),
    Scenario(43, "slow", "douyin", "the video, after 2 s", delay=2.0),
    Scenario(44, "web_page", "tiktok", "200 with a web page", page=_HTML.format("Just a moment...")),
    Scenario(45, "half", "douyin", "200 with half of the JSON", half=True),
    Scenario(46, "unverified", "tiktok", "403, the e-mail is not verified", status=403, said="Email not verified."),
    Scenario(47, "disabled", "douyin", "403, the account is disabled", status=403, said="User account is disabled."),
    Scenario(60, "first_refused", "tiktok", "the first mirror answers 403", variants=("refused", "ok", "ok")),
    Scenario(61, "all_refused", "douyin", "every mirror answers 403", variants=("refused",) * 3),
    Scenario(62, "expired", "tiktok", "links that have expired; a second call gets fresh ones", stale=True, once=True),
    Scenario(66, "expired_always", "tiktok", "links that have expired, however often it is asked for", stale=True),
    Scenario(63, "page_as_video", "douyin", "a web page labelled video/mp4", variants=("page",) * 3),
    Scenario(64, "short_file", "tiktok", "two thirds of the file, as if that were all of it", variants=("short",) * 3),
    Scenario(65, "unsized", "douyin", "a file whose size is not given", variants=("unsized",) * 3),
    Scenario(70, "dash", "douyin", "a larger file marked as DASH, without sound", clips=(*_FILES, "h264_dash")),
    Scenario(
        71,
        "dash_link",
        "tiktok",
        "a larger file under /media-video-hvc1/, without sound",
        clips=("h264_large", "media-video-hvc1"),
    ),
    Scenario(72, "dead_file", "tiktok", "the best file is gone, the next is there", dead=("h264_large",)),
    Scenario(73, "sound_only", "douyin", "the best file is only sound", clips=("sound", "h264", "h265")),
    Scenario(74, "encrypted", "tiktok", "the best file is encrypted", clips=("encrypted", "h264", "h265")),
    Scenario(75, "all_encrypted", "douyin", "the only file is encrypted", clips=("encrypted",)),
    Scenario(76, "h266", "douyin", "a larger file in H.266, marked by flags alone", clips=(*_FILES, "h266")),
)
# What a key ends in for which one platform's endpoint is refused, with the status.
PARTIAL_KEYS = {
    f"-no-{what}-{platform}": (platform, status)
    for platform in _LINKS
    for what, status in (("credit", 402), ("scope", 403))
}
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_BY_ID = {scenario.post_id: scenario for scenario in SCENARIOS}
_BY_CODE = {scenario.short_code: scenario for scenario in SCENARIOS}


def of(post_id: str) -> Scenario:
    """Return the scenario of a post."""
    return _BY_ID.get(post_id, _GOOD)


def refused_status(key: str, platform: str) -> int:
    """Return the status with which a key is refused for one platform; 0 when it is accepted."""
    statuses = (status for end, (refused, status) in PARTIAL_KEYS.items() if key.endswith(end) and refused == platform)
    return next(statuses, 0)


def link(name: str, platform: str = "") -> str:
    """Return the link of a scenario, by default on the scenario's platform."""
    scenario = _BY_NAME[name]
    return _link(platform or scenario.platform, scenario.post_id, photos=scenario.shape == "photos")


def short_link(name: str, platform: str = "") -> str:
    """Return the short link of a scenario, by default on the scenario's platform."""
    scenario = _BY_NAME[name]
    host = {"tiktok": "vm.tiktok.com", "douyin": "v.douyin.com"}[platform or scenario.platform]
    return f"https://{host}/{scenario.short_code}/"


def good_links(count: int, platform: str = "tiktok") -> list[str]:
    """Return `count` links to different available videos."""
    return [_link(platform, str(71 * 10**17 + number)) for number in range(count)]


def post_id(platform: str, share_url: str) -> str | None:
    """Return the id of the post that a link leads to; None when the link is of another platform or not to a post."""
    match = _LINKS[platform].fullmatch(share_url)
    if match and (short := _SHORT.fullmatch(share_url)):
        scenario = _BY_CODE.get(short[1])
        return scenario.post_id if scenario else f"72{int(md5(short[0].encode())[:16], 16) % 10**17:017}"
    found = _ID.search(match[1]) if match else None
    return found[0] if found else None


def _link(platform: str, post_id: str, *, photos: bool = False) -> str:
    site, album = {"tiktok": ("tiktok.com/@sandbox", "photo"), "douyin": ("douyin.com", "note")}[platform]
    return f"https://www.{site}/{album if photos else 'video'}/{post_id}"
