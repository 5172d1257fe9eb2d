"""summarize_raw through a client: about some posts only, and what it says of posts that are missing."""

import json
from pathlib import Path

import pytest

from tests.support.mcp_session import Desk, content, listing
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links, link, short_link

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GOOD = good_links(3)


def videos(reply: Json) -> list[Json]:
    found: list[Json] = json.loads(content(reply["json_path"]))["videos"]
    return found


async def test_a_summary_of_some_posts_has_a_place_of_its_own_and_replaces_none_of_all(desk: Desk) -> None:
    short, private = short_link("tiktok"), link("private")
    await desk.batch([*GOOD, short, private], metrics_only=True)
    everything = await desk.ask("summarize_raw")
    before = content(everything["json_path"])
    reply = await desk.ask("summarize_raw", urls=[GOOD[1], f"watch {short} now", private])
    assert (reply["status"], reply["rows"], reply["parsed"], reply["broken"]) == ("ok", 3, 2, 1)
    assert reply["totals"]["posts"] == len(reply["top_by_plays"]) == 2
    assert Path(reply["json_path"]).parent == desk.root / "reports" / "selection"
    assert [row["link"] for row in videos(reply) if not row["parse_ok"]] == [private]
    assert content(everything["json_path"]) == before
    named = await desk.ask("summarize_raw", urls=[GOOD[0]], out_dir="tables")
    assert (named["rows"], Path(named["json_path"]).parent) == (1, desk.root / "tables")


async def test_links_of_a_file_are_taken_too_and_what_leads_to_nothing_is_in_the_note(desk: Desk) -> None:
    await desk.batch(GOOD[:1], metrics_only=True)
    profile = "https://www.tiktok.com/@sandbox"
    (desk.root / "list.txt").write_text(f"my list\n{GOOD[0]}\n{GOOD[1]}\n{profile}\n")
    reply = await desk.ask("summarize_raw", urls_file="list.txt")
    assert reply["rows"] == 1
    assert reply["note"] == (
        "Lines of the file without a link, left out: 1 (numbers 1). Left out, because they lead to no post: 1. "
        f"Links without a saved answer: 1 of 2 ({GOOD[1]})."
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"urls": GOOD[1:]}, "Links without a saved answer: 2 of 2"),
        ({"urls": ["https://www.tiktok.com/@sandbox"]}, "None of the links leads to a post"),
        ({"urls": [""]}, "None of the links leads to a post"),
        ({"urls_file": "empty.txt"}, "There is no link in empty.txt"),
    ],
)
async def test_a_selection_of_nothing_is_invalid_and_makes_nothing(desk: Desk, given: Json, words: str) -> None:
    await desk.batch(GOOD[:1], metrics_only=True)
    (desk.root / "empty.txt").write_text("nothing here\n")
    before = listing(desk.root)
    reply = await desk.ask("summarize_raw", **given)
    assert (reply.is_error, reply.code) == (True, "invalid_input")
    assert words in reply.message
    assert listing(desk.root) == before


REASONS = {
    "private": "is private",
    "friends_only": "is visible to some people only",
    "removed": "was removed, or may not be seen",
    "under_review": "is under review by the platform",
    "story_ended": "was a daily story, and has ended",
    "self_see": "is private",
    "region": "is blocked for copyright reasons in the region that TikHub asks from",
    "gone_on_tiktok": "does not exist, or not any more",
    "new_reason": "is not available, for a reason that is not known here: see the raw answer",
    "empty": "is not available (private, deleted or blocked; TikHub does not say which)",
}


async def test_why_a_post_is_missing_is_the_same_in_the_reply_and_in_the_table(desk: Desk) -> None:
    batch = await desk.batch(list(map(link, REASONS)), metrics_only=True)
    assert [item["error"]["code"] for item in batch["results"]] == ["post_unavailable"] * len(REASONS)
    for item, reason in zip(batch["results"], REASONS.values(), strict=True):
        assert item["error"]["message"].startswith("Do not retry: TikHub answered, and charged, but post ")
        assert item["error"]["message"].endswith(f" {reason}.")
    table = await desk.ask("summarize_raw")
    assert {row["link"]: row["error"] for row in videos(table)} == {
        link(name): f"The post {reason}." for name, reason in REASONS.items()
    }


async def test_other_forms_and_several_posts_in_an_answer_are_told_from_a_missing_post(desk: Desk) -> None:
    batch = await desk.batch([link("other_form"), link("several_posts"), link("no_params")], metrics_only=True)
    assert [item["status"] for item in batch["results"]] == ["failed", "ok", "ok"]
    assert batch["results"][0]["error"]["code"] == "unexpected_answer"
    table = await desk.ask("summarize_raw")
    assert (table["rows"], table["parsed"], table["totals"]["posts"]) == (5, 4, 4)
    rows = videos(table)
    assert [row["error"] for row in rows if not row["parse_ok"]] == [
        "The file is not in a form that this reads: no post is in it as TikHub's endpoints for one post give it."
    ]
    assert [row["share_url"] for row in rows if row["aweme_id"] == batch["results"][2]["video_id"]] == [""]
