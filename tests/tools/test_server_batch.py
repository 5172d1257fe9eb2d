"""batch_download and summarize_raw through a client: many links in, one reply out, and no bad one hurts another."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.mcp_session import Desk, Reply, content, listing, mode, patience
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links, link, short_link

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GOOD = good_links(3)


def counts(reply: Reply) -> dict[str, int]:
    """The numbers of a batch that are not 0."""
    names = ("total", "succeeded", "failed", "pending", "skipped")
    return {name: reply[name] for name in names if reply[name]}


@pytest.mark.both_eras
async def test_results_stand_in_the_order_of_the_links_and_name_their_files(desk: Desk) -> None:
    links = [link("douyin"), *reversed(GOOD), link("tiktok")]
    reply = await desk.batch(links)
    assert not reply.is_error
    assert (reply["status"], reply["error"], reply["note"]) == ("complete", None, None)
    assert counts(reply) == {"total": 5, "succeeded": 5}
    assert [item["url"] for item in reply["results"]] == links
    assert [item["video_id"] for item in reply["results"]] == [url.rpartition("/")[2] for url in links]
    for item in reply["results"]:
        assert item["size_bytes"] == len(content(item["path"]))
        assert json.loads(content(item["raw_json_path"]))["params"]["share_url"].endswith(item["video_id"])
        assert item["metrics"]["video_id"] == item["video_id"]
    assert (reply["output_dir"], reply["raw_dir"]) == (str(desk.root / "videos"), str(desk.root / "raw"))
    assert reply["cost"] == {"api_calls": 5, "reused_answer": False}
    assert reply["retry_urls"] == []
    assert reply["workers"] == 10
    assert reply["distinct_posts"] is reply["on_disk"] is reply["calls_needed"] is None


async def test_the_same_post_by_three_links_is_one_call_and_one_file_and_every_entry_is_answered(desk: Desk) -> None:
    number = link("tiktok").rpartition("/")[2]
    links = [link("tiktok"), f"https://m.tiktok.com/v/{number}.html", link("tiktok") + "?lang=en", GOOD[0]]
    reply = await desk.batch(links)
    assert counts(reply) == {"total": 4, "succeeded": 4}
    assert len({item["path"] for item in reply["results"][:3]}) == 1
    assert reply["cost"]["api_calls"] == len(desk.asked) == 2
    assert len(desk.videos) == 2


async def test_a_short_link_of_the_same_post_costs_a_call_of_its_own_but_never_a_second_file(desk: Desk) -> None:
    reply = await desk.batch([link("tiktok"), short_link("tiktok")])
    assert len({item["path"] for item in reply["results"]}) == len(desk.videos) == 1
    assert reply["cost"]["api_calls"] == len(desk.asked) == 2


@pytest.mark.parametrize(
    "urls",
    [
        GOOD,
        json.dumps(GOOD),
        "\n".join(GOOD),
        "\r\n\r\n".join(GOOD) + "\r\n",
        ", ".join(GOOD),
        [f"look: {GOOD[0]} and {GOOD[1]}!", GOOD[2]],
        [json.dumps(GOOD)],
    ],
    ids=["list", "JSON text", "lines", "CRLF", "commas", "share texts", "JSON in a list"],
)
async def test_links_come_as_clients_really_send_them(desk: Desk, urls: Json) -> None:
    reply = await desk.batch(urls, metrics_only=True)
    assert [item["url"] for item in reply["results"]] == GOOD
    assert counts(reply) == {"total": 3, "succeeded": 3}


@pytest.mark.parametrize("urls", [GOOD[0], [GOOD[0]], json.dumps(GOOD[0])], ids=["text", "list", "JSON"])
async def test_one_link_is_a_batch_of_one(desk: Desk, urls: Json) -> None:
    assert counts(await desk.batch(urls, metrics_only=True)) == {"total": 1, "succeeded": 1}


@pytest.mark.parametrize("urls", [[], "", "[]", None, " \n "])
async def test_a_batch_without_links_is_invalid(desk: Desk, urls: Json) -> None:
    reply = await desk.batch(urls, urls_file="")
    assert reply.is_error
    assert reply.code == "invalid_input"
    assert "urls_file" in reply.message
    assert not desk.asked


async def test_one_bad_link_never_hurts_another(desk: Desk) -> None:
    bad = ["no link", "https://example.com/", link("private"), link("no_photos"), link("wrong_post"), link("half")]
    reply = await desk.batch([part for pair in zip(bad, good_links(6), strict=True) for part in pair])
    assert not reply.is_error
    assert reply["status"] == "complete"
    assert counts(reply) == {"total": 12, "succeeded": 6, "failed": 6}
    assert reply.statuses == ["failed", "ok"] * 6
    assert [item["error"]["code"] for item in reply["results"][::2]] == [
        *("unsupported_link", "unsupported_link", "post_unavailable", "not_a_video", "wrong_post", "unexpected_answer")
    ]
    assert reply["results"][0]["url"] == "no link"
    assert reply["results"][6]["metrics"]["likes"] > 0  # the photo post's
    assert all(item["raw_json_path"] for item in reply["results"][4::2])
    assert reply["retry_urls"] == []
    assert not desk.parts


async def test_a_batch_in_which_all_failed_is_no_error_as_a_whole(desk: Desk) -> None:
    reply = await desk.batch([link("private"), "no link"])
    assert not reply.is_error
    assert (reply["status"], reply["error"]) == ("complete", None)
    assert counts(reply) == {"total": 2, "failed": 2}


async def test_retry_urls_hold_what_is_worth_another_call_each_once(desk: Desk) -> None:
    again = [link("busy"), link("busy", "tiktok")]
    reply = await desk.batch([link("private"), *again, link("busy"), "no link", GOOD[0]])
    assert reply["retry_urls"] == again
    assert reply["results"][1]["error"]["retry_after_s"] == 3600


@pytest.mark.parametrize(("given", "used"), [(1, 1), (10, 10), (0, 1), (-5, 1), (99, 10), ("3", 3)])
async def test_max_workers_is_brought_into_its_range_and_the_reply_says_so(desk: Desk, given: Json, used: int) -> None:
    assert (await desk.batch(GOOD[:1], max_workers=given, metrics_only=True))["workers"] == used


async def test_the_workers_are_what_runs_at_once(desk: Desk) -> None:
    desk.sandbox.latency = 0.2
    began = time.monotonic()
    await desk.batch(good_links(6), max_workers=2, metrics_only=True)
    assert time.monotonic() - began > 0.6
    times = sorted(call.time for call in desk.sandbox.calls)
    assert all(third - first > 0.19 for first, third in zip(times, times[2:], strict=False))


async def test_a_dry_run_counts_and_pays_nothing(desk: Desk) -> None:
    await desk.batch(GOOD[:1])
    await desk.batch(GOOD[1:2], metrics_only=True)
    paid = len(desk.asked)
    before = listing(desk.root)
    reply = await desk.batch([*GOOD, GOOD[0], link("expired"), "no link"], dry_run=True)
    assert not reply.is_error
    assert (reply["distinct_posts"], reply["on_disk"], reply["calls_needed"]) == (4, 1, 2)
    assert reply.statuses == ["planned"] * 5 + ["failed"]
    assert reply["cost"] == {"api_calls": 0, "reused_answer": False}
    assert counts(reply) == {"total": 6, "failed": 1}
    assert (len(desk.asked), listing(desk.root)) == (paid, before)


async def test_a_dry_run_of_a_refresh_needs_a_call_for_every_post(desk: Desk) -> None:
    await desk.batch(GOOD[:2])
    reply = await desk.batch(GOOD, dry_run=True, refresh=True)
    assert (reply["on_disk"], reply["calls_needed"]) == (2, 3)


async def test_max_api_calls_is_a_hard_cap(desk: Desk) -> None:
    await desk.batch(GOOD[:1])  # what is known already costs nothing, and does not count
    reply = await desk.batch(good_links(5), max_api_calls=2, max_workers=1)
    assert reply.statuses == ["ok", "ok", "ok", "skipped", "skipped"]
    assert (reply["status"], reply.code, reply.is_error) == ("stopped", "api_call_limit", False)
    assert reply["cost"]["api_calls"] == 2
    assert reply["retry_urls"] == good_links(5)[3:]
    assert len(desk.asked) == 3
    assert (await desk.batch(good_links(8), max_api_calls=2, max_workers=10))["cost"]["api_calls"] == 2
    assert len(desk.asked) == 5


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("bad_key", "api_key_invalid"),
        ("no_scope", "permission_denied"),
    ],
)
async def test_a_refusal_in_the_middle_stops_what_has_not_started(desk: Desk, scenario: str, code: str) -> None:
    links = [GOOD[0], link(scenario), *GOOD[1:]]
    reply = await desk.batch(links, max_workers=1)
    assert reply.statuses == ["ok", "failed", "skipped", "skipped"]
    assert (reply["status"], reply.code, reply.is_error) == ("stopped", code, False)
    assert reply["error"]["stop"] is True
    assert reply["error"]["tell_human"]
    assert reply["results"][1]["error"]["code"] == code
    assert reply["results"][2]["error"] is None
    assert reply["retry_urls"] == GOOD[1:]
    assert len(desk.asked) == 2
    assert len(desk.videos) == 1  # what is finished stays


async def test_a_batch_that_is_refused_at_once_is_an_error_and_the_next_asks_once_first(desk: Desk) -> None:
    desk.sandbox.key = "another-key"
    reply = await desk.batch(good_links(12))
    assert reply.is_error
    assert (reply["status"], reply.code, reply["succeeded"]) == ("stopped", "api_key_invalid", 0)
    assert set(reply.statuses) == {"failed", "skipped"}
    assert len(desk.asked) <= 10  # those that were out already
    desk.sandbox.calls.clear()
    assert (await desk.batch(good_links(12))).is_error
    assert len(desk.asked) == 1
    desk.sandbox.key = ""
    reply = await desk.batch(good_links(4), metrics_only=True)
    assert counts(reply) == {"total": 4, "succeeded": 4}


LIST = f"\ufeff# my links\r\n\r\n{GOOD[0]}\r\n   \r\nlook {GOOD[1]} 好看 {GOOD[2]}\r\nnothing here\r\n#{GOOD[0]}\r\nhttps://x.y/\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_a_file_of_links_is_read_line_by_line_and_bad_lines_are_named_by_their_numbers(
    desk: Desk, encoding: str
) -> None:
    desk.root.mkdir()
    text = LIST if encoding == "utf-8" else LIST.removeprefix("\ufeff")
    (desk.root / "links.txt").write_bytes(text.encode(encoding))
    reply = await desk.ask("batch_download", urls_file="links.txt", metrics_only=True)
    assert reply.statuses == ["ok", "ok", "ok", "failed"]
    assert [item["url"] for item in reply["results"]] == [*GOOD, "https://x.y/…"]
    assert reply["results"][3]["error"]["code"] == "unsupported_link"
    assert reply["results"][3]["error"]["message"].startswith("Line 8: ")
    assert reply["note"] == "Lines of the file without a link, left out: 1 (numbers 6)."


async def test_lines_without_a_link_count_neither_as_failures_nor_towards_the_limit(desk: Desk) -> None:
    desk.root.mkdir()
    lines = [f"Date: 2026-01-0{number % 9 + 1}\nLink: {url}\n" for number, url in enumerate(good_links(200))]
    (desk.root / "Posts.txt").write_text("\n".join(lines))
    for given in ({"urls": "\n".join(lines)}, {"urls_file": "Posts.txt"}):
        reply = await desk.ask("batch_download", **given, dry_run=True)
        assert counts(reply) == {"total": 200}
        assert reply["note"].endswith(" without a link, left out: 200 (numbers 1, 4, 7, 10, 13, …).")


CANARY = "canary-4f1d9c2b7a6e"
PRIVATE = {
    "diary.md": f"# {CANARY}\n\nDear {CANARY}, do not tell anybody.\nSee https://{CANARY}.example@x.y/{CANARY}\n{CANARY}\n",
    "settings.ini": f"[{CANARY}]\npassword={CANARY}\nproxy=http://{CANARY}:{CANARY}@h.example:80/{CANARY}\n{CANARY}",
    "settings.json": json.dumps({"hook": f"https://h.example/{CANARY}?token={CANARY}", CANARY: [CANARY]}, indent=1),
    "SKILL.md": f"---\nname: x\n---\nUse https://tikhub.io/{CANARY}\n## API_KEY\n\n`{CANARY}`\n",
    "plain.txt": f"{CANARY}\n{CANARY} {CANARY}\n",
    "half.env": f"export A={CANARY}\nB='https://{CANARY}/x/{CANARY}@h.example'\n{GOOD[0]}\n",
}


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("dry_run", [True, False])
async def test_nothing_of_what_a_private_file_says_gets_into_the_reply_or_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], name: str, dry_run: bool
) -> None:
    caplog.set_level("DEBUG")
    desk.root.mkdir()
    (desk.root / name).write_text(PRIVATE[name])
    reply = await desk.ask("batch_download", urls_file=name, metrics_only=True, dry_run=dry_run)
    assert name != "plain.txt" or (reply.code, reply.message[:24]) == ("invalid_input", "There is no link in plai")
    for told in (json.dumps(reply.said), reply.text, caplog.text, *capfd.readouterr()):
        assert "canary" not in told


async def test_both_given_urls_come_first(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "home" / "links.txt").write_text(GOOD[0])
    reply = await desk.ask("batch_download", urls=GOOD[1:], urls_file="~/links.txt", metrics_only=True)
    assert [item["url"] for item in reply["results"]] == [*GOOD[1:], GOOD[0]]


BAD_FILES = {
    "missing.txt": "invalid_input",
    "folder": "invalid_input",
    "fifo": "invalid_input",
    "large.txt": "invalid_input",
    "empty.txt": "invalid_input",
    "many.txt": "invalid_input",
    "way_out.txt": "path_not_allowed",
    "/etc/passwd": "path_not_allowed",
    "/proc/self/environ": "path_not_allowed",
    "/dev/zero": "path_not_allowed",
    "../outside.txt": "path_not_allowed",
    ".env": "path_not_allowed",
}


@pytest.mark.parametrize("given", BAD_FILES)
async def test_a_file_that_is_no_list_of_links_is_refused_at_once(desk: Desk, tmp_path: Path, given: str) -> None:
    (desk.root / "folder").mkdir(parents=True)
    os.mkfifo(desk.root / "fifo")
    (desk.root / "large.txt").write_text(f"{GOOD[0]}\n" * 20_000)
    (desk.root / "empty.txt").write_text("# nothing\n\n")
    (desk.root / "many.txt").write_text("\n".join(good_links(1001)))
    (desk.root / ".env").write_text(GOOD[0])
    (tmp_path / "outside.txt").write_text(GOOD[0])
    (desk.root / "way_out.txt").symlink_to(tmp_path / "outside.txt")
    began = time.monotonic()
    reply = await desk.ask("batch_download", urls_file=given)
    assert time.monotonic() - began < patience(1)
    assert reply.is_error
    assert reply.code == BAD_FILES[given]
    assert (reply["status"], reply["results"]) == ("stopped", [])
    assert not desk.asked


async def test_a_summary_has_a_row_for_every_raw_file_and_none_for_our_own_outputs(desk: Desk) -> None:
    await desk.batch([*GOOD, link("private")], metrics_only=True)
    raw = desk.root / "raw"
    (raw / "foreign.JSON").write_text("{}")
    first = await desk.ask("summarize_raw")
    assert (first["status"], first["rows"], first["parsed"], first["broken"]) == ("ok", 5, 3, 2)
    assert first["input"] == str(raw)
    assert Path(first["csv_path"]).parent == Path(first["json_path"]).parent == desk.root / "reports"
    found = json.loads(content(first["json_path"]))
    assert (found["generated_from"], found["video_count"]) == (str(raw), 5)
    rows = list(csv.DictReader(content(first["csv_path"]).decode("utf-8-sig").splitlines()))
    assert [row["source_file"] for row in rows] == [row["source_file"] for row in found["videos"]]
    assert mode(first["csv_path"]) == mode(first["json_path"]) == 0o600
    for _ in range(2):
        again = await desk.ask("summarize_raw", out_dir="raw")
        assert again["rows"] == 5


@pytest.mark.both_eras
async def test_a_summary_needs_no_key_and_no_network(desk: Desk) -> None:
    await desk.one(link("tiktok"))
    desk.environ["TIKHUB_API_KEY"] = ""
    raw = next((desk.root / "raw").iterdir())
    reply = await desk.ask("summarize_raw", input=str(raw), out_dir="~/tables")
    assert (reply["rows"], reply["input"]) == (1, str(raw))
    assert len(desk.asked) == 1


@pytest.mark.parametrize("given", [{}, {"input": "raw"}, {"input": "nowhere/at.json"}, {"input": "empty"}])
async def test_nothing_to_read_is_invalid_and_makes_nothing(desk: Desk, given: dict[str, str]) -> None:
    (desk.root / "empty").mkdir(parents=True)
    before = listing(desk.root)
    reply = await desk.ask("summarize_raw", **given)
    assert reply.is_error
    assert reply.code == "invalid_input"
    assert listing(desk.root) == before


@pytest.mark.parametrize("argument", ["input", "out_dir"])
@pytest.mark.parametrize("given", ["/etc", "../elsewhere", "way_out", ".hidden", "/proc/self/environ", "a/../../b"])
async def test_a_summary_neither_reads_nor_writes_outside(
    desk: Desk, tmp_path: Path, argument: str, given: str
) -> None:
    await desk.one(link("tiktok"), metrics_only=True)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(next((desk.root / "raw").iterdir()), tmp_path / "elsewhere" / "a.json")
    (desk.root / "way_out").symlink_to(tmp_path / "elsewhere")
    before = listing(tmp_path)
    reply = await desk.ask("summarize_raw", **{argument: given})
    assert reply.is_error
    assert reply.code == "path_not_allowed"
    assert listing(tmp_path) == before
