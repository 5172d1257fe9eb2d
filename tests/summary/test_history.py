"""history.py: many answers about the same posts; which is the newest, how numbers changed, totals and the top."""

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.payloads import Object, envelope, private_answer, tiktok_post
from tests.support.summary_inputs import COUNTS, DAY, answer, lines, row_of, rows, save_all
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.history import HISTORY, MAX_TOP_POSTS, Snapshots, history
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.summarize import summarize
from tikhub_mcp.tools.replies import summary_reply
from tikhub_mcp.tools.schemas import SummaryReply

NONE_OF_THEM = dict.fromkeys(COUNTS, 0)


def newest(tmp_path: Path, answers: dict[str, Json] | list[Json]) -> list[bool | None]:
    """is_latest of each row, in order of name."""
    done = summarize(save_all(tmp_path / "raw", answers), tmp_path / "out")
    return [row["is_latest"] for row in rows(done.paths["json"])]


def told(tmp_path: Path, answers: dict[str, Json] | list[Json]) -> list[dict[str, str]]:
    """The history of these answers."""
    done = summarize(save_all(tmp_path / "raw", answers), tmp_path / "out")
    return lines(done.paths["history"])


def replied(tmp_path: Path, answers: list[Json]) -> SummaryReply:
    return summary_reply(summarize(save_all(tmp_path / "raw", answers), tmp_path / "out"))


# The newest


@pytest.mark.parametrize("days", list(permutations([0, 1, 2])))
def test_the_newest_is_the_last_that_was_answered_whatever_its_name(tmp_path: Path, days: tuple[int, ...]) -> None:
    assert newest(tmp_path, [answer("1", day) for day in days]) == [day == 2 for day in days]


def test_of_the_same_moment_the_last_name_is_the_newest(tmp_path: Path) -> None:
    answers = {"c.json": answer("1", 5), "a.json": answer("1", 5), "b.json": answer("1", 5), "d.json": answer("1", 4)}
    assert newest(tmp_path, answers) == [False, False, True, False]


@pytest.mark.parametrize(
    ("days", "expected"),
    [([None, 0], [False, True]), ([0, None], [True, False]), ([None, None, None], [False, False, True])],
)
def test_an_answer_that_says_no_time_is_older_than_all_that_do(
    tmp_path: Path, days: list[float | None], expected: list[bool]
) -> None:
    assert newest(tmp_path, [answer("1", day) for day in days]) == expected


@pytest.mark.parametrize("aweme_id", [None, "", False, 1.5, [], ["1"], {"a": 1}], ids=repr)
def test_rows_without_an_id_are_each_the_newest_of_their_own(tmp_path: Path, aweme_id: Json) -> None:
    assert newest(tmp_path, [answer(aweme_id, day) for day in (1, 0)]) == [True, True]
    assert not (tmp_path / "out" / "tikhub_metrics_history.csv").exists()


def test_a_broken_row_is_neither_the_newest_nor_not(tmp_path: Path) -> None:
    assert newest(tmp_path, [b"", private_answer(), answer("1", 1), answer("1", 0), {}]) == [
        None,
        None,
        True,
        False,
        None,
    ]


def test_an_id_is_the_same_as_a_number_and_as_a_text(tmp_path: Path) -> None:
    assert newest(tmp_path, [answer(2**61 + 1, 0), answer(str(2**61 + 1), 1)]) == [False, True]


@pytest.mark.parametrize(
    "ids", [("7", "007"), ("7", "٧"), (None, "row 0")], ids=["zeros", "digits of another script", "no id"]
)
def test_posts_of_different_ids_are_different_posts(tmp_path: Path, ids: tuple[Json, Json]) -> None:
    assert newest(tmp_path, [answer(aweme_id) for aweme_id in ids]) == [True, True]


# How numbers changed


