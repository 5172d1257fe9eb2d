"""The command line: in this process against the sandbox, and as a process where that is the point."""

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import httpx
import pytest

from tests.support import forked
from tests.support.forked import Forked
from tests.support.summary_inputs import COUNTS, answer, save_all
from tikhub_mcp import __version__
from tikhub_mcp.api import client, limiter
from tikhub_mcp.cli.main import main
from tikhub_mcp.cli.running import finish
from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.posts.post import Metrics
from tikhub_mcp.sandbox import SCENARIOS, Sandbox, good_links, link, posts, short_link
from tikhub_mcp.settings.api_key import why_unusable
from tikhub_mcp.tools.schemas import BatchReply, SummaryReply, VideoReply

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

METRICS = [name for name in Metrics.model_fields if name != "notes"]


class Ran(NamedTuple):  # what a run came to
    code: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.out.splitlines())


Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output folder; the current one is beside it, and the environment names no key."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / "root"))
    monkeypatch.setenv("TIKHUB_SKILL_FILE", str(tmp_path / "no-SKILL.md"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "root"


@pytest.fixture
def cli(
    root: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    monkeypatch.setenv("TIKHUB_API_KEY", "a-key-of-the-tests")
    monkeypatch.setenv("TIKHUB_BASE_URL", sandbox.base_url)
    sandbox.calls.clear()

    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    yield run
    assert not list(root.parent.rglob("*.part"))


def listed(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_one_prints_where_the_files_are_and_then_each_metric(cli: Cli, root: Path) -> None:
    ran = cli("one", f"看看 {short_link('douyin')} kWq:/")
    assert (ran.code, ran.err) == (0, "")
    assert list(ran.values) == ["raw answer", "video", "title", *METRICS, "cost"]
    assert ran.values["title"].startswith("雨夜的灯塔")
    assert ran.values["cost"] == "1 paid API call"
    assert Path(ran.values["raw answer"]).parent == root / "raw"
    assert Path(ran.values["video"]).parent == root / "videos"
    assert Path(ran.values["video"]).stat().st_size > 100_000
    assert ran.values["plays"] == "unknown (Douyin does not report plays)"
    assert ran.values["likes"].isdigit()


def test_a_file_that_is_there_already_is_said_to_be_so_and_costs_nothing(cli: Cli, sandbox: Sandbox) -> None:
    first, again = cli("one", link("tiktok")), cli("one", link("tiktok"))
    assert again.code == 0
    assert again.values["video"] == first.values["video"] + " (was already there)"
    assert again.values["cost"] == "0 paid API calls (a saved answer was used)"
    assert len(sandbox.calls) == 1
    assert cli("one", link("tiktok"), "--refresh").code == 0
    assert len(sandbox.calls) == 2


def test_a_warning_about_the_file_goes_to_stderr_and_json_is_the_reply_of_the_tool(cli: Cli) -> None:
    ran = cli("one", link("unsized"))
    assert (ran.code, ran.err.splitlines()[0][:47]) == (0, "warning: no size was given for the file, so its")
    ran = cli("one", link("tiktok"), "--json")
    reply = VideoReply.model_validate_json(ran.out)
    assert (ran.code, reply.status, reply.url) == (0, "ok", link("tiktok"))
    assert reply.model_dump_json(indent=2) + "\n" == ran.out
    assert reply.file is not None
    assert Path(reply.file.path).stat().st_size == reply.file.size_bytes


@pytest.mark.parametrize(
    ("url", "code", "name"),
    [
        (link("bad_key"), 3, "api_key_invalid"),
        (link("no_balance"), 3, "insufficient_balance"),
        (link("no_scope"), 3, "permission_denied"),
        (link("busy"), 1, "rate_limited"),
        (link("all_refused"), 1, "media_unavailable"),
        (link("page_as_video"), 1, "media_invalid"),
        (link("private"), 4, "post_unavailable"),
        (link("no_photos"), 4, "not_a_video"),
        (link("wrong_post"), 4, "wrong_post"),
        (link("web_page"), 4, "unexpected_answer"),
        ("https://www.tiktok.com/@someone", 2, "unsupported_link"),
        ("https://example.com/video/1", 2, "unsupported_link"),
        ("", 2, "unsupported_link"),
        (f"{link('tiktok')} {link('douyin')}", 2, "invalid_input"),
    ],
)
def test_each_error_goes_to_stderr_and_has_its_exit_code(cli: Cli, url: str, code: int, name: str) -> None:
    json = name.endswith("d")  # about half of them: the code is the same
    ran = cli("one", url, *["--json"] * json)
    assert ran.code == code
    assert "Traceback" not in ran.err
    if json:
        reply = VideoReply.model_validate_json(ran.out)
        assert (reply.status, reply.error and reply.error.code) == ("failed", name)
    else:
        assert ran.err.startswith(f"error: {name}: ")
        assert f"error: {name}" not in ran.out


def test_paths_are_under_the_current_directory_and_home_is_understood(cli: Cli, root: Path) -> None:
    ran = cli("one", link("tiktok"), "-o", "mine/videos", "--raw-dir", "~/raw", "--quality", "best")
    here = Path.cwd()
    assert Path(ran.values["video"]).parent == here / "mine" / "videos"
    assert ran.values["video"].endswith("_7000000000000000001.best.mp4")
    assert Path(ran.values["raw answer"]).parent == root.parent / "home" / "raw"
    assert not root.exists()


def test_what_is_not_wanted_is_not_written(cli: Cli, root: Path) -> None:
    ran = cli("one", link("photos"), "--metrics-only", "--no-save-raw")
    assert (ran.code, list(ran.values)) == (0, ["title", *METRICS, "cost"])
    assert ran.values["duration_ms"] == ran.values["resolution"] == "none (this is a photo post)"
    assert not root.exists()


def test_of_a_photo_post_the_numbers_of_its_files_are_said(cli: Cli, root: Path) -> None:
    for there in ("", ", were already there"):
        pictures = cli("one", link("clip_unsized"), "--include", "music,captions").values["photos"]
        assert re.fullmatch(rf"{root}/photos/\S+ \(\d+ pictures, \d+ clips?{there}\)", pictures), pictures


def test_a_batch_answers_every_line_and_counts(cli: Cli, root: Path) -> None:
    lines = [link("tiktok"), "", "# mine", short_link("douyin"), "no link", link("private"), link("tiktok")]
    ran = cli("batch", listed(Path("links.txt"), *lines))
    shown = ran.out.splitlines()
    assert sorted(line.split()[0] for line in shown[:4]) == ["failed", "ok", "ok", "ok"]
    assert [line for line in shown[:4] if re.search(r"\.mp4  [0-9,]+ likes$", line)] == [
        line for line in shown[:4] if line.startswith("ok")
    ]
    [failed] = [line for line in shown[:4] if line.startswith("failed")]
    reason = "post_unavailable: TikHub charged, but post 7000000000000000010 is private."
    assert failed == f"failed   {link('private')}  {reason}"
    assert shown[4:8] == [
        "failed:",
        f"  {link('private')}",
        f"    {reason}",
        "4 links: 3 succeeded, 1 failed, 0 skipped; 3 paid API calls.",
    ]
    assert re.fullmatch(r"[0-9,]+ likes, [0-9,]+ plays \(of 1 of 2 posts\)", shown[8])
    assert shown[9:] == [f"folder: {root / 'videos'}"]
    assert (ran.code, ran.err) == (1, "note: Lines of the file without a link, left out: 1 (numbers 5).\n")


def test_lines_without_a_link_are_no_failures_and_are_told_by_their_numbers_alone(cli: Cli) -> None:
    path = listed(Path("links.txt"), "Date: secret", link("tiktok"), "", "Date: secret", "https://x.y/secret")
    ran = cli("batch", path, "--metrics-only")
    note = "Lines of the file without a link, left out: 2 (numbers 1, 4)."
    assert (ran.code, ran.err) == (1, f"note: {note}\n")
    assert "unsupported_link: Line 5: This link leads to x.y." in ran.out
    as_json = cli("batch", path, "--metrics-only", "--json")
    assert (BatchReply.model_validate_json(as_json.out).note, as_json.err) == (note, "")
    assert "secret" not in ran.out + ran.err + as_json.out
    assert cli("batch", listed(path, "Date: secret", link("tiktok")), "--metrics-only").code == 0


def test_a_batch_in_json_is_the_reply_of_the_tool(cli: Cli, root: Path) -> None:
    path = listed(Path("links.txt"), *good_links(3))
    ran = cli("batch", path, "--json", "--max-workers", 99, "-o", "out")
    reply = BatchReply.model_validate_json(ran.out)
    assert (ran.code, reply.status, reply.succeeded, reply.workers) == (0, "complete", 3, 10)
    assert (reply.output_dir, reply.raw_dir) == (str(Path.cwd() / "out"), str(root / "raw"))
    assert reply.model_dump_json(indent=2) + "\n" == ran.out
    again = BatchReply.model_validate_json(cli("batch", path, "--json", "--no-save-raw", "--max-workers", 0).out)
    assert (again.workers, again.raw_dir, again.cost.api_calls) == (1, None, 0)


def test_a_large_batch_names_its_table_and_its_json_has_every_result(cli: Cli, root: Path) -> None:
    path = listed(Path("links.txt"), *(f"https://www.tiktok.com/@user{number}" for number in range(101)))
    ran = cli("batch", path)
    table = next((root / "reports").iterdir())
    assert (ran.code, ran.out.splitlines()[-1]) == (1, f"table: {table}")
    reply = BatchReply.model_validate_json(cli("batch", path, "--json").out)
    assert (len(reply.results), reply.results_omitted, reply.results_path) == (101, 0, str(table))


def test_a_dry_run_counts_and_pays_nothing(cli: Cli, root: Path, sandbox: Sandbox) -> None:
    path = listed(Path("links.txt"), link("tiktok"), link("tiktok"), link("douyin"), "no link")
    cli("one", link("tiktok"))
    ran = cli("batch", path, "--dry-run")
    counts = "3 links: 2 distinct posts, 1 on disk, 1 paid API call needed, 0 failed; nothing was paid."
    assert ran.out.endswith(f"{counts}\nfolder: {root / 'videos'}\n")
    assert (ran.code, len(sandbox.calls)) == (0, 1)
    assert cli("batch", link("tiktok"), "https://www.tiktok.com/@someone", "--dry-run").code == 1


def test_the_cap_on_paid_calls_skips_the_rest(cli: Cli, sandbox: Sandbox) -> None:
    ran = cli("batch", listed(Path("links.txt"), *good_links(3)), "--max-api-calls", 1, "--metrics-only")
    assert sorted(line.split()[0] for line in ran.out.splitlines()[:3]) == ["ok", "skipped", "skipped"]
    assert ran.out.count("  api_call_limit\n") == 2
    assert ran.err.startswith("error: api_call_limit: --max-api-calls 1 is reached")
    assert (ran.code, len(sandbox.calls)) == (1, 1)


def test_a_refused_key_ends_a_batch_with_its_exit_code(cli: Cli) -> None:
    ran = cli("batch", listed(Path("links.txt"), link("bad_key"), link("tiktok")), "--max-workers", 1)
    assert [line.split()[0] for line in ran.out.splitlines()[:2]] == ["failed", "skipped"]
    assert (ran.code, ran.err.split(":")[1].strip()) == (3, "api_key_invalid")


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_a_batch_is_read_from_a_pipe(root: Path, sandbox: Sandbox, name: str) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write(f"{link('tiktok')}\n{link('douyin')}\n")
    arguments = ["batch", name, "--dry-run", "--json"]
    environment = {**os.environ, "TIKHUB_API_KEY": "a-key-of-20-letters", "TIKHUB_BASE_URL": sandbox.base_url}
    command = [sys.executable, "-m", "tikhub_mcp", *arguments]
    ran = forked.run(command, stdin=reading, env=environment)
    os.close(reading)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert BatchReply.model_validate_json(ran.stdout).distinct_posts == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["batch", link("tiktok"), "gone.txt"], "gone.txt is neither a link nor a file."),
        (["batch", "长" * 300], "is neither a link nor a file"),
        (["batch", "."], "cannot be read: .: Is a directory"),
        (["batch", "/"], "cannot be read: /: Is a directory"),
        (["batch", " "], "one of the links or files is empty"),
        (["summarize", "--urls", ""], "one of the links or files is empty"),
        (["one", "links.txt"], "run `tikhub-mcp batch links.txt`"),
        (["one", link("tiktok"), link("douyin")], "`tikhub-mcp batch`"),
    ],
)
def test_what_the_other_command_takes_is_answered_with_its_name(cli: Cli, arguments: list[str], hint: str) -> None:
    listed(Path("links.txt"), link("tiktok"))
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: invalid_input: ")
    assert hint.lower() in ran.err.lower()


def test_a_batch_takes_links_share_texts_and_lists_in_their_order(cli: Cli) -> None:
    path = listed(Path("links.txt"), link("private"), link("photos"))
    texts = (link("tiktok"), path, f"看看 {short_link('douyin')} kWq:/ " + "长" * 300)
    reply = BatchReply.model_validate_json(cli("batch", *texts, "--metrics-only", "--json").out)
    assert [item.url for item in reply.results] == [
        link("tiktok"),
        link("private"),
        link("photos"),
        short_link("douyin"),
    ]


def test_a_share_text_without_quotes_and_one_link_twice_are_one_post(cli: Cli) -> None:
    assert cli("one", "看看", short_link("douyin"), "kWq:/", "--metrics-only").code == 0
    assert cli("one", link("tiktok"), f"{link('tiktok')}?lang=en", "--metrics-only").code == 0


def test_a_link_that_is_left_out_is_named(cli: Cli) -> None:
    text = f"{short_link('tiktok')} shared via TikTok Lite: https://www.tiktok.com/tiktoklite"
    note = "Links that lead to no post or advertise the app, left out: 1 (https://www.tiktok.com/tiktoklite)."
    for given in (("one", text), ("batch", listed(Path("links.txt"), text))):
        ran = cli(*given, "--metrics-only")
        assert (ran.code, ran.err) == (0, f"note: {note}\n")


@pytest.mark.parametrize("name", ["empty.txt", "gone.txt", "words.txt"])
def test_a_batch_without_links_is_a_usage_error(cli: Cli, name: str) -> None:
    listed(Path("empty.txt"), "# only a comment")
    listed(Path("words.txt"), "no link")
    ran = cli("batch", name, "--json")
    reply = BatchReply.model_validate_json(ran.out)
    assert (ran.code, reply.error and reply.error.code, reply.total) == (2, "invalid_input", 0)


def test_three_hundred_links_are_not_too_many(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = limiter.RateLimiter
    monkeypatch.setattr(client, "RateLimiter", lambda: gate(calls=1000))  # which lets 10 a second out
    path = listed(Path("links.txt"), *good_links(30) * 10)
    reply = BatchReply.model_validate_json(cli("batch", path, "--metrics-only", "--no-save-raw", "--json").out)
    assert (reply.total, reply.succeeded, reply.cost.api_calls) == (300, 300, 30)


@pytest.mark.parametrize("key", ["", "YOUR_API_KEY", "a key", "a-key"])
@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("command", ["one", "batch"])
def test_without_a_key_nothing_happens_but_the_refusal(
    cli: Cli, root: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, key: str, json: bool, command: str
) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", key)
    given = listed(Path("links.txt"), link("tiktok")) if command == "batch" else link("tiktok")
    ran = cli(command, given, *["--dry-run"] * (command == "batch"), *["--json"] * json)
    assert ran.code == 3
    assert ran.err.startswith("error: api_key_missing: You need to apply for your own paid personal API key")
    assert {"https://tikhub.io/", "TIKHUB_API_KEY,", f"{root.parent}/no-SKILL.md."} <= set(ran.err.split())
    reason = {"": "", "YOUR_API_KEY": "holds a placeholder", "a key": "contains white space", "a-key": "is too short"}
    assert f"TIKHUB_API_KEY is set, but {reason[key]}" in ran.err or not key
    if json:
        reply = (BatchReply if command == "batch" else VideoReply).model_validate_json(ran.out)
        assert (reply.error and reply.error.code) == "api_key_missing"
    assert bool(ran.out) == json
    assert (sandbox.calls, root.exists()) == ([], False)


def test_a_setting_or_a_path_that_cannot_be_used_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", "http://api.tikhub.example")
    ran = cli("one", link("tiktok"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: invalid_input: TIKHUB_BASE_URL")
    ran = cli("summarize", "-i", "~nobody-of-that-name/raw")
    assert (ran.code, ran.err[:43]) == (2, "error: invalid_input: The path ~nobody-of-t")
    monkeypatch.delenv("TIKHUB_BASE_URL")
    monkeypatch.setenv("TIKHUB_CALL_SECONDS", "soon")
    save_all(Path("raw"), [answer()])
    for command in (["one", link("tiktok")], ["summarize", "-i", "raw", "-o", "out"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: invalid_input: The environment variable TIKHUB_CALL_SECONDS must be a number")


@pytest.mark.parametrize(
    "arguments",
    ["two", "one", "batch", "one x --quality good", "batch x --max-workers many", "summarize x", "one x --dry-run"],
)
def test_wrong_usage_ends_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("usage: tikhub-mcp")


def test_a_summary_needs_no_key_and_goes_into_the_current_directory(cli: Cli, root: Path) -> None:
    cli("batch", listed(Path("links.txt"), link("tiktok"), link("private")))
    os.environ.pop("TIKHUB_API_KEY")
    ran = cli("summarize")
    here, lines = Path.cwd(), ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[:2] == [f"{kind}: {here}/tikhub_videos_summary.{kind}" for kind in ("csv", "json")]
    assert lines[2] == f"2 files read from {root / 'raw'}; 1 row without a post, the column `error` says why"
    assert lines[3].startswith("1 post: 1,246 likes, ")
    assert (lines[4], lines[6]) == ("most plays:", "most likes:")
    assert lines[5].split("  ")[-3:-1] == ["Paper Kite Club", "7000000000000000001"]
    assert not Path("tikhub_metrics_history.csv").exists()  # it would have no rows
    ran = cli("summarize", "-i", next((root / "raw").glob("raw_7*")), "-o", "reports", "--json")
    reply = SummaryReply.model_validate_json(ran.out)
    assert (ran.code, reply.rows, reply.csv_path) == (0, 1, f"{here}/reports/tikhub_videos_summary.csv")
    assert cli("summarize", "-i", reply.input).out.splitlines()[2] == f"1 file read from {reply.input}"


def test_a_summary_of_some_posts_goes_into_a_folder_of_its_own_unless_one_is_given(
    cli: Cli, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [link("tiktok"), link("private"), *good_links(2)]
    cli("batch", "--metrics-only", listed(Path("links.txt"), *links[:3]))
    some = listed(Path("some.txt"), "Posts to look at:", *links[1:])
    ran = cli("summarize", "--urls", some, "--json")
    reply = SummaryReply.model_validate_json(ran.out)
    assert (ran.code, reply.rows, reply.broken) == (0, 2, 1)
    assert reply.csv_path == f"{root}/reports/selection/tikhub_videos_summary.csv"
    ran = cli("summarize", "--urls", some, "-o", "here", "--formats", "csv")
    assert ran.out.splitlines()[0] == f"csv: {Path.cwd()}/here/tikhub_videos_summary.csv"
    assert f"3 files read from {root / 'raw'}; 1 row without a post" in ran.out
    assert ran.err.splitlines() == [
        "note: Lines of the file without a link, left out: 1 (numbers 1).",
        f"note: Links without a saved answer: 1 of 3 ({links[3]}).",
    ]
    ran = cli("summarize", "--urls", links[0], "--out-dir", "here", "--formats", "csv")
    assert (
        ran.err
        == f"note: The earlier tables in {Path.cwd()}/here were replaced: they are about these links only now.\n"
    )
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(links[0].encode())))
    assert SummaryReply.model_validate_json(cli("summarize", "--urls", "-", "--json").out).rows == 1
    ran = cli("summarize", "--urls", listed(Path("none.txt"), links[3]))
    assert (ran.code, ran.out) == (2, "")


def test_a_summary_says_how_posts_grew_what_is_older_beside_it_and_that_no_post_was_there(cli: Cli) -> None:
    counts = ({"play_count": 1000, "digg_count": 50}, {"play_count": 2500, "digg_count": 40})
    save_all(Path("raw"), [answer("1", day, **count) for day, count in enumerate(counts)])
    lines = cli("summarize", "-i", "raw", "--formats", "csv,json").out.splitlines()
    assert f"history: {Path.cwd()}/tikhub_metrics_history.csv" in lines
    assert [line.split("  ")[-2] for line in lines if "(" in line] == ["(+1,500 in 1.0 days)", "(-10 in 1.0 days)"]
    assert [line.split()[0] for line in lines[-3::2]] == ["2,500", "40"]
    save_all(Path("other"), [{"name": "a package"}])
    ran = cli("summarize", "-i", "other", "--formats", "json")
    assert (ran.code, len(ran.out.splitlines())) == (0, 2)
    assert "There is no post in what was read; each row's `error` says why." in ran.err
    assert "not renewed: tikhub_videos_summary.csv, tikhub_metrics_history.csv." in ran.err


@pytest.mark.parametrize(
    ("days", "said"), [(1234, "1,234.0 days"), (1.25, "1.2 days"), (0.5, "12.0 hours"), (66 / 86_400, "1.1 minutes")]
)
def test_a_summary_says_over_how_long_posts_grew(cli: Cli, days: float, said: str) -> None:
    save_all(Path("raw"), [answer("1", 0, play_count=10), answer("1", days, play_count=20)])
    assert f"(+10 in {said})" in cli("summarize", "-i", "raw").out


def test_of_posts_without_any_count_a_summary_says_how_many_they_are(cli: Cli) -> None:
    save_all(Path("raw"), [answer("1", **dict.fromkeys(COUNTS))])
    assert cli("summarize", "-i", "raw").out.splitlines()[-1] == "1 post"


def test_a_command_whose_output_was_closed_ends_well(root: Path) -> None:
    save_all(root / "raw", [answer()])
    code = "import sys; sys.stdout = None; from tikhub_mcp.cli.main import main; sys.exit(main())"
    ran = forked.run([sys.executable, "-c", code, "summarize"], text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_list_of_links_in_the_place_of_raw_answers_is_refused_and_the_table_stays(cli: Cli) -> None:
    save_all(Path("raw"), [answer()])
    assert cli("summarize", "-i", "raw").code == 0
    before = Path("tikhub_videos_summary.csv").read_bytes()
    ran = cli("summarize", "-i", listed(Path("links.txt"), link("tiktok")))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: invalid_input: links.txt is no raw answer, and nothing was written. ")
    assert Path("tikhub_videos_summary.csv").read_bytes() == before


def test_nothing_to_summarize_is_a_usage_error(cli: Cli) -> None:
    ran = cli("summarize", "--json")
    assert (ran.code, ran.err.startswith("error: invalid_input: ")) == (2, True)
    assert SummaryReply.model_validate_json(ran.out).status == "failed"


def test_the_sandbox_says_how_to_use_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tikhub_mcp.sandbox.Sandbox.start", lambda self: self)
    monkeypatch.setattr("tikhub_mcp.sandbox.Sandbox.stop", lambda self: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", lambda self: None)
        ran = cli("sandbox", "--port", 0)
    key = ran.out.split("TIKHUB_API_KEY=")[1].split()[0]
    assert not why_unusable(key)
    assert key not in str(posts.SHAPES)  # it would be taken out of the answers
    assert all(link(scenario.name) in ran.out for scenario in SCENARIOS)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", lambda self: None)
        told = json.loads(cli("sandbox", "--port", 0, "--json").out)
    assert (told["env"]["TIKHUB_API_KEY"], len(told["posts"])) == (key, len(Sandbox.describe()))


def test_the_demo_is_given_its_folder_and_its_exit_code_is_handed_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {None: 5, Path.cwd() / "x": 6}
    monkeypatch.setattr("tikhub_mcp.cli.demo.run", folders.get)
    assert (cli("demo").code, cli("demo", "-o", "x").code) == (5, 6)


def test_without_arguments_it_is_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("tikhub_mcp.server.run", partial(ran.append, "the server"))
    monkeypatch.setattr(sys, "argv", ["tikhub-mcp"])
    assert not main()
    assert ran == ["the server"]


class Terminal(io.StringIO):  # a standard error that somebody looks at
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_on_a_terminal_only(cli: Cli, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI sets it where nobody looks
    shown = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert cli("one", link("tiktok")).code == 0
    assert cli("batch", listed(Path("links.txt"), *good_links(2))).code == 0
    assert ("downloading" in shown.getvalue(), "of 2, " in shown.getvalue()) == (terminal, terminal)


def start(command: str, argument: str, sandbox: Sandbox, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"TIKHUB_API_KEY": "a-key-of-the-tests", "TIKHUB_BASE_URL": sandbox.base_url}
    everything = [sys.executable, "-m", "tikhub_mcp", command, argument, *more]
    return Forked(everything, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_reader_that_has_had_enough_gets_no_traceback(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody, pipe = os.pipe()
    os.close(nobody)
    save_all(Path("raw"), [answer()])
    with os.fdopen(pipe, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["summarize", "-i", "raw"]) == 1


def test_name_look_ups_that_hang_hold_up_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hang.wait(20))

    async def work() -> str:
        loop = asyncio.get_running_loop()
        look_ups = [asyncio.ensure_future(loop.getaddrinfo(f"{number}.example", 443)) for number in range(20)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(5):
                return await in_thread(lambda: "written")
        finally:
            hang.set()
            await asyncio.wait(look_ups)

    assert finish(work()) == "written"


def test_the_log_level_is_for_this_package_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_LOG_LEVEL", "debug")
    cli("summarize")
    levels = [logging.getLogger(name).getEffectiveLevel() for name in ("tikhub_mcp", "httpx", "httpcore")]
    logging.getLogger("tikhub_mcp").setLevel(logging.NOTSET)
    assert levels == [10, 30, 30]


def test_a_batch_that_was_interrupted_goes_on_without_paying_again(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "links.txt"
    listed.write_text("\n".join(good_links(12)), encoding="utf-8")
    with Sandbox(media_latency=1.0) as slow:
        process = start("batch", str(listed), slow, "--refresh")
        while len(slow.media_requests) < 10:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert re.fullmatch(r"\d+ of 12, 1[0-2] paid\nInterrupted\. .*\n", err)
        again = start("batch", str(listed), slow, "--refresh")
        again.communicate(timeout=30)
        assert again.returncode == 0
        assert sorted(call.share_url for call in slow.calls) == sorted(good_links(12))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_download_that_a_signal_ends_says_so_and_leaves_no_part(root: Path, name: str) -> None:
    with Sandbox(media_bytes_per_second=20_000) as slow, start("one", link("tiktok"), slow) as process:
        while not list(root.rglob("*.part")):
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=5)
    assert (process.returncode, out) == (130, "")
    assert err == "Interrupted. What was finished is kept; nothing half-made is left.\n"
    assert [path.suffix for path in root.rglob("*.*") if path.parent != root] == [".json"]


def test_the_sandbox_answers_until_it_is_interrupted(root: Path, sandbox: Sandbox) -> None:
    with start("sandbox", "--port", sandbox, "0") as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            said += process.stdout.readline()
        url = said.split("TIKHUB_BASE_URL=")[1].split()[0]
        # The answers of another port, whose links lead nowhere now, are not used again.
        assert said.split("TIKHUB_OUTPUT_DIR=")[1].split()[0].endswith(url.rpartition(":")[2])
        answer = httpx.get(f"{url}/api/v1/tikhub/user/get_user_info", headers={"Authorization": "Bearer sandbox"})
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert (answer.status_code, process.returncode, "Traceback" in err) == (200, 130, False)


@pytest.mark.parametrize(
    ("arguments", "absent", "says"),
    [
        ("--version", "mcp httpx pydantic rich", f"tikhub-mcp {__version__}"),
        ("--help", "mcp httpx pydantic rich", "Exit codes: 0 done"),
        ("one --help", "mcp httpx pydantic rich", "--quality"),
        ("summarize", "mcp httpx rich", "1 file read from"),
    ],
)
def test_quick_commands_import_nothing_slow(root: Path, arguments: str, absent: str, says: str) -> None:
    (root / "raw").mkdir(parents=True)
    save_all(root / "raw", [answer()])
    program = (
        "import sys; from tikhub_mcp.cli.main import main\n"
        "try: main(sys.argv[2:])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.argv[1].split() if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, absent, *arguments.split()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert says in ran.stdout
    assert "Exit codes" not in ran.stdout or " ".join(ran.stdout.split()).endswith("or is not available.")
    assert ran.stderr == "[]\n"


def test_a_port_that_is_taken_is_said_in_a_sentence(cli: Cli, sandbox: Sandbox) -> None:
    ran = cli("sandbox", "--port", sandbox.base_url.rpartition(":")[2])
    assert ran.code == 2
    assert "Try --port 0" in ran.err


def test_the_servers_own_command_tells_a_terminal_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("sys.stderr", told)
    monkeypatch.setattr("tikhub_mcp.server.run", lambda: None)
    assert main([]) == 0
    assert "waiting for a client on standard input" in told.getvalue()
