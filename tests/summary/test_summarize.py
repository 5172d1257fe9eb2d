import codecs
import csv
import errno
import itertools
import json
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.payloads import (
    ANSWERED,
    DOUYIN_ID,
    ECHOED_KEY,
    PHOTO_ID,
    REQUEST_ID,
    TIKTOK_ID,
    Object,
    address,
    douyin_post,
    envelope,
    error_answer,
    photo_post,
    private_answer,
    tiktok_post,
    video,
)
from tests.support.summary_faults import FORMULAS, Full, poisoned
from tikhub_mcp.errors import DiskFull, InvalidInput, NotWritable
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.storage import reading
from tikhub_mcp.summary.answers import MAX_ODD_BYTES
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.summarize import CSV_NAME, JSON_NAME, MAX_FILE_BYTES, SummaryStopped, summarize

CONTRACT = (
    "source_file,parse_ok,error,request_id,api_code,api_message,router,share_url,cache_url,aweme_id,"
    "desc,create_time_unix,aweme_type,content_desc,author_nickname,author_unique_id,author_sec_uid,"
    "author_uid,author_follower_count,author_following_count,author_aweme_count,author_verification_type,"
    "author_account_region,author_commerce_user_level,digg_count,comment_count,share_count,play_count,"
    "collect_count,download_count,forward_count,whatsapp_share_count,video_duration_ms,video_width,"
    "video_height,video_ratio,video_has_watermark,cover_url,play_url_sample,music_id,music_title,"
    "music_author,music_is_original_sound,music_is_commerce_music,music_commercial_right_type,"
    "music_user_count,is_ads,commerce_info_min,aigc_created_by_ai,aigc_label_type,hashtags"
)
OURS = "platform,as_of,engagement_rate,is_latest,link,kind,image_count,clip_count,title"
WRITTEN = [CSV_NAME, JSON_NAME]  # in order of name; of posts that were asked for once there is no history
PARTS = ["author", "statistics", "music", "aigc_info", "commerce_info", "video", "text_extra"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def save(folder: Path, value: Json, name: str = "raw_1.json") -> Path:
    path = folder / name
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


def run(source: Path) -> list[Object]:
    """Summarise beside the source, and give back the rows as a strict reader sees them."""
    out = source.parent / "out"
    summarize(source, out)
    rows: list[Object] = strict(out / JSON_NAME)["videos"]
    return rows


def row_of(folder: Path, value: Json) -> Object:
    save(folder, value)
    (row,) = run(folder)
    return row


def strict(path: Path) -> Json:
    def refuse(constant: str) -> Json:
        raise AssertionError(constant)

    return json.loads(path.read_bytes(), parse_constant=refuse)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV_NAME).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What a row holds


def test_the_columns_stand_in_the_order_of_the_contract_and_our_own_come_last() -> None:
    assert ",".join(COLUMNS) == f"{CONTRACT},{OURS}"


def test_a_tiktok_answer_gives_every_field_with_the_apis_own_value(raw: Path) -> None:
    assert row_of(raw, envelope(tiktok_post())) == {
        "source_file": "raw_1.json",
        "parse_ok": True,
        "error": None,
        "request_id": REQUEST_ID,
        "api_code": 200,
        "api_message": "Request successful. This request will incur a charge.",
        "router": "/api/v1/tiktok/app/v3/fetch_one_video_by_share_url",
        "share_url": "https://vm.example/ABC/",
        "cache_url": "https://cache.example/api/v1/cache/public/abc?sign=made-up",
        "aweme_id": TIKTOK_ID,
        "desc": "Paper boats on the canal #boats #canal",
        "create_time_unix": 1_700_000_000,
        "aweme_type": 0,
        "content_desc": "",
        "author_nickname": "Ada Paper",
        "author_unique_id": "paper.boats",
        "author_sec_uid": "MS4wLjABAAAAmade-up-tiktok",
        "author_uid": "6900000000000000001",
        "author_follower_count": 1200,
        "author_following_count": 34,
        "author_aweme_count": 56,
        "author_verification_type": 1,
        "author_account_region": "NL",
        "author_commerce_user_level": 0,
        "digg_count": 4321,
        "comment_count": 87,
        "share_count": 65,
        "play_count": 98_765,
        "collect_count": 43,
        "download_count": 21,
        "forward_count": 0,
        "whatsapp_share_count": 9,
        "video_duration_ms": 15_000,
        "video_width": 576,
        "video_height": 1024,
        "video_ratio": "540p",
        "video_has_watermark": True,
        "cover_url": "https://img-a.example/cover.jpg",
        "play_url_sample": address()["url_list"][0],
        "music_id": "7200000000000000009",
        "music_title": "Water Song",
        "music_author": "The Locks",
        "music_is_original_sound": False,
        "music_is_commerce_music": True,
        "music_commercial_right_type": 2,
        "music_user_count": 77,
        "is_ads": False,
        "commerce_info_min": {"auction_ad_invited": False, "adv_promotable": True},
        "aigc_created_by_ai": False,
        "aigc_label_type": 0,
        "hashtags": "boats|canal",
        "platform": "tiktok",
        "as_of": "2025-10-09T08:53:20Z",
        "engagement_rate": round((4321 + 87 + 65 + 43) / 98_765, 6),
        "is_latest": True,
        "link": f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}",
        "kind": "video",
        "image_count": 0,
        "clip_count": 0,
        "title": None,
    }


def test_a_douyin_answer_gives_what_it_has_and_null_or_nothing_for_the_rest(raw: Path) -> None:
    row = row_of(raw, envelope(douyin_post(), douyin=True))
    known = {"aweme_id": DOUYIN_ID, "desc": "河上的纸船 #纸船", "hashtags": "纸船", "play_count": 0}
    absent = {"content_desc": "", "aigc_created_by_ai": None, "aigc_label_type": None}
    expected = known | absent | {"parse_ok": True, "author_unique_id": "", "commerce_info_min": {"_present": True}}
    assert {key: row[key] for key in expected} == expected


