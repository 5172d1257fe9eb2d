"""pictures.py: the files of the pictures of a photo post, and which of them is taken."""

import pytest

from tests.support.payloads import ANSWERED, Object, address, douyin_post, envelope, photo_post
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.pictures import PostPicture, order_stills
from tikhub_mcp.posts.post import parse_post
from tikhub_mcp.posts.renditions import Quality

SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
DOUYIN = parse_link("https://v.douyin.com/madeup1/")
MUSIC = address("h264", uri="music-1", url_list=["https://music.example/obj/77.mp3?x-expires=1800000000"])


def links(*forms: str, name: str = "one") -> list[str]:
    return [f"https://img-{place}.example/tos/{name}~tplv:q75{form}?sign=1" for place, form in enumerate(forms)]


def tiktok(*images: Json, **over: Json) -> tuple[PostPicture, ...]:
    post = photo_post(image_post_info={"images": list(images)}, **over)
    return parse_post(envelope(post), SHORT, ANSWERED).pictures


def douyin(*images: Json, **over: Json) -> tuple[PostPicture, ...]:
    post = douyin_post(images=list(images), aweme_type=68, **over)
    return parse_post(envelope(post, douyin=True), DOUYIN, ANSWERED).pictures


def image(*forms: str, **over: Json) -> Object:
    return {"uri": "tos/one", "url_list": links(*forms), "width": 1080, "height": 1440} | over


@pytest.mark.parametrize(
    ("forms", "quality", "first"),
    [
        ((".webp", ".webp", ".jpeg"), "compatible", ".jpeg"),
        ((".heic", ".JPG"), "compatible", ".JPG"),
        ((".heic", ".webp", ".png"), "compatible", ".png"),
        ((".heic", ".image", ".webp"), "compatible", ".webp"),
        ((".heic", ".image"), "compatible", ".image"),
        ((".heic",), "compatible", ".heic"),
        ((".heic", ".jpeg"), "best", ".heic"),
        ((".webp", ".webp", ".jpeg"), "best", ".webp"),
        ((".heic", ".jpeg", ".webp"), "smallest", ".webp"),
        ((".heic", ".jpeg"), "smallest", ".jpeg"),
    ],
)
def test_the_quality_decides_which_format_comes_first(forms: tuple[str, ...], quality: Quality, first: str) -> None:
    for (picture,) in (tiktok({"display_image": image(*forms)}), douyin(image(*forms))):
        stills = order_stills(picture.stills, quality)
        assert stills[0].urls == tuple(url for url in links(*forms) if first in url), "and has all its mirrors"
        assert sorted(url for still in stills for url in still.urls) == sorted(links(*forms)), "the others follow"
        assert {still.kind for still in stills} == {"picture"}


def test_best_takes_the_largest_area_of_all_sizes_and_of_equal_ones_the_first() -> None:
    sizes = [{"name": "s", "bitrate_image": image(".jpeg", width=720, height=960)}]
    sizes += [{"name": "l", "bitrate_image": image(form, width=1440, height=1920)} for form in (".webp", ".jpeg")]
    (picture,) = tiktok({"display_image": image(".webp"), "bitrate_images": [*sizes, None, 5]})
    best = order_stills(picture.stills, "best")
    assert [(still.width, still.codec) for still in best[:2]] == [(1440, "webp"), (1440, "jpeg")]


def test_a_picture_with_a_watermark_is_never_taken() -> None:
    marked = {name: image(".jpeg") for name in ("owner_watermark_image", "user_watermark_image")}
    (picture,) = tiktok({**marked, "download_url_list": links(".jpeg")})
    assert picture.stills == ()
    water = "https://img.example/tos/one~tplv-dy-water-v2:q75.webp?sign=1"
    (picture,) = douyin(image(".jpeg", url_list=[water], download_url_list=links(".jpeg")))
    assert picture.stills == ()


