"""rows.py: two ways to read an answer that give one row, and the columns of our own."""

import json
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.payloads import (
    TIKTOK_ID,
    Object,
    douyin_post,
    envelope,
    error_answer,
    paths,
    photo_post,
    private_answer,
    replaced,
    tiktok_post,
    video,
)
from tests.support.summary_inputs import body, row, row_of, rows, rows_in, save_all
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import answers, schema
from tikhub_mcp.summary import rows as summary_rows
from tikhub_mcp.summary.columns import COLUMNS, OURS
from tikhub_mcp.summary.rows import MAX_DEPTH, Row, is_deep
from tikhub_mcp.summary.summarize import summarize

ANSWERS: list[Json] = [
    envelope(tiktok_post()),
    envelope(douyin_post(), douyin=True),
    envelope(photo_post()),
    envelope(photo_post(image_post_info=None, images=[{"uri": "a", "video": video()}, {}]), douyin=True),
    private_answer(),
    error_answer(),
    {"aweme_details": [tiktok_post()]},
    envelope(data={"aweme_details": [tiktok_post(), photo_post()], "filter_list": [{"aweme_id": "1", "reason": 5}]}),
    {"aweme_detail": douyin_post()},
    {"code": 200, "data": tiktok_post()},
    tiktok_post(),
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60).map(lambda number: number**3)  # beyond 64 bits
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(sorted(schema.OBJECTS)), inner, max_size=3)
    ),
    max_leaves=5,
)


def carefully(content: bytes) -> Row:
    """The row by json.loads, as if msgspec could not read the answer."""
    with patch.object(schema, "decode", side_effect=ValueError("not this way")):
        return row("raw.json", content)


def quickly(content: bytes) -> Row:
    """The row by msgspec; a test fails that needs the other way."""
    with patch.object(answers, "parse_json", side_effect=AssertionError("not this way")):
        return row("raw.json", content)


def exact(value: Json) -> str:
    """A text that is the same for the same values only: 1 is not 1.0, and 0.0 not -0.0."""
    return json.dumps(value)


# Two ways, one row


@pytest.mark.parametrize(
    "answer",
    [answer for answer in ANSWERS if "filter_list" not in (answer.get("data") or ()) and answer != error_answer()],
)
def test_an_ordinary_answer_takes_the_quick_way_and_gives_what_the_careful_one_gives(answer: Json) -> None:
    content = body(answer)
    assert exact(quickly(content)) == exact(carefully(content))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.data(), st.booleans())
def test_both_ways_give_the_same_row_whatever_stands_in_whatever_field(data: st.DataObject, plain: bool) -> None:
    answer = data.draw(st.sampled_from(ANSWERS))
    at, value = data.draw(st.sampled_from(list(paths(answer)))), data.draw(ANYTHING)
    content = json.dumps(replaced(answer, at, value), ensure_ascii=not plain).encode(errors="replace")
    with patch.object(schema, "decode", side_effect=ValueError("not this way")):
        expected = rows_in("raw.json", content)
    assert exact(rows_in("raw.json", content)) == exact(expected)


@pytest.mark.parametrize("nothing", ["", 0, False, [], {}], ids=repr)
def test_both_ways_agree_about_music_whose_author_is_empty(nothing: Json) -> None:
    content = body(envelope(tiktok_post(music={"author": nothing})))
    assert exact(row("raw.json", content)) == exact(carefully(content))


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_an_answer_that_is_cut_off_is_read_by_neither_way(data: st.DataObject) -> None:
    content = body(data.draw(st.sampled_from(ANSWERS)))
    content = content[: data.draw(st.integers(min_value=0, max_value=len(content) - 1))]
    with pytest.raises(ValueError):  # noqa: PT011 - of many kinds: what is missing differs
        row("raw.json", content)