def photos(*moving: Json, **over: Json) -> list[Json]:
    """Pictures of Douyin, each with this as its `video`."""
    return [{"url_list": ["https://img-a.example/1.jpeg"], "video": video} | over for video in moving]


CLIP, SONG = ({"play_addr": address(uri=uri, url_list=[f"https://cdn-a.example/{uri}"])} for uri in ("clip", "song"))
SONG_ALONE = {"play_url": {"uri": "song"}}


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        pytest.param(photo_post(), ("images", 1, 0, None), id="TikTok"),
        pytest.param(
            photo_post(image_post_info={"images": photos(None) * 35, "title": "T" * 2001}, aweme_type=0),
            ("images", 35, 0, "T" * 2000),
            id="35 pictures and a long title, called a video",
        ),
        pytest.param(photo_post(image_post_info={"title": ""}), ("images", 0, 0, None), id="no pictures"),
        pytest.param(photo_post(image_post_info=None, aweme_type="150"), ("images", 0, 0, None), id="a type as text"),
        pytest.param(
            douyin_post(images=photos(None, CLIP, {"play_addr": {}}, CLIP), aweme_type=68),
            ("images", 4, 2, None),
            id="moving pictures",
        ),
        pytest.param(
            douyin_post(images=photos(SONG, CLIP), music=SONG_ALONE),
            ("images", 2, 1, None),
            id="the music in the place of a moving half",
        ),
        pytest.param(douyin_post(images=photos(SONG), video=SONG), ("images", 1, 0, None), id="music of play_addr"),
        pytest.param(douyin_post(images=[{}, 5, CLIP, "x"]), ("images", 4, 0, None), id="pictures without links"),
        pytest.param(douyin_post(images=[5], image_post_info={"title": "T"}), ("video", 0, 0, None), id="no objects"),
        pytest.param(douyin_post(images={}, image_post_info="x"), ("video", 0, 0, None), id="other types"),
    ],
)
def test_the_last_columns_tell_photo_posts_from_videos(raw: Path, post: Json, expected: tuple[Json, ...]) -> None:
    row = row_of(raw, envelope(post, douyin="images" in post))
    assert tuple(row[name] for name in ("kind", "image_count", "clip_count", "title")) == expected
    assert ("/photo/" in row["link"] or "/note/" in row["link"]) == (row["kind"] == "images")
    assert row["video_duration_ms"] == (post["video"].get("duration"))


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param({"aweme_details": [tiktok_post()], "status_code": 0}, id="TikTok's body"),
        pytest.param({"aweme_detail": tiktok_post()}, id="Douyin's body"),
        pytest.param(tiktok_post(), id="the bare post"),
        pytest.param({"code": 200, "data": tiktok_post()}, id="the hybrid endpoint"),
    ],
)
def test_what_other_tools_save_is_read_with_and_without_an_envelope(raw: Path, saved: Json) -> None:
    row = row_of(raw, saved)
    assert (row["parse_ok"], row["aweme_id"], row["digg_count"]) == (True, TIKTOK_ID, 4321)
    assert (row["share_url"], row["link"]) == ("", tiktok_post()["share_url"])


@pytest.mark.parametrize("params", [None, "x", {}, {"share_url": None}, {"share_url": ""}, {"share_url": 5}])
@pytest.mark.parametrize("own", ["https://own.example/", 7, None])
def test_the_link_that_was_asked_for_is_never_replaced_by_the_posts_own(raw: Path, params: Json, own: Json) -> None:
    assert row_of(raw, envelope(tiktok_post(share_url=own), params=params))["share_url"] == ""


LINKS = [
    (envelope(tiktok_post()), f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}"),
    (envelope(tiktok_post(author={"unique_id": "a/../b?c"})), f"https://www.tiktok.com/@/video/{TIKTOK_ID}"),
    (envelope(tiktok_post(author=None, aweme_id=int(TIKTOK_ID))), f"https://www.tiktok.com/@/video/{TIKTOK_ID}"),
    (envelope(photo_post(aweme_type=0)), f"https://www.tiktok.com/@paper.boats/photo/{PHOTO_ID}"),
    (envelope(photo_post(image_post_info=None)), f"https://www.tiktok.com/@paper.boats/photo/{PHOTO_ID}"),
    (envelope(douyin_post(), douyin=True), f"https://www.douyin.com/video/{DOUYIN_ID}"),
    (envelope(douyin_post(images=[{"uri": "a"}]), douyin=True), f"https://www.douyin.com/note/{DOUYIN_ID}"),
    (envelope(douyin_post(aweme_type=68), douyin=True), f"https://www.douyin.com/note/{DOUYIN_ID}"),
    (tiktok_post(share_url=f"{tiktok_post()['share_url']}?_t=tracking"), tiktok_post()["share_url"]),
    (envelope(tiktok_post(aweme_id="12/../34")), "https://vm.example/ABC/"),
    (tiktok_post(share_url=None), None),
    (private_answer(), "https://vm.example/ABC/"),
    (private_answer(params={"aweme_id": DOUYIN_ID}), f"https://www.douyin.com/video/{DOUYIN_ID}"),
    (private_answer(params={"aweme_id": "../x"}), None),
    (error_answer(), "https://vm.example/ABC/"),
    (b"", None),
]


