"""batch.py: links given in many ways become entries, and entries one reply in their order."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import openpyxl
import pytest
from pydantic import SecretStr

from tests.support.payloads import TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.errors import InvalidInput, MediaUnavailable, UnsupportedLink
from tikhub_mcp.jobs.model import Call, Job, Options, Outcome, Watch
from tikhub_mcp.jobs.scheduler import Jobs, Plan
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import parse_post
from tikhub_mcp.tools.batch import (
    MAX_LIST_BYTES,
    Entry,
    Given,
    at_least_none,
    parse_entries,
    parse_one,
    plan,
    plan_or_run,
    read_list,
    run_batch,
)
from tikhub_mcp.tools.replies import PENDING

TIKTOK = "https://www.tiktok.com/@someone/video/7000000000000001001"
SAME = "https://m.tiktok.com/v/7000000000000001001.html"
DOUYIN = "https://v.douyin.com/AbCd123/"
SHARED = f"3.28 复制打开抖音，看看【纸船】的作品 {DOUYIN} kWq:/ 05/17"
PROFILE = "https://www.tiktok.com/@someone"
WISH = Options(Path("/videos"))


class FakeJobs(Jobs):
    """Has an outcome and a plan for every key, or says that all went well."""

    def __init__(
        self, outcomes: dict[str, Outcome] | None = None, plans: dict[str, tuple[bool, bool]] | None = None
    ) -> None:
        self.outcomes, self.plans = outcomes or {}, plans or {}
        self.asked: list[tuple[list[str], int]] = []

    async def get_all(
        self, call: Call, links: Sequence[Link], options: Options, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        self.asked.append(([link.key for link in links], workers))
        found = {}
        for link in {link.key: link for link in links}.values():
            watch(Job(link, options, 0.0))
            found[link.key] = self.outcomes.get(link.key) or Outcome("ok")
            call.api_calls += 1
        return found

    async def plan(self, call: Call, links: Sequence[Link], options: Options) -> Plan | None:
        if call.remaining() == 0:
            return None
        return [self.plans.get(link.key, (False, True)) for link in links]


def call() -> Call:
    return Call(SecretStr("a-key"))


def kinds(given: Given) -> list[str]:
    return [entry.link.key if entry.link else f"{entry.given!r}" for entry in given.entries]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([TIKTOK, SAME], ["tiktok:7000000000000001001"] * 2),
        ([SHARED], [DOUYIN]),
        ([f"{TIKTOK} {DOUYIN}"], ["tiktok:7000000000000001001", DOUYIN]),
        ([f"{TIKTOK}\n{DOUYIN}\r\n"], ["tiktok:7000000000000001001", DOUYIN]),
        (["no link\x00 here", TIKTOK], ["'no link here'", "tiktok:7000000000000001001"]),
        ([PROFILE], [f"{PROFILE!r}"]),
        (["", " "], ["''", "''"]),
        (["", TIKTOK, " "], ["tiktok:7000000000000001001"]),
        (["x" * 1000], [f"{'x' * 299 + '…'!r}"]),
    ],
)
def test_texts_become_one_entry_for_each_link_and_one_for_a_text_without(texts: list[str], expected: list[str]) -> None:
    given = parse_entries(texts)
    assert kinds(given) == expected
    assert all((entry.link is None) == isinstance(entry.error, UnsupportedLink) for entry in given.entries)
    assert given.note == ""


@pytest.mark.parametrize(
    ("texts", "expected", "note"),
    [
        ([f"mine:\n{TIKTOK}\n\nand\n# no"], ["tiktok:7000000000000001001"], "2 (numbers 1, 4)."),
        (["a\nb", f"{DOUYIN}\nb\nc"], ["'a b'", DOUYIN], "2 (numbers 2 of text 2, 3 of text 2)."),
        (["x\n" * 7 + TIKTOK], ["tiktok:7000000000000001001"], "7 (numbers 1, 2, 3, 4, 5, …)."),
        ([f"#猫 {DOUYIN}\nwords"], [DOUYIN], "1 (numbers 2)."),
    ],
)
def test_in_a_text_with_a_link_the_lines_without_one_are_no_entries(
    texts: list[str], expected: list[str], note: str
) -> None:
    given = parse_entries(texts)
    assert kinds(given) == expected
    assert given.note == f"Lines of urls without a link, left out: {note}"


LITE = "https://www.tiktok.com/tiktoklite"
LITE_TEXT = f"{DOUYIN} This post is shared via TikTok Lite: {LITE}"


def test_links_that_are_left_out_are_named(tmp_path: Path) -> None:
    left_out = "Links that lead to no post or advertise the app, left out: "
    given = parse_entries([LITE_TEXT, f"{TIKTOK} from https://example.com/secret"])
    assert kinds(given) == [DOUYIN, "tiktok:7000000000000001001"]
    assert given.note == f"{left_out}2 ({LITE}, https://example.com/secret)."
    note = parse_entries([f"{TIKTOK} on {LITE}?{'x' * 1900} " + f"or {LITE} " * 8]).note
    assert note.startswith(f"{left_out}9 ({LITE}?xxx")
    assert note.endswith(f", {LITE}, …).")
    assert len(note) < 350
    (tmp_path / "links.txt").write_text(f"{LITE_TEXT}\n{TIKTOK} from https://example.com/secret\n")
    given = read_list(tmp_path / "links.txt")
    assert kinds(given) == [DOUYIN, "tiktok:7000000000000001001"]
    assert given.note == f"{left_out}2 ({LITE}, https://example.com/…)."


def test_of_one_share_text_the_other_links_of_our_sites_are_named() -> None:
    link, note = parse_one(f"https://example.com/ {LITE_TEXT}")
    assert (link.key, note) == (
        DOUYIN,
        f"Links that lead to no post or advertise the app, left out: 1 ({LITE}).",
    )
    assert parse_one(TIKTOK)[1] == ""


def test_a_text_that_only_the_app_opens_is_called_that() -> None:
    [entry] = parse_entries(["海 " * 400 + "复制此链接，打开Dou音搜索，直接观看视频！"]).entries
    assert entry.error is not None
    assert "only the app opens this text" in entry.error.message
    assert len(entry.given) == 300


def test_entries_of_the_same_post_have_the_same_key_and_others_their_own_text() -> None:
    assert Entry.of(TIKTOK).key == Entry.of(SAME).key
    assert Entry.of("nothing").key == "nothing"


LIST = f"""# my list, https://www.tiktok.com/@someone/video/7000000000000009999