ODD_VALUES = {
    "NaN": ("NaN", None),
    "Infinity": ("Infinity", None),
    "-Infinity": ("-Infinity", None),
    "too large a float": ("1e999", None),
    "too small a float": ("-1e999", None),
    "the largest float": ("1.7976931348623157e308", 1.7976931348623157e308),
    "the smallest float": ("5e-324", 5e-324),
    "a long fraction": ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
    "a float between two": ("9007199254740993.0", 9007199254740992.0),
    "an exponent": ("1E+2", 100.0),
    "a negative zero": ("-0", 0),
    "a negative zero with a point": ("-0.0", -0.0),
    "64 bits": (str(2**64 - 1), 2**64 - 1),
    "65 bits": (str(2**64), 2**64),
    "64 bits below zero": (str(-(2**63) - 1), -(2**63) - 1),
    "1,000 digits": ("9" * 1000, int("9" * 1000)),
    "5,000 digits": ("9" * 5000, None),
    "a pair of surrogates": (r'"\ud83d\udea3"', "\U0001f6a3"),
    "half a pair": (r'"a\ud83db"', "a\ufffdb"),
    "the other half": (r'"\udea3"', "\ufffd"),
    "two halves in the wrong order": (r'"\udea3\ud83d"', "\ufffd\ufffd"),
    "an escaped NUL": (r'"a\u0000b"', "a\0b"),
    "control characters": ('"a\x00\x01\t\n\r\x1f\x7fb"', "a\x00\x01\t\n\r\x1f\x7fb"),
    "escapes": (r'"\/\b\f\n\r\t\"\\"', '/\b\f\n\r\t"\\'),
    "line separators": ('"\u2028\u2029\x85"', "\u2028\u2029\x85"),
    "noncharacters": ('"\ufffe\uffff\ufeff"', "\ufffe\uffff\ufeff"),
    "two equal keys": ('{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
    "half a pair as a key": (r'{"\ud83d": 1}', {"\ufffd": 1}),
    "blanks": (" \t\r\n[ 1 , 2 ]\r\n", [1, 2]),
}


def with_value(text: str) -> bytes:
    """An answer with this JSON in a field that is read, and in two that are not."""
    answer = envelope(tiktok_post(statistics={"digg_count": "HERE", "more": "HERE"}), other="HERE")
    return json.dumps(answer).replace('"HERE"', text).encode()


@pytest.mark.parametrize(("text", "expected"), ODD_VALUES.values(), ids=ODD_VALUES)
def test_both_ways_agree_about_odd_values(text: str, expected: Json) -> None:
    content = with_value(text)
    assert exact(row("raw.json", content)["digg_count"]) == exact(expected)
    assert exact(row("raw.json", content)) == exact(carefully(content))


GOOD = body(envelope(tiktok_post(desc="Paper boats, 纸船")))
ODD_FILES = {
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-be"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "blanks around it": b"\r\n\t " + GOOD + b" \n\t\r",
    "a first text, then another": GOOD.replace(b'"desc":', b'"desc": "x", "desc":', 1),
    "a first post, then another": GOOD.replace(b'"data":', b'"data": {"aweme_detail": {"aweme_id": "2"}}, "data":', 1),
    "a first post that is none": GOOD.replace(b'"data":', b'"data": [5], "data":', 1),
    "a key with an escape": GOOD.replace(b'"desc"', rb'"d\u0065sc"'),
}


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=ODD_FILES)
def test_both_ways_agree_about_odd_files(content: bytes) -> None:
    assert content != GOOD
    assert exact(row("raw.json", content)) == exact(carefully(content)) == exact(row("raw.json", GOOD))


@pytest.mark.parametrize(
    "content",
    [GOOD + b"x", GOOD + GOOD, GOOD + b"\0", GOOD + b",", b"\x0c" + GOOD, b"\xff" + GOOD, b"," + GOOD, GOOD[1:]],
    ids=["a letter", "another answer", "a NUL", "a comma", "a form feed", "no UTF-8", "a comma before", "no beginning"],
)
def test_a_file_with_something_around_the_answer_is_read_by_neither_way(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of many kinds: what is wrong differs
        row("raw.json", content)


@pytest.mark.parametrize(
    "data", [{"aweme_detail": {"desc": "x"}, "aweme_details": [tiktok_post()]}, tiktok_post(aweme_details=[{"a": 1}])]
)
def test_both_ways_agree_which_of_two_posts_it_is_where_one_has_no_id(data: Json) -> None:
    content = body(envelope(data=data))
    assert exact(row("raw.json", content)) == exact(carefully(content))


# Deep nesting


def nested(depth: int, kind: str) -> bytes:
    deep = b"[" * depth + b"]" * depth
    if kind == "in no answer":
        return b'{"a": ' + deep + b"}"
    if kind == "in a field that is read":
        return GOOD.replace(b'"is_ads": false', b'"is_ads": ' + deep)
    mark = b"\xef\xbb\xbf" if kind == "behind a mark" else b""
    return mark + GOOD[:-1] + b', "other": ' + deep + b"}"


KINDS = ["in no answer", "in a field that is read", "in a field that is not", "behind a mark"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 100, 300, 5_000, 100_000])
def test_however_deep_an_answer_is_nested_the_others_are_summarised(tmp_path: Path, depth: int, kind: str) -> None:
    source = save_all(tmp_path / "raw", [GOOD, nested(depth, kind), GOOD])
    found = rows(summarize(source, tmp_path / "out").paths["json"])
    assert [item["parse_ok"] for item in found] == [True, depth < 1000 and kind != "in no answer", True]