@pytest.mark.parametrize(("answer", "link"), LINKS)
def test_a_link_is_the_posts_address_or_the_link_that_gave_none(raw: Path, answer: Json, link: str | None) -> None:
    assert row_of(raw, answer)["link"] == link
    assert table(raw.parent / "out")[0]["link"] == (link or "")


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ({"id_str": "11", "mid": "22"}, "11"),
        ({"id_str": "", "mid": "22"}, "22"),
        ({"mid": 7_200_000_000_000_000_009}, "7200000000000000009"),
        ({"id": 33}, None),
        (None, None),
    ],
)
def test_the_musics_id_is_text_whatever_field_has_it(raw: Path, music: Json, expected: str | None) -> None:
    assert row_of(raw, envelope(tiktok_post(music=music)))["music_id"] == expected


def test_the_musics_owner_comes_before_its_author(raw: Path) -> None:
    row = row_of(raw, envelope(tiktok_post(music={"owner_nickname": "Owner", "author": "Author"})))
    assert row["music_author"] == "Owner"


def test_ids_that_came_as_numbers_become_text_and_other_large_numbers_stay_numbers(raw: Path) -> None:
    author = {"uid": 2**60 + 1, "unique_id": 123, "sec_uid": 456}
    row = row_of(raw, envelope(tiktok_post(aweme_id=2**61 + 1, author=author, statistics={"digg_count": 2**62 + 1})))
    ids = row["aweme_id"], row["author_uid"], row["author_unique_id"], row["author_sec_uid"]
    assert ids == (str(2**61 + 1), str(2**60 + 1), "123", "456")
    assert row["digg_count"] == 2**62 + 1


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"ad_source": 3, "other": 1}, {"ad_source": 3}),
        ({"auction_ad_invited": None}, {"auction_ad_invited": None}),
        ({"other": 1}, {"_present": True}),
        ({}, {"_present": True}),
        (None, None),
        ([1], None),
    ],
)
def test_of_commerce_info_the_known_keys_are_kept_or_that_it_is_there(raw: Path, info: Json, expected: Json) -> None:
    assert row_of(raw, envelope(tiktok_post(commerce_info=info)))["commerce_info_min"] == expected


def test_the_text_of_a_post_is_cut_after_2000_characters(raw: Path) -> None:
    assert row_of(raw, envelope(tiktok_post(desc="船" * 2001)))["desc"] == "船" * 2000


@pytest.mark.parametrize(("links", "first"), [(["https://a.example/", "x"], "https://a.example/"), (["", "x"], "")])
def test_the_first_link_is_taken_as_it_is(raw: Path, links: list[Json], first: str) -> None:
    row = row_of(raw, envelope(tiktok_post(video=video(play_addr=address(url_list=links), cover={}))))
    assert (row["play_url_sample"], row["cover_url"]) == (first, "")


# Files without a post, and files that are none


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (private_answer(5), "is private"),
        (private_answer("5"), "is private"),
        (private_answer(8), "copyright"),
        (private_answer(10), "some people only"),
        (private_answer(99), "for a reason that is not known here"),
        (private_answer({"a": 1}), "private, deleted or blocked"),
        (private_answer(data={"filter_list": "x", "status_code": 2053}), "not there any more"),
        (private_answer(data={"filter_list": [7], "statusCode": 10204}), "not there any more"),
        (envelope(), "private, deleted or blocked"),
        (envelope(data=None), "private, deleted or blocked"),
        ({"aweme_details": [], "status_code": 0}, "private, deleted or blocked"),
    ],
)
def test_an_answer_without_a_post_says_why_as_far_as_it_is_known(raw: Path, answer: Json, words: str) -> None:
    row = row_of(raw, answer)
    assert row["parse_ok"] is False
    assert words in row["error"]


