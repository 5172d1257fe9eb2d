"""Batches with many links: the reply stays short, and the table in the reports folder has everything."""

import csv
import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.mcp_session import Desk, content, mode
from tests.support.payloads import envelope, tiktok_post
from tikhub_mcp.errors import InsufficientBalance, MediaUnavailable, UnsupportedLink
from tikhub_mcp.jobs.model import Call, Outcome
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links, link
from tikhub_mcp.text import json_size
from tikhub_mcp.tools import replies
from tikhub_mcp.tools.batch_table import TABLE_COLUMNS
from tikhub_mcp.tools.schemas import BatchItem, BatchReply

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FIRST = 7_300_000_000_000_000_000
FAILED = Outcome("failed", error=UnsupportedLink("It names no post."))
BAD = "https://www.tiktok.com/@user"
ORDER = (
    "status error note total succeeded failed pending skipped failed_by_code cost workers output_dir raw_dir "
    "results_path results_url distinct_posts on_disk calls_needed retry_urls retry_count results_omitted results"
)


def saved_posts(desk: Desk, number: int, **over: Json) -> list[str]:
    """Links of posts whose answers are saved, so that their numbers cost nothing and take no time."""
    raw = desk.root / "raw"
    raw.mkdir(parents=True)
    for post in range(FIRST, FIRST + number):
        answer = envelope(tiktok_post(aweme_id=str(post), **over), time_stamp=int(time.time()))
        (raw / f"raw_{post}_noreq.json").write_text(json.dumps(answer))
    return [f"https://www.tiktok.com/@someone/video/{post}" for post in range(FIRST, FIRST + number)]


def table(path: str) -> list[dict[str, str]]:
    text = content(path).decode("utf-8")
    assert text.startswith("\ufeff" + ",".join(TABLE_COLUMNS) + "\r\n")
    return list(csv.DictReader(text[1:].splitlines()))


def overwrite(path: str) -> None:
    Path(path).write_text("old")


def reply_of(statuses: Iterable[Outcome], call: Call | None = None) -> BatchReply:
    outcomes = list(statuses)
    items = [replies.batch_item(f"https://vm.tiktok.com/{n}/", None, outcome) for n, outcome in enumerate(outcomes)]
    return replies.bounded(replies.batch_reply(call or Call(SecretStr("a-key")), items, outcomes, 10))


async def test_above_100_links_the_reply_has_what_is_not_ok_and_the_table_has_all(desk: Desk) -> None:
    good = saved_posts(desk, 101, desc="=1+1", author={"nickname": "@SUM(A1)"})
    reply = await desk.batch([*good[:99], BAD, *good[99:]], metrics_only=True)
    assert not reply.is_error
    assert (reply["total"], reply["succeeded"], reply["failed_by_code"]) == (102, 101, {"unsupported_link": 1})
    assert [(item["url"], item["status"]) for item in reply["results"]] == [(BAD, "failed")]
    assert reply["results_omitted"] == 101
    path = Path(reply["results_path"])
    assert (path.parent, mode(str(path))) == (desk.root / "reports", 0o600)
    rows = table(str(path))
    assert [row["link"] for row in rows] == [*good[:99], BAD, *good[99:]]
    assert [row["line"] for row in rows] == [str(number) for number in range(1, 103)]
    assert {row["status"] for row in rows} == {"ok", "failed"}
    assert rows[0] | {"likes": "", "plays": ""} == {
        "line": "1",
        "link": good[0],
        "post": str(FIRST),
        "status": "ok",
        "author": "'@SUM(A1)",
        "title": "'=1+1",
        "likes": "",
        "plays": "",
        "file": "",
        "error": "",
    }
    assert (rows[0]["likes"], rows[0]["plays"]) == ("4321", "98765")
    assert rows[99]["error"].startswith("unsupported_link: ")
    assert not desk.asked


async def test_up_to_100_links_the_reply_has_every_result(desk: Desk) -> None:
    good = saved_posts(desk, 100)
    reply = await desk.batch(good, metrics_only=True)
    assert [item["url"] for item in reply["results"]] == good
    assert reply["results_omitted"] == 0
    assert len(table(reply["results_path"])) == 100


async def test_the_table_names_the_lines_of_the_file_and_the_videos_and_is_replaced_by_the_next_call(
    desk: Desk,
) -> None:
    good = [link("tiktok"), *saved_posts(desk, 20)]
    (desk.root / "links.txt").write_text("# mine\n\n" + "\n".join(good))
    first = await desk.ask("batch_download", urls_file="links.txt", metrics_only=True)
    path = first["results_path"]
    assert [row["line"] for row in table(path)] == [str(number) for number in range(3, 24)]
    overwrite(path)
    second = await desk.batch([*good[1:], good[0]], metrics_only=True)
    assert second["results_path"] != path
    third = await desk.batch(good, metrics_only=True)
    assert third["results_path"] == path
    assert [row["link"] for row in table(path)] == good
    await desk.one(good[0])
    desk.sandbox.media_latency = 60
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    rows = table((await desk.batch(good))["results_path"])
    assert rows[0]["file"] == str(desk.root / "videos" / desk.videos[0])
    assert "pending" in {row["status"] for row in rows[1:]}


