"""extras.py: the music, the cover and the captions of a post; and the title of a photo post."""

from collections.abc import Callable

import pytest

from tests.support.payloads import ANSWERED, Object, address, envelope, photo_post, tiktok_post, video
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.post import Post, parse_post

SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
MUSIC = {"play_url": {"url_list": ["https://music.example/obj/77.mp3"]}}


def post(of: Object) -> Post:
    return parse_post(envelope(of), SHORT, ANSWERED)


def caption(code: Json = "en", lang: Json = "eng-US", **over: Json) -> Object:
    name = f"{code}-{lang}"
    return {
        "caption_format": "webvtt",
        "language_code": code,
        "lang": lang,
        "is_auto_generated": True,
        "is_original_caption": False,
        "expire": 1_800_000_000,
        "url": f"https://cla-a.example/{name}",
        "url_list": [f"https://cla-a.example/{name}", f"https://cla-b.example/{name}"],
    } | over


def captions(*infos: Json) -> Post:
    return post(tiktok_post(video=video(cla_info={"caption_infos": list(infos)})))


@pytest.mark.parametrize(
    ("made", "music", "hosts"),
    [
        (tiktok_post, MUSIC, ["music.example"]),
        (tiktok_post, {"title": "x"}, []),
        (tiktok_post, None, []),
        (photo_post, MUSIC, ["music.example", "cdn-a.example"]),
        (photo_post, {"play_url": {"url_list": []}}, ["cdn-a.example"]),
        (photo_post, None, ["cdn-a.example"]),
    ],
)
def test_the_music_is_that_of_the_post_and_of_a_photo_post_also_its_video(
    made: Callable[..., Object], music: Json, hosts: list[str]
) -> None:
    found = post(made(music=music, video=video(play_addr=address(url_key="1"), bit_rate=None))).music
    assert [file.urls[0].split("/")[2] for file in found] == hosts
    assert {file.kind for file in found} <= {"sound"}


def test_the_same_music_in_two_fields_is_one_file() -> None:
    found = post(photo_post(music=MUSIC, video={"play_addr": {**MUSIC["play_url"], "url_key": "9"}})).music
    assert len(found) == 1


def test_a_cover_is_a_jpeg_where_there_is_one_and_heic_only_at_last() -> None:
    def covers(*names: str) -> list[str]:
        first, *rest = ({"url_list": [f"https://img.example/{name}"]} for name in names)
        found = post(tiktok_post(video=video(cover=first, origin_cover=rest[0] if rest else None))).covers
        return [cover.urls[0].rpartition("/")[2] for cover in found]

    assert covers("a.webp", "b.jpeg") == ["b.jpeg", "a.webp"]
    assert covers("a.jpg", "b.jpeg") == ["a.jpg", "b.jpeg"]
    assert covers("a.heic", "b.webp") == ["b.webp", "a.heic"]
    assert post(photo_post()).covers == ()


def test_captions_have_a_language_its_mirrors_and_what_is_said_of_them() -> None:
    original = caption("de", "deu-DE", is_original_caption=True, is_auto_generated=False, url="")
    en, de = captions(caption(), original, None, caption(url="", url_list=[])).captions
    assert (en.language, en.is_original, en.is_auto_generated) == ("en", False, True)
    assert (de.language, de.is_original, de.is_auto_generated) == ("de", True, False)
    assert en.file.urls == ("https://cla-a.example/en-eng-US", "https://cla-b.example/en-eng-US")
    assert (en.file.kind, en.file.expires) == ("caption", 1_800_000_000)


@pytest.mark.parametrize("form", ["srt", "json", "WEBVTT2"])
def test_captions_in_another_format_are_left_out(form: str) -> None:
    assert captions(caption(caption_format=form)).captions == ()


@pytest.mark.parametrize(
    ("infos", "languages"),
    [
        ([caption("zh", "zho-CN"), caption("zh", "zho-TW"), caption("zh", "zho-CN")], ["zh", "zho-TW", "zho-CN"]),
        ([caption("en", "en"), caption("EN", "en"), caption("en", None)], ["en", "EN-2", "en-3"]),
        ([caption("../../x", "deu-DE")], ["deu-DE"]),
        ([caption("", 5), caption("e" * 17, "a/b"), caption(None, "é")], ["und", "und-2", "und-3"]),
        ([caption("e" * 16, ""), caption("e" * 16, "")], ["e" * 16, "e" * 13 + "-2"]),
    ],
)
def test_a_language_is_safe_in_a_name_and_stands_once(infos: list[Json], languages: list[str]) -> None:
    assert [found.language for found in captions(*infos).captions] == languages


@pytest.mark.parametrize(
    ("title", "caption", "shown"),
    [
        ("A  title", "#one\n#two", "A title\n\n#one #two"),
        ("A title", "", "A title"),
        ("", "#one", "#one"),
        (None, None, ""),
        ("t" * 200, "d" * 200, "t" * 200 + "\n\n" + "d" * 97 + "…"),
        ("t" * 299, "#one", "t" * 299),
    ],
)
def test_the_title_of_a_photo_post_stands_before_its_caption(title: Json, caption: Json, shown: str) -> None:
    assert post(photo_post(image_post_info={"title": title, "images": [{}]}, desc=caption)).title == shown