def test_an_error_body_tells_its_code_and_never_its_words_or_headers(raw: Path) -> None:
    row = row_of(raw, error_answer(402, "Insufficient\u202e balance,\nplease top up."))
    assert row == dict.fromkeys(COLUMNS) | {
        "source_file": "raw_1.json",
        "parse_ok": False,
        "error": "An error instead of a post, code 402.",
        "request_id": REQUEST_ID,
        "api_code": 402,
        "router": "/api/v1/tiktok/app/v3/fetch_one_video_by_share_url",
        "share_url": "https://vm.example/ABC/",
        "link": "https://vm.example/ABC/",
    }
    outputs = raw.parent / "out"
    assert not any(ECHOED_KEY.encode() in path.read_bytes() for path in outputs.iterdir())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error_answer(400, message_zh="请求失败，请重试。"), "code 400"),
        ({"detail": {"code": 400, "message_zh": "请求失败，请重试。"}}, "code 400."),
        ({"detail": [{"loc": ["query", "share_url"], "msg": "field required"}]}, "code unknown"),
        ({"detail": "Not Found"}, "code unknown"),
        (envelope(code=400, data=None, message=None, message_zh=None), "code 400."),
        (envelope(code={"a": 1}, data=None), "private, deleted or blocked"),
    ],
)
def test_errors_in_other_shapes_are_rows_too(raw: Path, answer: Json, words: str) -> None:
    row = row_of(raw, answer)
    assert row["parse_ok"] is False
    assert words in row["error"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b" \n", "Expecting value"),
        (json.dumps(envelope(tiktok_post())).encode()[:-20], "Unterminated string"),
        (b"<html>error code: 1010</html>", "Expecting value"),
        ('{"desc": "caf\xe9"}'.encode("latin-1"), "can't decode"),
        (b'{"desc": "\xff\xfe\xfd"}', "can't decode"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b"[]", "no post is in it"),
        (b"null", "no post is in it"),
        (b"5", "no post is in it"),
        (b'"x"', "no post is in it"),
        (b'{"name": "package"}', "no post is in it"),
    ],
)
def test_a_file_that_is_no_answer_is_a_row_with_the_reason(raw: Path, content: bytes, words: str) -> None:
    row = row_of(raw, content)
    assert words in row["error"]
    assert row == dict.fromkeys(COLUMNS) | {
        "source_file": "raw_1.json",
        "parse_ok": False,
        "error": row["error"],
        "share_url": "",
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read_with_and_without_its_mark(raw: Path, encoding: str) -> None:
    content = json.dumps(envelope(douyin_post(), douyin=True), ensure_ascii=False).encode(encoding)
    assert row_of(raw, content)["desc"] == "河上的纸船 #纸船"


BAD = {
    "a list": b"[]",
    "null": b"null",
    "data is text": envelope(data="x"),
    "details hold text": envelope(data={"aweme_details": ["x"]}),
}
BAD |= {
    "a number for the text": envelope(tiktok_post(desc=5)),
    "a list for the counts": envelope(tiktok_post(statistics=[1])),
    "a number for a hashtag": envelope(tiktok_post(text_extra=[{"hashtag_name": 7}])),
    "a text for an address": envelope(tiktok_post(video=video(play_addr="x"))),
    "a text for links": envelope(tiktok_post(video=video(cover={"url_list": "https://a.example/"}))),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_one_bad_file_among_a_hundred_good_ones_is_one_row_and_hurts_no_other(raw: Path, bad: Json) -> None:
    for number in range(100):
        save(raw, envelope(tiktok_post(aweme_id=str(number))), f"raw_{number:03}.json")
    save(raw, bad, "raw_050_bad.json")
    done = summarize(raw, raw / "out")
    rows = strict(done.paths["json"])["videos"]
    assert (done.found.rows, done.found.parsed) == (101, 100)
    assert [row["source_file"] for row in rows if not row["parse_ok"]] == ["raw_050_bad.json"]
    assert [row["aweme_id"] for row in rows if row["parse_ok"]] == [str(number) for number in range(100)]


def test_a_row_that_is_broken_by_one_field_names_it_and_keeps_what_the_envelope_says(raw: Path) -> None:
    row = row_of(raw, envelope(tiktok_post(desc=5)))
    assert row["error"] == "The post is not as TikHub answers: Expected `str | null`, got `int` - at `$.desc`."
    assert (row["request_id"], row["api_code"], row["share_url"]) == (REQUEST_ID, 200, "https://vm.example/ABC/")
    assert (row["aweme_id"], row["is_latest"], row["as_of"]) == (None, None, None)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("nothing", [None, [], "", 0, False], ids=str)
def test_an_empty_something_in_the_place_of_a_part_is_none(raw: Path, part: str, nothing: Json) -> None:
    row = row_of(raw, envelope(tiktok_post(**{part: nothing})))
    assert (row["parse_ok"], row["aweme_id"]) == (True, TIKTOK_ID)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [5, "x", [1], [[]], True, {"x": {}}], ids=str)
def test_any_part_of_a_post_may_be_anything_and_gives_a_row(raw: Path, part: str, value: Json) -> None:
    row = row_of(raw, envelope(tiktok_post(**{part: value})))
    assert row["parse_ok"] is (row["aweme_id"] == TIKTOK_ID) is (row["error"] is None)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ("1e308", 1e308),
        ("-0", 0),
        ("-5", -5),
        ("9" * 4000, int("9" * 4000)),
        ("9" * 5000, None),
        ('{"a": 1}', {"a": 1}),
    ],
    ids=lambda value: str(value)[:9],
)
def test_numbers_come_through_as_served_and_what_is_none_becomes_null(raw: Path, number: str, expected: Json) -> None:
    text = json.dumps(envelope(tiktok_post(statistics={"digg_count": "HERE"})))
    assert row_of(raw, text.replace('"HERE"', number).encode())["digg_count"] == expected


def test_what_cannot_be_written_is_replaced_and_nothing_else_is_changed(raw: Path) -> None:
    text = "a\ud800b\u2028\u202e\x00\t\U0001f6a3 <b>"
    row = row_of(raw, envelope(tiktok_post(desc=text)))
    assert row["desc"] == text.replace("\ud800", "\ufffd")
    assert table(raw.parent / "out")[0]["desc"] == row["desc"].replace("\0", "")


# The CSV


def test_the_header_is_complete_when_every_row_is_broken(raw: Path) -> None:
    row_of(raw, b"")
    first = (raw.parent / "out" / CSV_NAME).read_bytes().split(b"\r\n")[0]
    assert first == b"\xef\xbb\xbf" + f"{CONTRACT},{OURS}".encode()


def test_the_csv_has_missing_values_empty_nested_ones_as_json_and_truth_values_as_in_json(raw: Path) -> None:
    row_of(raw, envelope(tiktok_post(music=None)))
    (row,) = table(raw.parent / "out")
    assert (row["music_id"], row["error"], row["parse_ok"], row["is_ads"]) == ("", "", "true", "false")
    assert json.loads(row["commerce_info_min"]) == {"auction_ad_invited": False, "adv_promotable": True}


@pytest.mark.parametrize(
    "text",
    [
        'a, "b", c',
        "line\r\nline\rline\nline",
        "a\u2028b\u2029c\x85d\x0bе",
        "007",
        "7300000000000000001",
        "\U0001f6a3\u200d♀️ שלום مرحبا",
        "長" * 32_767,
        " blank around ",
        "it's",
        "'quoted'",
        "a|b",
    ],
    ids=ascii,
)
def test_a_text_comes_back_from_the_csv_as_it_was(raw: Path, text: str) -> None:
    row_of(raw, envelope(tiktok_post(content_desc=text)))
    assert table(raw.parent / "out")[0]["content_desc"] == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("長" * 40_000, "長" * 32_767),
        ("=" + "x" * 40_000, "'=" + "x" * 32_765),
        ("\U0001f6a3" * 20_000, "\U0001f6a3" * 16_383),
        ("x" * 200_000 + "\ud800", "x" * 32_767),
    ],
    ids=["wide", "guarded", "two units each", "more than csv.reader takes"],
)
def test_a_text_longer_than_a_cell_of_excel_is_cut_in_the_csv_alone(raw: Path, text: str, expected: str) -> None:
    assert row_of(raw, envelope(tiktok_post(content_desc=text)))["content_desc"] == text.replace("\ud800", "\ufffd")
    assert table(raw.parent / "out")[0]["content_desc"] == expected