@pytest.mark.parametrize("kind", [list, dict])
def test_a_row_may_be_nested_so_deeply_and_no_deeper(kind: type) -> None:
    value: Json = None
    for _ in range(MAX_DEPTH):
        value = [value] if kind is list else {"a": value}
    assert (is_deep({"field": value}), is_deep({"field": [value]})) == (False, True)


@pytest.mark.parametrize("kind", ["in no answer", "behind a mark"])
@pytest.mark.parametrize("depth", [600, 800])
def test_an_answer_that_is_not_quite_too_deep_to_be_read_does_not_end_the_summary_either(
    tmp_path: Path, depth: int, kind: str
) -> None:
    source = save_all(tmp_path / "raw", [GOOD, nested(depth, kind), GOOD])
    found = rows(summarize(source, tmp_path / "out").paths["json"])
    assert [found[0]["parse_ok"], found[2]["parse_ok"]] == [True, True]


@pytest.mark.parametrize("text", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xe4\xb8"])
@pytest.mark.parametrize("field", ["desc", "not_a_field_that_is_read"])
def test_invalid_utf_8_is_a_bad_row_wherever_it_stands(tmp_path: Path, field: str, text: bytes) -> None:
    bad = json.dumps(envelope(tiktok_post(**{field: "@@"}))).encode().replace(b"@@", text)
    source = save_all(tmp_path / "raw", [GOOD, bad, GOOD])
    found = rows(summarize(source, tmp_path / "out").paths["json"])
    assert [item["parse_ok"] for item in found] == [True, False, True]
    assert "utf-8" in found[1]["error"]


# Our own columns

TIKTOK, DOUYIN = "/api/v1/tiktok/app/v3/fetch_one_video", "/api/v1/douyin/web/fetch_one_video"
HYBRID = "/api/v1/hybrid/video_data"


@pytest.mark.parametrize(
    ("router", "link", "expected"),
    [
        (TIKTOK, "https://vm.example/ABC/", "tiktok"),
        (DOUYIN, "https://vm.example/ABC/", "douyin"),
        (TIKTOK, "https://v.douyin.com/ABC/", "tiktok"),
        (DOUYIN, "https://vm.tiktok.com/ABC/", "douyin"),
        (HYBRID, "https://vm.tiktok.com/ABC/", "tiktok"),
        (HYBRID, "https://www.iesdouyin.com/share/video/1/", "douyin"),
        (HYBRID, "https://www.amemv.com/share/video/1/", "douyin"),
        (HYBRID, "https://m.tiktokv.eu/v/1/", "tiktok"),
        (HYBRID, "复制打开 https://v.douyin.com/ABC/?from=tiktok.com 看", "douyin"),
        (HYBRID, "https://vm.example/ABC/", None),
        (HYBRID, "https://evil-douyin.com/video/1", None),
        (HYBRID, "https://x.example/?u=tiktok.com", None),
        (HYBRID, "https://tiktok.com.x.example/", None),
        ("/api/v1/other/tiktok", "", None),
        (None, "https://www.tiktok.com/@a/video/1", "tiktok"),
        (5, "https://www.douyin.com/video/1", "douyin"),
        ({"/tiktok/": 1}, "https://www.douyin.com/video/1", "douyin"),
        ("", "", None),
    ],
)
def test_the_platform_is_what_the_router_says_else_the_link(router: Json, link: str, expected: str | None) -> None:
    value = envelope(tiktok_post(share_url=None), router=router, params={"share_url": link})
    assert row_of(value)["platform"] == expected


def test_where_the_link_that_was_asked_for_tells_nothing_the_posts_own_does() -> None:
    post = douyin_post(share_url="https://www.iesdouyin.com/share/video/1/")
    value = envelope(post, router=HYBRID, params={"share_url": "https://t.example/abc"})
    assert row_of(value)["platform"] == "douyin"


def test_plays_of_douyin_are_not_reported_by_whichever_of_its_hosts_it_is_known() -> None:
    value = envelope(douyin_post(), router=None, params={"share_url": "https://www.amemv.com/share/video/1/"})
    assert summary_rows.reported(row_of(value))["play_count"] is None


@pytest.mark.parametrize(
    "beside",
    [
        {"video": "file.mp4"},
        {"author": "another tool", "statistics": 5, "text_extra": {"a": 1}},
        {"aweme_detail": "x", "music": [1]},
        {"desc": 5, "aweme_id": {}},
    ],
    ids=str,
)
def test_what_another_tool_wrote_beside_the_answer_does_not_break_its_row(beside: Object) -> None:
    value = envelope(tiktok_post())
    assert row_of(value | beside) == row_of(value)


def test_a_post_is_found_beside_what_is_none() -> None:
    value = envelope(douyin_post(), douyin=True)
    value["data"]["aweme_details"] = "none"
    assert row_of(value) == row_of(envelope(douyin_post(), douyin=True))
    assert row_of(tiktok_post() | {"data": [1]}) == row_of(tiktok_post())


def test_a_post_without_an_envelope_has_the_platform_of_its_own_link() -> None:
    assert [row_of(post)["platform"] for post in (tiktok_post(), douyin_post())] == ["tiktok", "douyin"]


NO_MOMENTS: list[Json] = [1_400_000_000, 253_402_300_800, 1_760_000_000_000, 0, -1, -1_760_000_000]
NO_MOMENTS += [1_760_000_000.5, 1e300, 10**40, True, False, None, [], {}, [1_760_000_000]]
NO_MOMENTS += ["", "0", "-1760000000", "1760000000.0", " 1760000000", "2025-10-09", "１７６００００００００"]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (1_760_000_000, "2025-10-09T08:53:20Z"),
        ("1760000000", "2025-10-09T08:53:20Z"),
        (1_760_000_000.0, "2025-10-09T08:53:20Z"),
        (1_400_000_001, "2014-05-13T16:53:21Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
    ],
)
def test_the_time_of_the_numbers_may_be_a_number_or_its_text(stamp: Json, expected: str) -> None:
    assert row_of(envelope(tiktok_post(), time_stamp=stamp))["as_of"] == expected


