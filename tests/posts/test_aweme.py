"""aweme.py, and through it post.py: whatever a field holds, reading goes on, and a null has its reason."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.payloads import ANSWERED, TIKTOK_ID, Object, address, envelope, paths, replaced, tiktok_post, video
from tikhub_mcp.errors import NotAVideo, PostUnavailable, UnexpectedAnswer
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.aweme import BEFORE_TIKTOK, MAX_RENDITIONS, YEAR_10000, Aweme, unix_time
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.post import Metrics, Post, check_available, choose, parse_post
from tikhub_mcp.posts.renditions import Quality

TIKTOK = parse_link(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
COUNTS = {
    "likes": "digg_count",
    "comments": "comment_count",
    "shares": "share_count",
    "plays": "play_count",
    "saves": "collect_count",
    "downloads": "download_count",
}
QUALITIES: tuple[Quality, ...] = ("compatible", "best", "smallest")
NOT_NUMBERS: list[Json] = [
    *(-1, -0.5, 1.5, True, False, float("nan"), float("inf"), 2**53, 1e300, 10**4000),
    *("", "1.2M", " 5", "+5", "-5", "٣", "0x10", "1e3", "NaN", "9" * 19, "9" * 5000, "\ud800", [1], {"a": 1}),
]


def tiktok(**over: Json) -> Post:
    return parse_post(envelope(tiktok_post(**over)), TIKTOK, ANSWERED)


def filmed(**over: Json) -> Post:
    return tiktok(video=video(**over))


def numbers(**over: Json) -> Metrics:
    return tiktok(statistics=tiktok_post()["statistics"] | over).metrics


@pytest.mark.parametrize(
    ("served", "read_as"), [(0, 0), ("0", 0), (0.0, 0), ("007", 7), (5.0, 5), (2**53 - 1, 2**53 - 1)]
)
@pytest.mark.parametrize("name", COUNTS)
def test_numbers_are_read_from_text_too_and_zero_stays_zero(name: str, served: Json, read_as: int) -> None:
    metrics = numbers(**{COUNTS[name]: served})
    assert (getattr(metrics, name), metrics.notes) == (read_as, {})


@pytest.mark.parametrize(
    ("served", "bounds", "read_as"),
    [
        (1, (), 1),
        (0, (), None),
        (str(YEAR_10000 - 1), (), YEAR_10000 - 1),
        (YEAR_10000, (), None),
        (BEFORE_TIKTOK, (BEFORE_TIKTOK,), None),
        (BEFORE_TIKTOK + 1.0, (BEFORE_TIKTOK,), BEFORE_TIKTOK + 1),
        (5, (0, 5.5), 5),
        (6, (0, 5.5), None),
        *[(odd, (), None) for odd in NOT_NUMBERS],
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_time_is_a_number_of_seconds_between_its_bounds(
    served: Json, bounds: tuple[int, ...], read_as: int | None
) -> None:
    assert unix_time(served, *bounds) == read_as


@pytest.mark.parametrize("served", NOT_NUMBERS, ids=lambda value: ascii(value)[:20])
def test_a_number_that_is_none_becomes_null_with_the_reason_and_hurts_no_other(served: Json) -> None:
    for name, field in COUNTS.items():
        metrics = numbers(**{field: served})
        assert getattr(metrics, name) is None
        assert metrics.notes == {name: "unreadable in the answer"}
    metrics = filmed(duration=served).metrics
    assert (metrics.duration_ms, metrics.notes) == (None, {"duration_ms": "unreadable in the answer"})
    metrics = filmed(play_addr=address() | {"width": served}).metrics
    assert (metrics.resolution, set(metrics.notes)) == (None, {"resolution"})


@pytest.mark.parametrize("statistics", [None, [], [1], "many", 5, {}, {"digg_count": None}])
def test_without_statistics_every_count_says_that_it_was_not_in_the_answer(statistics: Json) -> None:
    metrics = tiktok(statistics=statistics).metrics
    assert metrics.notes == dict.fromkeys(COUNTS, "not in the answer")
    assert not any(getattr(metrics, name) for name in COUNTS)


@pytest.mark.parametrize("served", [None, 5, [], "none", {}])
def test_without_a_video_its_measures_are_null_and_there_is_no_file(served: Json) -> None:
    post = tiktok(video=served)
    assert post.metrics.notes == {"resolution": "not in the answer", "duration_ms": "not in the answer"}
    assert post.renditions == ()


def rich() -> Object:
    """Every place that is read, filled."""
    files = {name: address("bytevc1") for name in ("play_addr_h264", "play_addr_265", "play_addr_bytevc1")}
    return envelope(tiktok_post(video=video(**files, is_h265=0, is_bytevc1=0), images=None, image_post_info=None))


PATHS = list(paths(rich()))
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def survives(answer: Json) -> None:
    """Read it to the end; only what is foreseen may come, and only what a client can be given."""
    try:
        post = parse_post(answer, SHORT, ANSWERED)
        json.dumps(post.metrics.model_dump(), allow_nan=False, ensure_ascii=False).encode()
        post.title.encode()
        for file in (*post.music, *post.covers, *(caption.file for caption in post.captions)):
            assert file.urls
        check_available(post)
        for quality in QUALITIES:
            assert choose(post, quality)[0].urls
    except (PostUnavailable, NotAVideo, UnexpectedAnswer):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [None, True, 5, -1, *NOT_NUMBERS[::3], "text", [], {}, [[]], ["x"], {"x": None}],
    ids=lambda value: ascii(value)[:20],
)
def test_no_field_can_hold_what_makes_reading_fail(value: Json) -> None:
    answer = rich()
    for at in PATHS:
        survives(replaced(answer, at, value))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(at=st.sampled_from(PATHS), value=anything)
def test_any_json_in_any_single_field_is_survived(at: tuple[str | int, ...], value: Json) -> None:
    survives(replaced(rich(), at, value))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(answer=anything)
@example(answer={"data": {"aweme_id": "\ud800", "aweme_detail": {"desc": 5}}})
@example(answer={"data": {"aweme_id": None}})
def test_any_json_as_the_whole_answer_is_survived(answer: Json) -> None:
    survives(answer)
    survives({"data": answer})
    survives({"data": {"aweme_detail": answer}})


def test_a_post_has_a_bounded_number_of_files_mirrors_and_long_links() -> None:
    links = [f"https://{number}.example/{'x' * 9000 * (number < 3)}" for number in range(1000)]
    gears = [{"play_addr": {"url_list": links[number:]}} for number in range(900)]
    found = Aweme.model_validate({"video": {"play_addr": {"url_list": links}, "bit_rate": gears}})
    assert found.video.play_addr.url_list == links[3:13]
    assert len(found.video.bit_rate) == MAX_RENDITIONS
    link = parse_link(f"https://www.tiktok.com/@a/video/{TIKTOK_ID}")
    post = parse_post(envelope({"aweme_id": TIKTOK_ID, "video": {"bit_rate": gears}}), link, 0.0)
    assert 40 < len(post.renditions) <= MAX_RENDITIONS