{TIKTOK}
   # indented
  {SHARED}
nothing here
{PROFILE} {TIKTOK}
"""
LISTED = ["tiktok:7000000000000001001", DOUYIN, f"{PROFILE!r}", "tiktok:7000000000000001001"]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "utf-16-le", "utf-16-be", "utf-32", "gb18030"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_list_is_read_line_by_line_in_any_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    text = LIST.replace("\n", newline)
    bare = encoding.removesuffix("-bom")
    (tmp_path / "links.txt").write_bytes((text if bare == encoding else f"\ufeff{text}").encode(bare))
    given = read_list(tmp_path / "links.txt")
    assert kinds(given) == LISTED
    [reason] = [entry.error.message for entry in given.entries if entry.error]
    assert reason.startswith("Line 7: This link leads to a profile")
    assert given.note == "Lines of the file without a link, left out: 1 (numbers 6)."


def test_bytes_in_no_encoding_are_no_reason_to_lose_the_rest(tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_bytes(b"\xff\xc3( caf\xe9\n" + TIKTOK.encode())
    assert kinds(read_list(tmp_path / "links.txt"))[-1] == "tiktok:7000000000000001001"


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "\ufeff", "secret words\n" * 9, f"#{TIKTOK}\nsecret"])
def test_a_list_without_links_is_refused_by_its_name_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "links.txt").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"^There is no link in links\.txt\. ") as caught:
        read_list(tmp_path / "links.txt")
    assert "secret" not in caught.value.message


def test_a_file_that_is_no_text_is_called_what_it_is(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "links.xlsx")
    with pytest.raises(InvalidInput, match=r"^links\.xlsx is an Excel workbook, .* as text or CSV"):
        read_list(tmp_path / "links.xlsx")
    (tmp_path / "links.xlsx").write_bytes((tmp_path / "links.xlsx").read_bytes() + b"\0" * MAX_LIST_BYTES)
    with pytest.raises(InvalidInput, match="is an Excel workbook"):  # which says more than that it is too large
        read_list(tmp_path / "links.xlsx")


FOREIGN = """\
[server]
webhook = https://hooks.example/services/secret/secret
remote = https://secret@github.example/secret.git
proxy = http://me:secret/secret@proxy.example:8080
db = postgres://me:secret@db.example/secret
url = https://secret@v.douyin.com/iMadeUp1/
api = https://api.example:8443/v1?token=secret#secret and http://secret/
"""


def test_of_links_to_other_sites_in_a_file_only_scheme_and_host_are_told(tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text(FOREIGN)
    given = read_list(tmp_path / "settings.ini")
    reply = asyncio.run(run_batch(FakeJobs(), call(), given, WISH, Path("/reports"), 10, lambda _: None))
    assert [item.url for item in reply.results] == [
        *("https://hooks.example/…", "https://github.example/…", "http://…", "https://v.douyin.com/…"),
        *("https://api.example/…", "http://…"),
    ]
    assert [item.error.message.partition(". ")[0] for item in reply.results if item.error] == [
        "Line 2: This link leads to hooks.example",
        "Line 3: This link leads to github.example",
        "Line 4: This link leads to another site",
        "Line 6: This link leads to v.douyin.com",
        "Line 7: This link leads to api.example:8443",
        "Line 7: This link leads to another site",
    ]
    assert (reply.total, reply.failed, reply.retry_urls) == (6, 6, [])
    assert reply.note == "Lines of the file without a link, left out: 2 (numbers 1, 5)."
    assert "secret" not in reply.model_dump_json()


def test_the_next_cells_of_a_table_are_not_told_with_a_link(tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text(f"link,note\n{TIKTOK},secret\n{DOUYIN};secret\n{PROFILE},secret\n")
    given = read_list(tmp_path / "links.csv")
    assert [entry.given for entry in given.entries] == [TIKTOK, DOUYIN, PROFILE]
    assert kinds(given) == ["tiktok:7000000000000001001", DOUYIN, f"{PROFILE!r}"]


def test_what_is_left_out_and_what_goes_on_are_both_noted_and_both_lists_count(tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_text(f"mine\n{DOUYIN}")
    given = parse_entries([f"words\n{TIKTOK}"]) + read_list(tmp_path / "links.txt")
    jobs = FakeJobs({DOUYIN: Outcome("pending")})
    reply = asyncio.run(run_batch(jobs, call(), given, WISH, Path("/reports"), 10, lambda _: None))
    assert [(item.url, item.status) for item in reply.results] == [(TIKTOK, "ok"), (DOUYIN, "pending")]
    urls, file = (f"Lines of {where} without a link, left out: 1 (numbers 1)." for where in ("urls", "the file"))
    assert reply.note == f"{PENDING} {urls} {file}"
    assert asyncio.run(plan(jobs, call(), given, WISH, 10)).note == f"{urls} {file}"


@pytest.mark.slow
def test_a_list_has_an_end_unless_a_person_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "links.txt"
    path.write_bytes(b"#" * (MAX_LIST_BYTES - len(TIKTOK) - 1) + b"\n" + TIKTOK.encode())
    assert kinds(read_list(path)) == ["tiktok:7000000000000001001"]
    path.write_bytes(b"#" * MAX_LIST_BYTES + b"\n" + TIKTOK.encode())
    with pytest.raises(InvalidInput, match="larger than 1,048,576 bytes"):
        read_list(path)
    assert kinds(read_list(path, largest=None)) == ["tiktok:7000000000000001001"]


def test_a_list_may_be_named_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_text(TIKTOK)
    (tmp_path / "link.txt").symlink_to("links.txt")
    assert kinds(read_list(tmp_path / "link.txt")) == ["tiktok:7000000000000001001"]


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "loop"])
def test_what_is_no_file_is_refused_at_once_and_leaves_nothing_open(tmp_path: Path, what: str) -> None:
    path = tmp_path / "links.txt"
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path)
    if what == "loop":
        path.symlink_to(path)
    before = sorted(Path("/dev/fd").iterdir())
    with pytest.raises(InvalidInput, match=r"links\.txt") as caught:
        read_list(path)
    assert sorted(Path("/dev/fd").iterdir()) == before
    assert str(tmp_path) not in caught.value.message


def test_results_stand_in_the_order_of_the_links_and_a_bad_one_hurts_no_other() -> None:
    post = parse_post(envelope(tiktok_post()), parse_link(TIKTOK), 0.0)
    jobs = FakeJobs({DOUYIN: Outcome("failed", post, error=MediaUnavailable("no"))})
    entries = parse_entries([PROFILE, TIKTOK, "nothing", DOUYIN, SAME])
    watched: list[Job] = []
    reply = asyncio.run(run_batch(jobs, call(), entries, WISH, Path("/reports"), 3, watched.append))
    assert [(item.url, item.status) for item in reply.results] == [
        (PROFILE, "failed"),
        (TIKTOK, "ok"),
        ("nothing", "failed"),
        (DOUYIN, "failed"),
        (SAME, "ok"),
    ]
    assert [item.error.code for item in reply.results if item.error] == [
        "unsupported_link",
        "unsupported_link",
        "media_unavailable",
    ]
    assert reply.results[3].metrics is not None
    assert reply.results[3].video_id == TIKTOK_ID
    assert (reply.total, reply.succeeded, reply.failed, reply.workers) == (5, 2, 3, 3)
    assert (reply.status, reply.retry_urls, reply.cost.api_calls) == ("complete", [DOUYIN], 2)
    assert jobs.asked == [(["tiktok:7000000000000001001", DOUYIN, "tiktok:7000000000000001001"], 3)]
    assert [job.link.key for job in watched] == ["tiktok:7000000000000001001", DOUYIN]


def test_a_batch_of_what_is_no_link_asks_nobody() -> None:
    jobs = FakeJobs()
    reply = asyncio.run(run_batch(jobs, call(), parse_entries(["a", "b"]), WISH, Path("/reports"), 10, lambda _: None))
    assert (reply.status, reply.total, reply.failed, reply.error, jobs.asked) == ("complete", 2, 2, None, [])


def test_a_plan_counts_each_post_once() -> None:
    jobs = FakeJobs(plans={"tiktok:7000000000000001001": (True, False)})
    entries = parse_entries([TIKTOK, SAME, DOUYIN, "nothing"])
    reply = asyncio.run(plan(jobs, call(), entries, WISH, 10))
    assert [item.status for item in reply.results] == ["planned", "planned", "planned", "failed"]
    assert (reply.total, reply.distinct_posts, reply.on_disk, reply.calls_needed) == (4, 2, 1, 1)
    assert (reply.status, reply.succeeded, reply.failed, reply.retry_urls, reply.cost.api_calls) == (
        "complete",
        0,
        1,
        [],
        0,
    )


def test_a_plan_that_is_not_done_in_time_is_pending_and_counts_nothing_but_posts() -> None:
    out_of_time, entries = Call(SecretStr("a-key"), seconds=0), parse_entries([TIKTOK, SAME, DOUYIN, "nothing"])
    reply = asyncio.run(plan(FakeJobs(), out_of_time, entries, WISH, 10))
    assert [item.status for item in reply.results] == ["pending", "pending", "pending", "failed"]
    assert (reply.status, reply.pending, reply.note, reply.retry_urls) == (
        "partial",
        3,
        PENDING,
        [TIKTOK, SAME, DOUYIN],
    )
    assert (reply.distinct_posts, reply.on_disk, reply.calls_needed) == (2, None, None)


@pytest.mark.parametrize(("asked", "workers"), [(-5, 1), (0, 1), (1, 1), (10, 10), (11, 10), (10**9, 10)])
@pytest.mark.parametrize("save_raw", [True, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_batch_is_planned_or_worked_on_and_says_where_files_are(
    asked: int, workers: int, save_raw: bool, dry_run: bool
) -> None:
    opened: list[int] = []

    @asynccontextmanager
    async def progress(posts: int) -> AsyncIterator[Watch]:
        opened.append(posts)
        yield lambda _: None

    jobs, given, options = (
        FakeJobs(),
        parse_entries([TIKTOK, SAME, "nothing"]),
        Options(Path("/videos"), save_raw=save_raw),
    )
    work = plan_or_run(
        jobs, call(), given, options, Path("/raw"), Path("/reports"), workers=asked, dry_run=dry_run, progress=progress
    )
    reply = asyncio.run(work)
    assert (reply.workers, reply.output_dir, reply.raw_dir) == (workers, "/videos", "/raw" if save_raw else None)
    assert reply.distinct_posts == (1 if dry_run else None)
    key = "tiktok:7000000000000001001"
    assert (jobs.asked, opened) == (([], []) if dry_run else ([([key, key], workers)], [1]))


def test_a_negative_cap_is_refused_instead_of_being_none() -> None:
    assert at_least_none(3) == 3
    with pytest.raises(InvalidInput, match="max_api_calls"):
        at_least_none(-1)
