"""answers.py: raw files of several posts, and of other forms than an answer about one post."""

from pathlib import Path

import pytest

from tests.support.payloads import ANSWERED, Object, douyin_post, envelope, tiktok_post
from tests.support.summary_inputs import answer, body, rows, save_all
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.summarize import summarize
from tikhub_mcp.tools.replies import summary_reply

IDS = ("7300000000000000011", "7300000000000000012", "7300000000000000013")


def several(*posts: Json, **over: Json) -> Object:
    """The answer to a call that asked for several posts."""
    router = "/api/v1/tiktok/app/v3/fetch_multi_video"
    return envelope(data={"aweme_details": list(posts), "status_code": 0} | over, router=router, params={})


def tabled(tmp_path: Path, *files: Json) -> list[Row]:
    return rows(summarize(save_all(tmp_path / "raw", list(files)), tmp_path / "out").paths["json"])


# Several posts


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["quick", "careful"])
def test_a_file_of_several_posts_gives_a_row_for_each_in_their_order(tmp_path: Path, mark: bytes) -> None:
    file = mark + body(several(*(tiktok_post(aweme_id=post, digg_count=1) for post in IDS)))
    found = tabled(tmp_path, answer("1"), file, answer("2"))
    assert [row["aweme_id"] for row in found] == ["1", *IDS, "2"]
    assert [row["source_file"] for row in found] == ["0000.json", *["0001.json"] * 3, "0002.json"]
    assert [row["link"] for row in found[1:4]] == [f"https://www.tiktok.com/@paper.boats/video/{post}" for post in IDS]
    assert [row["is_latest"] for row in found] == [True] * 5


def test_totals_the_top_and_the_history_count_each_post_of_a_file(tmp_path: Path) -> None:
    before = [tiktok_post(aweme_id=post, statistics={"play_count": at}) for at, post in enumerate(IDS)]
    later = [tiktok_post(aweme_id=post, statistics={"play_count": 10 * at}) for at, post in enumerate(IDS)]
    files = [several(*before), several(*later[1:]) | {"time_stamp": ANSWERED + 86_400}]
    steps: list[tuple[int, int]] = []
    done = summarize(
        save_all(tmp_path / "raw", list(files)), tmp_path / "out", progress=lambda *step: steps.append(step)
    )
    reply = summary_reply(done)
    assert (reply.rows, reply.parsed, reply.broken, reply.posts_with_history, done.files) == (5, 5, 0, 2, 2)
    assert reply.totals is not None
    assert (reply.totals.posts, reply.totals.plays) == (3, 30)
    assert [(post.video_id, post.plays, post.change) for post in reply.top_by_plays] == [
        (IDS[2], 20, 18),
        (IDS[1], 10, 9),
    ]
    assert [row["is_latest"] for row in rows(done.paths["json"])] == [True, False, False, True, True]
    assert steps[-1] == (7, 7)


def test_of_several_posts_a_broken_one_is_a_row_and_hurts_no_other(tmp_path: Path) -> None:
    file = several(tiktok_post(aweme_id=IDS[0]), None, tiktok_post(desc=5), "x", tiktok_post(aweme_id=IDS[1]))
    found = tabled(tmp_path, file)
    assert [row["parse_ok"] for row in found] == [True, False, False, False, True]
    assert [row["aweme_id"] for row in found if row["parse_ok"]] == list(IDS[:2])
    assert [row["error"].partition(" is not as")[0] for row in found[1:4]] == [f"Post {at} of 5" for at in (2, 3, 4)]


def test_posts_that_are_missing_among_several_are_rows_with_their_reasons(tmp_path: Path) -> None:
    listed = [
        {"aweme_id": IDS[1], "reason": 5},
        {"aweme_id": int(IDS[2]), "filter_reason": "status_deleted"},
        {"aweme_id": IDS[0], "reason": 8},
        {"reason": 5},
        "x",
    ]
    found = tabled(tmp_path, several(tiktok_post(aweme_id=IDS[0]), filter_list=listed))
    assert [(row["aweme_id"], row["error"], row["link"]) for row in found[1:]] == [
        (None, "The post is private.", f"https://www.tiktok.com/@/video/{IDS[1]}"),
        (None, "The post was deleted.", f"https://www.tiktok.com/@/video/{IDS[2]}"),
    ]