@pytest.mark.parametrize("stamp", NO_MOMENTS, ids=repr)
def test_what_is_no_time_between_the_first_post_and_the_year_10000_is_none(stamp: Json) -> None:
    assert row_of(envelope(tiktok_post(), time_stamp=stamp))["as_of"] is None


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's zone cannot be changed")
def test_the_time_of_the_numbers_does_not_depend_on_where_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        assert row_of(envelope(tiktok_post()))["as_of"] == "2025-10-09T08:53:20Z"
    time.tzset()


def test_an_answer_that_says_no_time_has_none() -> None:
    assert row_of(tiktok_post())["as_of"] is None


FULL = {"play_count": 1000, "digg_count": 50, "comment_count": 6, "share_count": 7, "collect_count": 8}


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({}, 0.071),
        ({"play_count": 3}, round(71 / 3, 6)),
        ({"play_count": "1000"}, 0.071),
        ({"download_count": None, "forward_count": None}, 0.071),
        ({name: 0 for name in FULL if name != "play_count"}, 0.0),
        ({"play_count": 0}, None),
        ({"play_count": -1000}, None),
        ({"play_count": 2**53}, None),
        ({"play_count": True}, None),
        *(({name: None}, None) for name in FULL),
        ({"digg_count": "many"}, None),
        ({"digg_count": -1}, None),
    ],
)
def test_the_engagement_rate_needs_plays_and_every_count_in_it(over: Object, expected: float | None) -> None:
    assert row_of(envelope(tiktok_post(statistics=FULL | over)))["engagement_rate"] == expected


@pytest.mark.parametrize("plays", [0, 1000])
def test_douyin_has_no_engagement_rate_because_its_plays_are_not_real(plays: int) -> None:
    made = row_of(envelope(douyin_post(statistics=FULL | {"play_count": plays}), douyin=True))
    assert (made["play_count"], made["engagement_rate"]) == (plays, None)
    assert summary_rows.reported(made) == FULL | {"play_count": None, "download_count": None}


def test_the_id_of_a_call_is_a_text_also_in_a_broken_row() -> None:
    assert row_of({"request_id": 2**60, "code": 200, "data": {}})["request_id"] == str(2**60)


def test_a_broken_row_has_none_of_our_own_columns_but_the_link_that_was_asked_for() -> None:
    made = row_of(private_answer())
    assert {name: made[name] for name in OURS} == dict.fromkeys(OURS) | {"link": made["share_url"]}
    assert set(summary_rows.reported(made).values()) == {None}


@pytest.mark.parametrize("content", [GOOD, b"\xef\xbb\xbf" + GOOD], ids=["quick", "careful"])
def test_whether_it_is_the_newest_is_not_known_to_one_row_alone(content: bytes) -> None:
    made = row("raw.json", content)
    assert (made["aweme_id"], made["is_latest"], tuple(made)) == (TIKTOK_ID, None, tuple(COLUMNS))