def test_pictures_keep_their_numbers_whatever_stands_between_them() -> None:
    found = tiktok({"display_image": image(".jpeg")}, None, "x", {"display_image": {"url_list": ["ftp://x/1.jpg"]}})
    assert [(picture.number, len(picture.stills)) for picture in found] == [(1, 1), (2, 0), (3, 0), (4, 0)]


def test_links_say_in_their_query_when_they_expire() -> None:
    urls = [
        f"https://img.example/one.jpeg?a=1&x-expires={ends}&x-signature=2" for ends in (1_800_000_000, 1_700_000_000)
    ]
    (picture,) = douyin(image(url_list=urls))
    assert picture.stills[0].expires == 1_800_000_000


@pytest.mark.parametrize("marks", [{"clip_type": 5, "live_photo_type": 1}, {"clip_type": 4, "live_photo_type": None}])
def test_a_picture_that_moves_is_told_by_its_address_and_keeps_its_still(marks: Object) -> None:
    moving = {"duration": 2917, "play_addr": {"url_list": ["https://v.example/1.mp4"]}}
    (picture,) = douyin(image(".jpeg", video=moving, **marks))
    assert [(clip.kind, clip.urls) for clip in picture.clips] == [("clip", ("https://v.example/1.mp4",))]
    assert len(picture.stills) == 1


def test_the_clip_in_play_addr_h264_comes_first() -> None:
    plain, h264 = ({"url_list": [f"https://v.example/{name}.mp4"]} for name in ("plain", "h264"))
    (picture,) = douyin(image(".jpeg", video={"is_h265": 1, "play_addr": plain, "play_addr_h264": h264}))
    assert picture.clips[0].urls == ("https://v.example/h264.mp4",)


@pytest.mark.parametrize(
    "same",
    [
        {"url_list": ["https://other.example/obj/77.mp3?x-expires=1900000000"]},
        {"uri": "music-1", "url_list": ["https://api.example/aweme/v1/play/?video_id=1"]},
    ],
)
@pytest.mark.parametrize("place", ["music", "video"])
def test_the_music_in_the_place_of_a_clip_is_no_clip(place: str, same: Object) -> None:
    over = {"music": {"play_url": MUSIC}} if place == "music" else {"video": {"play_addr": MUSIC}}
    (picture,) = douyin(image(".jpeg", video={"play_addr": same}), **over)
    assert picture.clips == ()


@pytest.mark.parametrize("name", ["play", "playwm"])
def test_links_of_the_play_api_alone_do_not_make_a_clip_the_music(name: str) -> None:
    play = {"url_list": [f"https://api.example/aweme/v1/{name}/?video_id=1"]}
    (picture,) = douyin(image(".jpeg", video={"play_addr": play}), video={"play_addr": {**play, "uri": "other"}})
    assert len(picture.clips) == 1


def test_a_picture_is_known_again_by_its_uri_or_its_name_and_not_by_its_signature() -> None:
    def source(**over: Json) -> str:
        return tiktok({"display_image": image(".jpeg", **over)})[0].source

    again = [url.replace("sign=1", "sign=2").replace(".jpeg", ".webp") for url in links(".jpeg")]
    assert source() == source(url_list=again) != source(uri="tos/two")
    assert source(uri="") == source(uri="", url_list=again) != source(uri="", url_list=links(".jpeg", name="two"))


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://[x/one.jpeg", "jpeg"),
        ("https://img.example/\ud800.jpeg", "jpeg"),
        ("https://img.example/one%2Ejpeg?x=.heic", "jpeg"),
        ("https://img.example/one.image", ""),
        ("https://img.example", ""),
        ("https://img.example?a=/one.jpeg", ""),
    ],
)
def test_odd_links_are_read_as_far_as_they_can_be(url: str, form: str) -> None:
    (picture,) = douyin(
        image(uri="\ud800" if "\ud800" in url else "", url_list=[url], video={"play_addr": {"url_list": [url]}})
    )
    assert [still.codec for still in picture.stills] == [form]