def test_the_history_has_the_posts_with_more_than_one_answer_from_the_oldest(tmp_path: Path) -> None:
    answers: dict[str, Json] = {"g.json": b"", "h.json": private_answer()}
    answers |= {"e.json": answer("1", 0), "d.json": answer("2", 3), "c.json": answer("1", 2), "b.json": answer("3", 1)}
    answers |= {"a.json": answer("2", 1), "f.json": answer("1", 1)}
    found = told(tmp_path, answers)
    assert tuple(found[0]) == tuple(HISTORY)
    assert sorted((line["aweme_id"], line["as_of"], line["source_file"], line["is_latest"]) for line in found) == [
        ("1", "2025-10-09T08:53:20Z", "e.json", "false"),
        ("1", "2025-10-10T08:53:20Z", "f.json", "false"),
        ("1", "2025-10-11T08:53:20Z", "c.json", "true"),
        ("2", "2025-10-10T08:53:20Z", "a.json", "false"),
        ("2", "2025-10-12T08:53:20Z", "d.json", "true"),
    ]
    ids = [line["aweme_id"] for line in found]
    assert [line["as_of"] for line in found if line["aweme_id"] == "1"] == sorted(
        line["as_of"] for line in found if line["aweme_id"] == "1"
    )
    assert ids in (["1", "1", "1", "2", "2"], ["2", "2", "1", "1", "1"])  # the lines of a post stand together


def test_each_line_has_the_change_since_the_one_before_and_that_per_day(tmp_path: Path) -> None:
    counts = {"digg_count": 10, "comment_count": 4, "share_count": 3, "collect_count": 2, "download_count": 1}
    first, second, third = told(
        tmp_path,
        [
            answer("1", 0, play_count=1000, **counts),
            answer("1", 0.5, play_count=1600, **counts | {"digg_count": 7}),
            answer("1", 3.5, play_count=1700, **counts | {"digg_count": 7}),
        ],
    )
    shown = "days_since_previous play_count play_count_change play_count_per_day digg_count_change digg_count_per_day"
    assert [tuple(line[name] for name in shown.split()) for line in (first, second, third)] == [
        ("", "1000", "", "", "", ""),
        ("0.5", "1600", "600", "1200.0", "-3", "-6.0"),
        ("3.0", "1700", "100", "33.333", "0", "0.0"),
    ]
    assert [line["engagement_rate"] for line in (first, second, third)] == ["0.019", "0.01", "0.009412"]
    assert (first["platform"], first["author_nickname"]) == ("tiktok", "Ada Paper")


def test_the_history_of_every_count_is_told_in_the_same_way(tmp_path: Path) -> None:
    before, after = ({name: start + at for at, name in enumerate(COUNTS, 1)} for start in (100, 200))
    first, second = told(tmp_path, [answer("1", 0, **before), answer("1", 2, **after)])
    for name in COUNTS:
        assert (first[name], first[f"{name}_change"], first[f"{name}_per_day"]) == (str(before[name]), "", "")
        assert (second[name], second[f"{name}_change"]) == (str(after[name]), "100")
        assert second[f"{name}_per_day"] == "50.0"


@pytest.mark.parametrize(("days", "apart"), [((3, 3), "0.0"), ((None, 3), ""), ((None, None), "")])
def test_answers_of_the_same_moment_or_of_none_have_a_change_but_none_per_day(
    tmp_path: Path, days: tuple[float | None, float | None], apart: str
) -> None:
    _, second = told(tmp_path, [answer("1", days[0], digg_count=5), answer("1", days[1], digg_count=8)])
    assert (second["days_since_previous"], second["digg_count_change"]) == (apart, "3")
    assert second["digg_count_per_day"] == ""


def test_a_second_is_not_rounded_away(tmp_path: Path) -> None:
    _, second = told(tmp_path, [answer("1", 0, digg_count=1), answer("1", 1 / DAY, digg_count=2)])
    assert (second["days_since_previous"], second["digg_count_per_day"]) == ("0.000012", f"{DAY}.0")


def test_plays_that_douyin_does_not_report_have_no_history_and_the_other_counts_have(tmp_path: Path) -> None:
    found = told(tmp_path, [answer("1", day, douyin=True, digg_count=10 * day + 1) for day in (0, 1)])
    unknown = ("play_count", "play_count_change", "play_count_per_day", "engagement_rate")
    assert [{line[name] for name in unknown} for line in found] == [{""}, {""}]
    assert [(line["digg_count"], line["digg_count_change"]) for line in found] == [("1", ""), ("11", "10")]


@pytest.mark.parametrize("missing", [None, "many", -5, 2**53, True, [1]], ids=repr)
def test_a_count_that_is_none_has_no_change_before_it_nor_after_it(tmp_path: Path, missing: Json) -> None:
    found = told(tmp_path, [answer("1", day, digg_count=count) for day, count in enumerate((5, missing, 9, 11))])
    assert [(line["digg_count"], line["digg_count_change"], line["digg_count_per_day"]) for line in found] == [
        ("5", "", ""),
        ("", "", ""),
        ("9", "", ""),
        ("11", "2", "2.0"),
    ]