@pytest.mark.parametrize(
    ("number", "arguments"), [(20, {}), (21, {"dry_run": True}), (21, {"save_raw": False})], ids=str
)
async def test_no_table_for_few_links_for_a_dry_run_or_where_nothing_is_to_be_saved(
    desk: Desk, number: int, arguments: dict[str, Json]
) -> None:
    reply = await desk.batch(saved_posts(desk, number), metrics_only=True, **arguments)
    assert (reply["status"], reply["results_path"]) == ("complete", None)
    assert not (desk.root / "reports").exists()


async def test_a_table_that_cannot_be_written_costs_no_result(desk: Desk) -> None:
    good = saved_posts(desk, 21)
    (desk.root / "reports").write_text("no folder")
    reply = await desk.batch(good, metrics_only=True)
    assert (reply["status"], reply["succeeded"], reply["results_path"]) == ("complete", 21, None)
    assert reply["note"].startswith("The table of the results could not be written: ")


async def test_results_that_are_neither_in_the_reply_nor_in_a_table_are_named_and_can_be_had_for_nothing(
    desk: Desk,
) -> None:
    good = saved_posts(desk, 101)
    reply = await desk.batch(good, metrics_only=True, save_raw=False)
    assert (reply["succeeded"], reply["results"], reply["note"]) == (101, [], replies.NO_TABLE)
    half = await desk.batch(good[:100], metrics_only=True, save_raw=False)
    assert (len(half["results"]), half["note"], len(desk.asked)) == (100, None, 0)


async def test_warnings_about_files_stand_in_the_batch_and_in_its_table(desk: Desk) -> None:
    reply = await desk.batch([link("silent"), link("tiktok"), *good_links(19)], quality="best")
    assert [bool(item["warnings"]) for item in reply["results"][:2]] == [True, False]
    warning = reply["results"][0]["warnings"][0]
    assert table(reply["results_path"])[0]["error"] == f"warning: {warning}"


async def test_a_call_takes_1000_links(desk: Desk) -> None:
    links = [f"https://www.tiktok.com/@someone/video/{FIRST + number}" for number in range(1001)]
    reply = await desk.batch(links, dry_run=True)
    assert (reply.code, reply["results"]) == ("invalid_input", [])
    assert "1001 links" in reply.message
    assert "tikhub-mcp batch" in reply.message
    reply = await desk.batch(links[:1000], dry_run=True)
    assert (reply["total"], reply["distinct_posts"], reply["calls_needed"]) == (1000, 1000, 1000)
    assert (reply["results"], reply["results_omitted"]) == ([], 1000)


def test_of_many_open_entries_the_failed_ones_are_shown_first_and_in_their_order() -> None:
    reply = reply_of([Outcome("pending")] * 60 + [Outcome("ok"), FAILED] * 30)
    assert [item.url for item in reply.results] == [
        *(f"https://vm.tiktok.com/{number}/" for number in range(20)),
        *(f"https://vm.tiktok.com/{number}/" for number in range(61, 120, 2)),
    ]
    assert reply.results_omitted == 70
    assert (len(reply.retry_urls), reply.retry_count) == (50, 60)
    assert reply_of([Outcome("pending")] * 50).retry_count is None


def test_the_fields_stand_in_the_order_of_their_weight_and_the_first_are_short() -> None:
    call, error = Call(SecretStr("a-key"), api_calls=999), InsufficientBalance("Stop this task now. " + "x" * 150)
    error.tell_human = "y" * 200
    call.stop(error)
    reply = reply_of([FAILED, Outcome("failed", error=MediaUnavailable("no"))] * 500, call)
    reply.note = "很" * 2000
    reply.output_dir = reply.raw_dir = reply.results_path = "/home/someone/Downloads/tikhub_mcp/" + "z" * 30
    shown = replies.bounded(reply).model_dump()
    assert list(shown) == ORDER.split()
    head = {key: shown[key] for key in ORDER.split()[: ORDER.split().index("retry_urls")]}
    assert 1450 < json_size(head) <= 1500
    assert json_size(shown) < 60_000


def test_an_item_is_small() -> None:
    assert json_size(BatchItem(status="ok", url="u", path="p").model_dump(exclude_none=True)) < 600
