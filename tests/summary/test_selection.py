"""selection.py: a summary about some posts only."""

from pathlib import Path

import pytest

from tests.support.payloads import DOUYIN_ID, TIKTOK_ID, envelope, private_answer, tiktok_post
from tests.support.summary_inputs import DAY, answer, lines, rows, save_all
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.summary.summarize import Summary, summarize
from tikhub_mcp.tools.replies import summary_reply

SHORT, OTHER_SHORT = "https://vm.tiktok.com/ZMmadeup1/", "https://v.douyin.com/madeup2/"
TIKTOK, DOUYIN = f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}", f"https://www.douyin.com/video/{DOUYIN_ID}"
THIRD = "7300000000000000033"


def private(link: str) -> Json:
    return private_answer(params={"share_url": link})


FILES: dict[str, Json] = {
    "a.json": answer(TIKTOK_ID, 0, play_count=10, link=TIKTOK),
    "b.json": answer(TIKTOK_ID, 1, play_count=30, link=SHORT),
    "c.json": private(SHORT),
    "d.json": answer(DOUYIN_ID, douyin=True, link=DOUYIN),
    "e.json": answer(THIRD, play_count=900, link=f"https://www.tiktok.com/@a/video/{THIRD}?_t=tracking"),
    "f.json": private(OTHER_SHORT),
    "g.json": private(f"https://www.douyin.com/note/{THIRD}"),
    "h.json": b"",
    "i.json": envelope(tiktok_post(aweme_id=DOUYIN_ID), params={"share_url": "https://vm.tiktok.com/ZMmadeup9/"}),
    "j.json": tiktok_post(aweme_id=THIRD, share_url=None),
}


def about(tmp_path: Path, *links: str) -> Summary:
    return summarize(save_all(tmp_path / "raw", FILES), tmp_path / "out", about=[parse_link(link) for link in links])


@pytest.mark.parametrize(
    ("links", "files"),
    [
        ([TIKTOK], "abc"),
        ([f"https://m.tiktok.com/v/{TIKTOK_ID}.html?lang=en"], "abc"),
        ([SHORT], "abc"),
        (["https://vm.tiktok.com/ZMmadeup1?k=1", TIKTOK], "abc"),
        ([DOUYIN], "d"),
        ([f"https://www.douyin.com/discover?modal_id={DOUYIN_ID}"], "d"),
        ([OTHER_SHORT], "f"),
        ([f"https://www.douyin.com/video/{THIRD}"], "g"),
        ([f"https://www.tiktok.com/@/video/{THIRD}"], "e"),
        (["https://vm.tiktok.com/ZMmadeup9/", DOUYIN], "di"),
    ],
)
def test_rows_are_about_the_posts_of_the_links_however_they_were_asked_for(
    tmp_path: Path, links: list[str], files: str
) -> None:
    done = about(tmp_path, *links)
    assert [row["source_file"][0] for row in rows(done.paths["json"])] == list(files)
    assert [line["source_file"][0] for line in lines(done.paths["csv"])] == list(files)
    assert done.without == ""


def test_totals_the_top_and_the_history_are_about_those_posts_only(tmp_path: Path) -> None:
    done = about(tmp_path, SHORT, DOUYIN)
    reply = summary_reply(done)
    assert (reply.rows, reply.parsed, reply.broken, reply.posts_with_history) == (4, 3, 1, 1)
    assert reply.totals is not None
    assert (reply.totals.posts, reply.totals.plays, reply.totals.plays_reported) == (2, 30, 1)
    assert [(post.video_id, post.change) for post in reply.top_by_plays] == [(TIKTOK_ID, 20)]
    assert [line["aweme_id"] for line in lines(done.paths["history"])] == [TIKTOK_ID] * 2
    assert [row["is_latest"] for row in rows(done.paths["json"])] == [False, True, None, True]


def test_an_answer_about_another_post_than_the_link_names_is_about_that_other_post(tmp_path: Path) -> None:
    asked = f"https://www.tiktok.com/@a/video/{DAY}000000000"
    save_all(tmp_path / "raw", {"k.json": answer(f"{DAY}111111111", link=asked)})
    done = about(tmp_path, asked, DOUYIN)
    assert [row["source_file"] for row in rows(done.paths["json"])] == ["d.json"]
    assert asked in done.without


def test_links_without_a_saved_answer_are_counted_and_five_are_named(tmp_path: Path) -> None:
    unknown = [f"https://www.tiktok.com/@a/video/730000000000000010{number}" for number in range(7)]
    done = about(tmp_path, unknown[0], TIKTOK, *unknown, unknown[1])
    named = ", ".join(unknown[:5])
    assert summary_reply(done).note == f"Links without a saved answer: 7 of 8 ({named}, …)."
    assert about(tmp_path, TIKTOK, unknown[0]).without == f"Links without a saved answer: 1 of 2 ({unknown[0]})."


def test_where_no_link_has_a_saved_answer_nothing_is_written(tmp_path: Path) -> None:
    unknown = f"https://www.tiktok.com/@a/video/{DAY}000000000"
    with pytest.raises(InvalidInput, match=f"saved answer: 1 of 1 .{unknown}.. Get them with batch_download first"):
        about(tmp_path, unknown)
    assert not (tmp_path / "out").exists()


def test_each_reading_and_each_row_is_a_step(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    source = save_all(tmp_path / "raw", FILES)
    summarize(source, tmp_path / "out", about=[parse_link(DOUYIN)], progress=lambda *step: steps.append(step))
    assert [done for done, _ in steps] == list(range(1, 22))
    assert [total for _, total in steps] == [30] * 20 + [21]