def test_a_history_that_is_none_any_more_is_replaced_by_its_header(tmp_path: Path) -> None:
    assert len(told(tmp_path, [answer("1", 0), answer("1", 1)])) == 2
    (tmp_path / "raw" / "0001.json").unlink()
    done = summarize(tmp_path / "raw", tmp_path / "out")
    assert done.found.histories == 0
    assert done.paths["history"].read_text(encoding="utf-8-sig") == ",".join(HISTORY) + "\n"


def test_no_cell_of_the_history_can_run_as_a_formula(tmp_path: Path) -> None:
    author = {"nickname": "=1+1"}
    first, second = told(tmp_path, {f"@{day}.json": answer("-1", day, author=author) for day in (0, 1)})
    shown = ("aweme_id", "author_nickname", "source_file")
    assert [tuple(line[name] for name in shown) for line in (first, second)] == [
        ("'-1", "'=1+1", "'@0.json"),
        ("'-1", "'=1+1", "'@1.json"),
    ]


# What it comes to


def test_totals_are_over_the_newest_answer_about_each_post(tmp_path: Path) -> None:
    many = dict.fromkeys(COUNTS, 1_000_000)
    reply = replied(
        tmp_path,
        [
            answer("1", 0, **many),
            answer("1", 1, **dict(zip(COUNTS, (100, 20, 3, 4, 5, 6), strict=True))),
            answer("2", 1, **dict(zip(COUNTS, (200, 30, 1, 1, 1, 1), strict=True))),
            answer("2", 0, **many),
            answer("3", 0, douyin=True, **dict(zip(COUNTS, (0, 7, 1, 1, 1, None), strict=True))),
            private_answer(),
        ],
    )
    assert (reply.rows, reply.parsed, reply.broken, reply.posts_with_history) == (6, 5, 1, 2)
    assert reply.totals is not None
    assert reply.totals.model_dump() == {
        "posts": 3,
        "plays": 300,
        "plays_reported": 2,
        "likes": 57,
        "comments": 5,
        "shares": 6,
        "saves": 7,
        "downloads": 7,
    }


def test_a_count_that_no_post_reported_has_no_total_and_zeros_have_one(tmp_path: Path) -> None:
    reply = replied(tmp_path, [answer(str(number), douyin=True, share_count=0) for number in range(3)])
    assert reply.totals is not None
    assert (reply.totals.plays, reply.totals.plays_reported, reply.totals.shares) == (None, 0, 0)
    assert reply.top_by_plays == []
    assert len(reply.top_by_likes) == 3


def test_without_a_post_there_are_no_totals_and_no_top(tmp_path: Path) -> None:
    reply = replied(tmp_path, [b"", private_answer()])
    assert reply.totals is not None
    assert set(reply.totals.model_dump().values()) == {0, None}
    assert (reply.top_by_plays, reply.top_by_likes, reply.posts_with_history) == ([], [], 0)


def test_the_top_are_five_newest_answers_by_plays_and_five_by_likes_the_most_first(tmp_path: Path) -> None:
    plays, likes = (30, 10, 70, 20, 60, 50, 40), (1, 7, 2, 6, 3, 5, 4)
    counts = [{"play_count": played, "digg_count": liked} for played, liked in zip(plays, likes, strict=True)]
    answers = [answer(str(number), 1, **count) for number, count in enumerate(counts)]
    answers += [answer("3", 0, play_count=999, digg_count=999), answer("8", douyin=True, digg_count=100)]
    reply = replied(tmp_path, answers)
    assert [(post.video_id, post.plays) for post in reply.top_by_plays] == [
        ("2", 70),
        ("4", 60),
        ("5", 50),
        ("6", 40),
        ("0", 30),
    ]
    assert [(post.video_id, post.likes) for post in reply.top_by_likes] == [
        ("8", 100),
        ("1", 7),
        ("3", 6),
        ("5", 5),
        ("6", 4),
    ]
    assert reply.top_by_likes[0].plays is None
    assert MAX_TOP_POSTS == 5