@pytest.mark.parametrize("formula", FORMULAS, ids=ascii)
def test_no_cell_of_the_csv_can_run_as_a_formula(raw: Path, formula: str) -> None:
    row = row_of(raw, poisoned(formula))
    (cells,) = table(raw.parent / "out")
    shown = formula.replace("\0", "")
    texts = [key for key, value in row.items() if value == formula]
    assert len(texts) >= 18
    assert {cells[key] for key in texts} == {f"'{shown}"}


@pytest.mark.parametrize("formula", ["=1+1", "-2", "@x", "＝1", "+"])
def test_no_name_of_a_file_and_no_words_of_an_error_can_run_either(raw: Path, formula: str) -> None:
    save(raw, error_answer(formula, formula), f"{formula}.json")
    run(raw)
    (cells,) = table(raw.parent / "out")
    assert cells["source_file"] == f"'{formula}.json"
    assert cells["api_code"] == f"'{formula}"
    assert cells["error"].startswith("An error")


def test_negative_numbers_stay_numbers_and_negative_texts_do_not(raw: Path) -> None:
    row_of(raw, envelope(tiktok_post(statistics={"digg_count": -5, "play_count": -1.5, "share_count": "-5"})))
    (cells,) = table(raw.parent / "out")
    assert (cells["digg_count"], cells["play_count"], cells["share_count"]) == ("-5", "-1.5", "'-5")


# Which files are read


def test_files_come_in_order_of_name_with_any_case_of_the_suffix_and_nothing_else_comes(raw: Path) -> None:
    for name in ("b.JSON", "a.json", "C.Json", "ü.json", "\U0001f6a3.json", "=1.json"):
        save(raw, envelope(tiktok_post()), name)
    for name in (".hidden.json", "a.json.part", "a.txt", "json", "a.jsonl"):
        save(raw, envelope(tiktok_post()), name)
    (raw / "deeper").mkdir()
    save(raw / "deeper", envelope(tiktok_post()))
    assert [row["source_file"] for row in run(raw)] == [
        "=1.json",
        "C.Json",
        "a.json",
        "b.JSON",
        "ü.json",
        "\U0001f6a3.json",
    ]