@pytest.mark.parametrize("places", [[], None, [None, {}]], ids=str)
def test_posts_that_are_all_missing_are_rows_with_their_reasons(tmp_path: Path, places: Json) -> None:
    listed = [{"aweme_id": IDS[0], "reason": 8}, {"aweme_id": IDS[1], "reason": 5}, {"aweme_id": IDS[1], "reason": 10}]
    found = tabled(tmp_path, several(aweme_details=places, filter_list=listed))
    assert [(row["error"], row["link"]) for row in found] == [
        ("The post is blocked for copyright reasons, or gone.", f"https://www.tiktok.com/@/video/{IDS[0]}"),
        ("The post is private.", f"https://www.tiktok.com/@/video/{IDS[1]}"),
    ]


def test_a_missing_post_with_an_empty_place_is_one_row(tmp_path: Path) -> None:
    file = several(None, tiktok_post(aweme_id=IDS[0]), None, filter_list=[{"aweme_id": IDS[1], "reason": 5}])
    first, there, last = tabled(tmp_path, file)
    assert (first["error"], first["link"]) == ("The post is private.", f"https://www.tiktok.com/@/video/{IDS[1]}")
    assert there["aweme_id"] == IDS[0]
    assert last["error"].startswith("Post 3 of 3 is not as TikHub answers")


def test_one_post_that_was_asked_for_is_one_row_whatever_is_filtered(tmp_path: Path) -> None:
    file = envelope(douyin_post(), douyin=True)
    file["data"]["filter_list"] = [{"aweme_id": IDS[0], "reason": 5}]
    assert [row["parse_ok"] for row in tabled(tmp_path, file)] == [True]


# Other forms

OTHERS: dict[str, Json] = {
    "a list of posts": {"aweme_list": [tiktok_post()], "has_more": 1, "max_cursor": 1},
    "a list with posts that are filtered": {"aweme_list": [tiktok_post()], "filter_list": [{"reason": 5}]},
    "a search": {"search_item_list": [{"aweme_info": tiktok_post()}]},
    "a search of another kind": {"data": [{"type": 1, "aweme_info": tiktok_post()}], "status_code": 0},
    "a post as the web has it": {
        "itemInfo": {"itemStruct": {"id": IDS[0], "stats": {"diggCount": 5}}},
        "statusCode": 0,
    },
    "statistics": {"statistics_list": [{"aweme_id": IDS[0], "digg_count": 5}], "status_code": 0},
    "statistics of one post": {"digg_count": 5, "play_count": 7, "status_code": 0},
    "a profile": {"user": {"uid": "1", "nickname": "Ada"}, "status_code": 0},
    "comments": {"comments": [{"cid": "1"}], "cursor": 20, "has_more": 1},
    "a list that is empty": {"aweme_list": [], "has_more": 0},
    "a list in data": [tiktok_post()],
    "an empty list in data": [],
    "a text in data": "x",
    "details that are none": {"aweme_details": ["x"]},
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_another_endpoint_gave_is_called_a_form_that_is_not_read(tmp_path: Path, data: Json) -> None:
    [row] = tabled(tmp_path, envelope(data=data))
    assert (row["parse_ok"], "not in a form that this reads" in row["error"]) == (False, True)


MISSING: list[Json] = [None, {}, {"aweme_details": [None]}, {"aweme_detail": None, "log_pb": {"impr_id": "1"}}]
MISSING += [{"status_code": 0, "log_pb": {"impr_id": "1"}, "extra": {"now": 1}, "filter_list": [], "aweme_status": [1]}]


@pytest.mark.parametrize("data", MISSING, ids=str)
def test_an_answer_without_a_post_and_without_anything_else_is_about_a_missing_post(tmp_path: Path, data: Json) -> None:
    [row] = tabled(tmp_path, envelope(data=data))
    assert row["error"] == "The post is not available (private, deleted or blocked; TikHub does not say which)."


def test_a_reason_counts_whatever_small_things_stand_beside_it(tmp_path: Path) -> None:
    data = {"statusCode": 10204, "statusMsg": "status_deleted", "itemInfo": {}, "shareMeta": {"title": "x"}}
    [row] = tabled(tmp_path, envelope(data=data))
    assert row["error"] == "The post was deleted."