def test_a_top_post_tells_its_growth_since_the_oldest_answer_that_has_the_count(tmp_path: Path) -> None:
    def grown(*answers: Json) -> list[tuple[int | None, float | None]]:
        reply = replied(tmp_path / str(len(list(tmp_path.iterdir()))), list(answers))
        return [(post.change, post.change_days) for post in (*reply.top_by_plays, *reply.top_by_likes)]

    assert grown(answer("1", 3, play_count=50, digg_count=5), answer("1", 0, play_count=20, digg_count=7)) == [
        (30, 3),
        (-2, 3),
    ]
    some = [answer("1", day, play_count=plays, digg_count=5) for day, plays in enumerate((None, 20, 50))]
    assert grown(*some) == [(30, 1), (0, 2)]
    assert grown(answer("1", None, play_count=20), answer("1", 2, play_count=50))[0] == (None, None)
    assert grown(answer("1", 2, play_count=50))[0] == (None, None)
    assert grown(*[answer("1", 2, play_count=50)] * 2)[0] == (0, 0)


def test_posts_without_plays_are_not_among_the_top_by_plays(tmp_path: Path) -> None:
    reply = replied(tmp_path, [answer("1", **NONE_OF_THEM), answer("2", **NONE_OF_THEM | {"play_count": 1})])
    assert [post.video_id for post in reply.top_by_plays] == ["2"]
    assert reply.top_by_likes == []


# Against the simplest way to say it


def snapshot() -> st.SearchStrategy[Object | bytes]:
    """An answer of one of a few posts at one of a few moments, or none."""
    ids = st.sampled_from(["1", "2", 3, "3", "a", "b" * 40, "9" * 40, None, "", True, {"a": 1}])
    counts = st.sampled_from(COUNTS)
    numbers = st.integers(min_value=0, max_value=5) | st.sampled_from([None, "4", "x", -1, 2.0, 2.5, 2**53 - 1, 2**53])
    made = st.builds(
        lambda aweme_id, day, douyin, over: answer(aweme_id, day, douyin=douyin, **over),
        ids,
        st.sampled_from([None, 0, 0.25, 1, 2]),
        st.booleans(),
        st.dictionaries(counts, numbers),
    )
    return st.one_of(made, made, made, st.sampled_from([private_answer(), envelope(tiktok_post(desc=5))]))


def posts_of(made: list[Row]) -> list[list[int]]:
    """The rows of each post, from the oldest; ISO dates of one zone have the order of their texts."""
    posts: dict[object, list[int]] = {}
    for number, row in enumerate(made):
        if row["parse_ok"]:
            named = isinstance(row["aweme_id"], str) and row["aweme_id"] != ""
            posts.setdefault(row["aweme_id"] if named else ("nameless", number), []).append(number)
    return [sorted(numbers, key=lambda number: (made[number]["as_of"] or "", number)) for numbers in posts.values()]


def count_of(row: Row, name: str) -> int | None:
    value = row[name]
    if name == "play_count" and row["platform"] == "douyin":
        return None
    if value in ("4", 2.0):
        return int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(snapshot(), max_size=25))
def test_snapshots_say_what_the_simplest_reckoning_says(answers: list[Object | bytes]) -> None:
    made, found = [row_of(value) for value in answers], Snapshots()
    for row in made:
        found.add(row)
    posts = posts_of(made)
    last = [numbers[-1] for numbers in posts]
    assert sorted(found.newest()) == sorted(last)
    assert sorted(found.histories()) == sorted(numbers for numbers in posts if len(numbers) > 1)
    assert found.parsed == sum(row["parse_ok"] for row in made)
    totals = found.totals()
    assert totals.posts == len(posts)
    for name in COUNTS:
        known = {number: count for number in last if (count := count_of(made[number], name)) is not None}
        assert (totals.counts[name], totals.reported[name]) == (sum(known.values()) if known else None, len(known))
        top = sorted(filter(None, known.values()), reverse=True)[:3]
        assert [known[number] for number in found.top(name, 3)] == top


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(snapshot(), min_size=1, max_size=6))
def test_changes_add_up_to_the_difference_of_the_first_and_the_last(answers: list[Object]) -> None:
    made = [row for row in map(row_of, answers) if row["parse_ok"]]
    told_of = list(history(made))
    assert [tuple(line) for line in told_of] == [tuple(HISTORY)] * len(made)
    for name in COUNTS:
        counts = [count_of(row, name) for row in made]
        assert [line[name] for line in told_of] == counts
        if counts and None not in counts:
            assert sum(line[f"{name}_change"] or 0 for line in told_of) == (counts[-1] or 0) - (counts[0] or 0)