@pytest.mark.parametrize("name", ["raw[1]", "*", "?", "\U0001f6a3", "trailing ", "-rf", "a\nb"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert row_of(tmp_path / name, envelope(tiktok_post()))["parse_ok"] is True


@pytest.mark.slow
def test_a_large_folder_behind_odd_names_is_listed_once_and_read_in_order_of_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some of these are patterns, to whoever takes them so.
    folder = tmp_path / "raw[1]" / "*" / "\U0001f6a3" / "trailing " / "answers.JSON"
    folder.mkdir(parents=True)
    names = [f"{number * 7919 % 2000:04}{'.JSON' if number % 2 else '.json'}" for number in range(2000)]
    for name in names:
        (folder / name).write_bytes(b"{}")
    (folder / "folder.json").mkdir()
    listed: list[str] = []

    def noted(call: str) -> Callable[..., object]:
        real: Callable[..., object] = getattr(os, call)

        def listing(path: object = ".") -> object:
            listed.extend([call] * (str(path) == str(folder)))
            return real(path)

        return listing

    for call in ("scandir", "listdir"):
        monkeypatch.setattr(os, call, noted(call))
    assert [row["source_file"] for row in run(folder)] == sorted(names)
    assert listed == ["scandir"]


def test_a_name_that_is_not_unicode_is_shown_as_far_as_it_can_be(raw: Path) -> None:
    save(raw, envelope(tiktok_post()), os.fsdecode(b"\xff.json"))
    assert [row["source_file"] for row in run(raw)] == ["\ufffd.json"]
    assert table(raw.parent / "out")[0]["source_file"] == "\ufffd.json"


def test_a_broken_file_with_a_name_that_is_not_unicode_is_a_row_like_any_other(raw: Path) -> None:
    save(raw, b"", os.fsdecode(b"\xff.json"))
    save(raw, envelope(tiktok_post()), "z.json")
    assert [(row["source_file"], row["parse_ok"]) for row in run(raw)] == [("z.json", True), ("\ufffd.json", False)]


def special_files(folder: Path) -> Iterator[Path]:
    target = save(folder.parent, envelope(tiktok_post()), "outside.json")
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(target)
    (folder / "dangling.json").symlink_to(folder / "nowhere")
    (folder / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.json")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.json"))
    yield from sorted(folder.iterdir())


def test_links_and_special_files_in_a_folder_are_neither_opened_nor_waited_for(raw: Path) -> None:
    assert len(list(special_files(raw))) == 6
    save(raw, envelope(tiktok_post()))
    start = time.monotonic()
    assert [row["source_file"] for row in run(raw)] == ["raw_1.json"]
    assert time.monotonic() - start < 1


def test_links_and_special_files_are_refused_as_the_one_file_too(raw: Path) -> None:
    for path in special_files(raw):
        with pytest.raises(InvalidInput):
            summarize(path, raw.parent / "out")
    with pytest.raises(InvalidInput, match="Nothing to read"):
        summarize(Path("/dev/zero"), raw.parent / "out")
    assert not (raw.parent / "out").exists()


def test_one_file_of_any_name_can_be_read_alone(raw: Path) -> None:
    save(raw, envelope(tiktok_post()))
    done = summarize(save(raw, envelope(tiktok_post()), "answer.txt"), raw / "out")
    document = strict(done.paths["json"])
    assert (document["generated_from"], document["video_count"]) == (str(raw / "answer.txt"), 1)
    assert document["videos"][0]["source_file"] == "answer.txt"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("links.txt", b"https://www.tiktok.com/@a/video/7000000000000000001\n"),
        ("links.csv", b'"link"\nhttps://v.douyin.com/AbCd123/\n'),
        ("links.json", b'["https://v.douyin.com/AbCd123/"]'),
        ("links.json", b'"https://v.douyin.com/AbCd123/"'),
        ("package.json", b'{"name": "a package"}'),
        ("links.xlsx", b"PK\x03\x04\0\0xl/workbook.xml"),
        ("raw_cut.json", json.dumps(envelope(tiktok_post())).encode()[:-1]),
        ("empty.json", b""),
    ],
)
def test_a_named_file_that_is_no_answer_leaves_a_good_table_as_it_is(raw: Path, name: str, content: bytes) -> None:
    out = raw.parent / "out"
    summarize(save(raw, envelope(tiktok_post())), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (raw / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=f"{name} is no raw answer, and nothing was written. The file ") as refused:
        summarize(raw / name, out)
    assert refused.value.exit_code == 1
    assert "AbCd123" not in refused.value.message
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("answer", [private_answer(), error_answer(402, "no"), {"aweme_details": [], "status_code": 0}])
def test_a_named_file_with_an_answer_without_a_post_is_a_row(raw: Path, answer: Json) -> None:
    found = summarize(save(raw, answer), raw.parent / "out").found
    assert (found.rows, found.parsed) == (1, 0)


@pytest.mark.parametrize("source", ["", "nowhere", "a/b"])
def test_nothing_to_read_is_invalid_input_and_makes_no_folder(raw: Path, source: str) -> None:
    with pytest.raises(InvalidInput):
        summarize(raw / source, raw.parent / "out")
    assert not (raw.parent / "out").exists()


def test_a_folder_that_cannot_be_listed_is_invalid_input(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InvalidInput, match="Permission denied"):
        summarize(raw, raw.parent / "out")


def test_a_summary_of_our_own_is_never_read_so_that_a_second_run_gives_the_same(raw: Path) -> None:
    save(raw, envelope(tiktok_post()), "a.json")
    save(raw, b"", "z.json")
    first = summarize(raw, raw)
    before = [path.read_bytes() for path in first.paths.values()]
    assert summarize(raw, raw) == first
    assert (first.source, first.found.rows, first.found.parsed) == (raw, 2, 1)
    assert [path.read_bytes() for path in first.paths.values()] == before
    with pytest.raises(InvalidInput):
        summarize(first.paths["json"], raw / "out")


def test_a_summary_under_another_name_is_a_row(raw: Path) -> None:
    save(raw, {"generated_from": "", "video_count": 0, "videos": []}, "copy.json")
    assert [row["source_file"] for row in run(raw)] == ["copy.json"]


def test_a_file_that_cannot_be_opened_is_a_row(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(raw, envelope(tiktok_post()))

    def refuse(_path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(reading, "open_nofollow", refuse)
    assert [row["error"] for row in run(raw)] == ["The file cannot be read: Permission denied."]


def test_a_file_over_the_limit_is_a_row_and_is_not_read(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (raw / "large.json").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    read = os.read

    def none_of_it(descriptor: int, size: int) -> bytes:
        assert os.fstat(descriptor).st_size <= MAX_FILE_BYTES
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", none_of_it)
    assert [row["error"] for row in run(raw)] == ["The file holds no readable JSON: it is larger than 54525952 bytes."]


def test_a_file_system_may_give_less_of_a_file_than_it_is_asked_for(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 100)))
    assert row_of(raw, envelope(tiktok_post()))["parse_ok"] is True


# What happens meanwhile


def exchange(path: Path, how: Callable[[Path], None]) -> Callable[[], bool]:
    """A `stopped` that, when first asked, puts something else in the file's place, and never stops."""
    waiting = [how]

    def stopped() -> bool:
        if waiting:
            path.unlink()
            waiting.pop()(path)
        return False

    return stopped


@pytest.mark.parametrize(
    ("how", "words"),
    [
        pytest.param(lambda _path: None, "No such file", id="gone"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "symbolic link", id="link"),
        pytest.param(os.mkfifo, "no regular file", id="pipe"),
        pytest.param(Path.mkdir, "no regular file", id="folder"),
    ],
)
def test_a_file_that_is_exchanged_after_it_was_listed_is_a_row(
    raw: Path, how: Callable[[Path], None], words: str
) -> None:
    path = save(raw, envelope(tiktok_post()), "b.json")
    save(raw, envelope(tiktok_post()), "a.json")
    done = summarize(raw, raw / "out", stopped=exchange(path, how))
    rows = strict(done.paths["json"])["videos"]
    assert [row["parse_ok"] for row in rows] == [True, False]
    assert words in rows[1]["error"]


def test_a_file_that_comes_after_the_listing_is_not_read(raw: Path) -> None:
    path = save(raw, envelope(tiktok_post()))
    new = raw / "new.json"
    done = summarize(raw, raw / "out", stopped=exchange(path, lambda _gone: new.touch()))
    assert (done.found.rows, done.found.parsed, new.exists()) == (1, 0, True)


@pytest.mark.parametrize("change", [lambda text: text + b" ", lambda text: text[:-1], lambda text: text[:-1] + b"\n"])
def test_a_file_that_changes_while_it_is_read_is_a_row(
    raw: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    path = save(raw, envelope(tiktok_post()))
    os.utime(path, (1, 1))
    fstat = os.fstat

    def fstat_then_change(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        path.write_bytes(change(path.read_bytes()))
        return status

    monkeypatch.setattr(os, "fstat", fstat_then_change)
    assert "changed while it was read" in run(raw)[0]["error"]


def test_progress_is_told_after_each_file_and_each_row(raw: Path) -> None:
    for name in "abc":
        save(raw, b"", f"{name}.json")
    seen: list[tuple[int, int]] = []
    summarize(raw, raw / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("asked", range(7))
def test_whoever_stops_it_finds_everything_as_it_was(raw: Path, asked: int) -> None:
    for name in "abc":
        save(raw, envelope(tiktok_post()), f"{name}.json")
    out = raw / "out"
    out.mkdir()
    (out / CSV_NAME).write_text("old")
    answers = iter([False] * asked + [True])
    with pytest.raises(SummaryStopped):
        summarize(raw, out, stopped=lambda: next(answers))
    assert left(out) == [CSV_NAME]
    assert (out / CSV_NAME).read_text() == "old"


def test_it_can_be_stopped_at_the_history_of_each_post(raw: Path) -> None:
    for number in range(6):
        post = tiktok_post(aweme_id=str(7_300_000_000_000_000_000 + number % 3))
        save(raw, envelope(post, time_stamp=ANSWERED + number), f"{number}.json")
    asked = itertools.count(1)
    summarize(raw, raw / "out", stopped=lambda: next(asked) < 0)
    assert next(asked) - 1 == 6 + 6 + 3 + 1  # files, rows, posts, and the end
    answers = iter([False] * 14 + [True])
    with pytest.raises(SummaryStopped):
        summarize(raw, raw / "new", stopped=lambda: next(answers))
    assert left(raw / "new") == []


@pytest.mark.slow
@pytest.mark.parametrize("depth", [400, 900, *range(980, 1000, 4), 999, 3000])
@pytest.mark.parametrize("sign", ["[]", '{"a":}'])
def test_what_is_nested_too_deeply_for_any_output_is_one_bad_row(raw: Path, depth: int, sign: str) -> None:
    save(raw, envelope(tiktok_post()), "a.json")
    nested = sign[:-1] * depth + "1" + sign[-1] * depth
    for name, text in (("b", '{"data": {"aweme_detail": {"aweme_id": "7", "aweme_type": %s}}}'), ("c", '{"code": %s}')):
        (raw / f"{name}.json").write_text(text % nested)
    good, bad, none = run(raw)
    assert (good["parse_ok"], bad["parse_ok"], none["parse_ok"]) == (True, False, False)
    assert "nested too deeply" in bad["error"]


@pytest.mark.slow
def test_large_answers_are_not_held_together(raw: Path) -> None:
    text = '\\"a' * 300_000
    for number in range(40):
        save(raw, envelope(tiktok_post(aweme_id=str(number), content_desc=text)), f"{number:02}.json")
    tracemalloc.start()
    done = summarize(raw, raw / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.found.parsed == 40
    assert peak < 40 * len(text)  # one is held in several forms, and a few together; all of them would be more


@pytest.mark.parametrize("over", [0, 1])
def test_what_is_large_and_out_of_the_ordinary_is_a_row_before_it_fills_the_memory(raw: Path, over: int) -> None:
    content = codecs.BOM_UTF8 + json.dumps(envelope(tiktok_post(padding="<here>"))).encode()
    text = "🌊".encode()  # each one takes four bytes more as text
    room = MAX_ODD_BYTES + over - len(content) + len(b"<here>")
    save(raw, content.replace(b"<here>", text * (room // len(text)) + b"a" * (room % len(text))))
    assert (raw / "raw_1.json").stat().st_size == MAX_ODD_BYTES + over
    tracemalloc.start()
    (row,) = run(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert row["parse_ok"] is not bool(over)
    if over:
        assert row["error"].endswith("it has more than 4 MiB, and is not as TikHub answers.")
        assert peak < 2 * MAX_ODD_BYTES


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the most memory it took")
@pytest.mark.parametrize("head", [b"", codecs.BOM_UTF8], ids=["as TikHub answers", "with a mark"])
def test_a_file_of_50_mb_takes_less_than_300_mib(raw: Path, head: bytes) -> None:
    sign = {"urls": ["https://a.example/船/🌊"] * 3, "bit_rate": 1234567, "extra": {"a": None, "b": [1, 2.5, True]}}
    one = json.dumps(sign, ensure_ascii=False).encode() + b","
    content = json.dumps(envelope(tiktok_post(padding=["<here>"]))).encode()
    room = 50_000_000 - len(content) - len(head)
    save(raw, head + content.replace(b'"<here>"', one * (room // len(one)) + b"0"))
    program = """
import sys
from pathlib import Path
from tikhub_mcp.summary.summarize import summarize
print(summarize(Path(sys.argv[1]), Path(sys.argv[2])).found.parsed)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    command = [sys.executable, "-c", program, str(raw), str(raw.parent / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    parsed, most = map(int, ran.stdout.split())
    assert parsed == (0 if head else 1)
    assert most < 300 * 1024  # KiB


# The outputs


def test_all_outputs_are_for_their_owner_alone(raw: Path) -> None:
    save(raw, envelope(tiktok_post()))
    done = summarize(raw, raw / "new" / "out")
    assert left(raw / "new" / "out") == WRITTEN
    assert [stat.S_IMODE(path.stat().st_mode) for path in done.paths.values()] == [0o600] * 2


def test_the_json_is_for_people_too(raw: Path) -> None:
    save(raw, envelope(douyin_post(), douyin=True))
    text = summarize(raw, raw / "out").paths["json"].read_text(encoding="utf-8")
    assert text.startswith(f'{{\n  "generated_from": "{raw}",\n  "video_count": 1,\n  "videos": [\n    {{\n')
    assert '\n      "desc": "河上的纸船 #纸船",\n' in text
    link = f"https://www.douyin.com/video/{DOUYIN_ID}"
    assert text.endswith('\n      "title": null\n    }\n  ]\n}\n')
    assert (f'\n      "is_latest": true,\n      "link": "{link}",\n      "kind": "video",\n') in text


@pytest.mark.parametrize("name", [CSV_NAME, JSON_NAME])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(raw: Path, name: str, make: Callable[[Path], None]) -> None:
    save(raw, envelope(tiktok_post()))
    out = raw / "out"
    out.mkdir()
    make(out / name)
    with pytest.raises(NotWritable):
        summarize(raw, out)
    assert left(out) == [name]


def test_a_link_in_the_outputs_place_is_replaced_and_its_target_is_not_touched(raw: Path) -> None:
    save(raw, envelope(tiktok_post()))
    out = raw / "out"
    out.mkdir()
    victim = save(raw.parent, b"victim")
    (out / JSON_NAME).symlink_to(victim)
    assert not summarize(raw, out).paths["json"].is_symlink()
    assert victim.read_bytes() == b"victim"


def test_a_file_in_the_folders_place_is_not_writable(raw: Path) -> None:
    with pytest.raises(NotWritable):
        summarize(save(raw, envelope(tiktok_post())), save(raw, b"", "out"))


def fail_once(call: str, nth: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the nth of such calls to the system fail."""
    owner: Json = Path if call == "replace" else os
    real, calls = getattr(owner, call), [0]

    def wrapper(*arguments: Json, **named: Json) -> Json:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(owner, call, wrapper)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["open", "fstat", "fsync", "replace", "lstat", "scandir"])
@pytest.mark.parametrize(("nth", "number"), [*enumerate([errno.ENOSPC, errno.EIO, errno.EMFILE] * 2, 1)])
def test_whatever_call_fails_both_outputs_are_whole_and_no_part_is_left(
    raw: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, number: int
) -> None:
    out = raw / "out"
    save(raw, envelope(tiktok_post()))
    summarize(raw, out)
    save(raw, b"", "raw_2.json")
    with monkeypatch.context() as patch, suppress(DiskFull if number == errno.ENOSPC else NotWritable, InvalidInput):
        fail_once(call, nth, number, patch)
        summarize(raw, out)
    assert left(out) == WRITTEN
    assert len(strict(out / JSON_NAME)["videos"]) in (1, 2)
    assert len(table(out)) in (1, 2)


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_a_full_disk_leaves_the_old_outputs(raw: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    out = raw / "out"
    save(raw, envelope(tiktok_post()))
    summarize(raw, out)
    before = (out / CSV_NAME).read_bytes(), (out / JSON_NAME).read_bytes()
    for number in range(20):
        save(raw, envelope(tiktok_post()), f"{number}.json")
    fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments, **named: Full(fdopen(*arguments, **named), writes))
    with pytest.raises(DiskFull):
        summarize(raw, out)
    assert left(out) == WRITTEN
    assert ((out / CSV_NAME).read_bytes(), (out / JSON_NAME).read_bytes()) == before


@pytest.mark.slow
def test_many_rows_are_written_in_pieces_and_none_is_kept(raw: Path) -> None:
    content = json.dumps(envelope(tiktok_post(padding="x" * 2_000))).encode()
    for number in range(1200):
        save(raw, content.replace(TIKTOK_ID.encode(), str(number).encode()), f"{number:04}.json")
    summarize(raw, raw / "out")  # what is made once is made
    tracemalloc.start()
    done = summarize(raw, raw / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.paths["json"].stat().st_size > 2_600_000
    assert peak < 1_800_000
    assert [row["aweme_id"] for row in table(raw / "out")] == [str(number) for number in range(1200)]


def test_every_snapshot_of_a_post_is_a_row(raw: Path) -> None:
    for number in range(3):
        save(raw, envelope(tiktok_post(), time_stamp=ANSWERED + number), f"{number}.json")
    assert [row["aweme_id"] for row in run(raw)] == [TIKTOK_ID] * 3


# Whatever comes


def places(value: Json, path: tuple[Json, ...] = ()) -> Iterator[tuple[Json, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def replaced(value: Json, path: tuple[Json, ...], new: Json) -> Json:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


ANSWERS = [envelope(tiktok_post()), envelope(douyin_post(), douyin=True), private_answer(), error_answer()]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def agree(cell: str, value: Json) -> bool:
    """Whether a reader of the CSV finds what the JSON has, but for the apostrophe of the guarded."""
    if isinstance(value, str):
        return cell in (value.replace("\0", ""), "'" + value.replace("\0", ""))
    if value is None:
        return cell == ""
    return json.dumps(json.loads(cell)) == json.dumps(value)  # a number may be written in two ways, but not its type


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_whatever_stands_in_whatever_field_both_outputs_are_sound_and_agree(data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(ANSWERS))
    answer = replaced(answer, data.draw(st.sampled_from(list(places(answer)))), data.draw(ANYTHING))
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), answer)
        done = summarize(Path(folder), Path(folder))
        (row,) = strict(done.paths["json"])["videos"]
        (cells,) = table(Path(folder))
    assert tuple(row) == tuple(cells) == tuple(COLUMNS)
    assert (row["error"] is None) == row["parse_ok"] == (done.found.parsed == 1)
    for key, value in row.items():
        assert agree(cells[key], value)
        assert not isinstance(value, str) or not re.match(r"""[\t\r\n]|[ "]*[=+\-@＝＋－＠]|\w+\|'.*'!""", cells[key])
