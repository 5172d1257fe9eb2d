"""batch.py: links given in many ways become entries, and entries one reply in their order."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.payloads import TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.batch import LARGEST_LIST, Entry, at_least_none, plan, read_list, run_batch, understand
from tikhub_mcp.call import Call, Job, Outcome, Watch, Wish
from tikhub_mcp.errors import InvalidInput, MediaUnavailable, UnsupportedLink
from tikhub_mcp.jobs import Jobs
from tikhub_mcp.links import Link, parse
from tikhub_mcp.post import read

TIKTOK = "https://www.tiktok.com/@someone/video/7000000000000001001"
SAME = "https://m.tiktok.com/v/7000000000000001001.html"
DOUYIN = "https://v.douyin.com/AbCd123/"
SHARED = f"3.28 复制打开抖音，看看【纸船】的作品 {DOUYIN} kWq:/ 05/17"
PROFILE = "https://www.tiktok.com/@someone"
WISH = Wish(Path("/videos"))


class FakeJobs(Jobs):
    """Has an outcome and a plan for every key, or says that all went well."""

    def __init__(
        self, outcomes: dict[str, Outcome] | None = None, plans: dict[str, tuple[bool, bool]] | None = None
    ) -> None:
        self.outcomes, self.plans = outcomes or {}, plans or {}
        self.asked: list[tuple[list[str], int]] = []

    async def get_all(
        self, call: Call, links: Sequence[Link], wish: Wish, workers: int, watch: Watch
    ) -> dict[str, Outcome]:
        self.asked.append(([link.key for link in links], workers))
        found = {}
        for link in {link.key: link for link in links}.values():
            watch(Job(link, wish, 0.0))
            found[link.key] = self.outcomes.get(link.key) or Outcome("ok")
            call.api_calls += 1
        return found

    async def plan(self, links: Sequence[Link], wish: Wish) -> list[tuple[bool, bool]]:
        return [self.plans.get(link.key, (False, True)) for link in links]


def call() -> Call:
    return Call(SecretStr("a-key"))


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.link.key if entry.link else f"{entry.given!r}" for entry in entries]


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
        (["x" * 1000], [f"{'x' * 299 + '…'!r}"]),
    ],
)
def test_texts_become_one_entry_for_each_link_and_one_for_a_text_without(texts: list[str], expected: list[str]) -> None:
    entries = understand(texts)
    assert kinds(entries) == expected
    assert all((entry.link is None) == isinstance(entry.error, UnsupportedLink) for entry in entries)


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
LISTED = ["tiktok:7000000000000001001", DOUYIN, "'nothing here'", f"{PROFILE!r}", "tiktok:7000000000000001001"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_list_is_read_line_by_line_in_any_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    text = LIST.replace("\n", newline)
    bare = encoding.removesuffix("-bom")
    (tmp_path / "links.txt").write_bytes((text if bare == encoding else f"\ufeff{text}").encode(bare))
    entries = read_list(tmp_path / "links.txt")
    assert kinds(entries) == LISTED
    reasons = [entry.error.message for entry in entries if entry.error]
    assert reasons[0].startswith("Line 6: There is no link")
    assert reasons[1].startswith("Line 7: This link leads to a profile")


def test_bytes_in_no_encoding_are_no_reason_to_lose_the_rest(tmp_path: Path) -> None:
    (tmp_path / "links.txt").write_bytes(b"\xff\xc3( caf\xe9\n" + TIKTOK.encode())
    assert kinds(read_list(tmp_path / "links.txt"))[-1] == "tiktok:7000000000000001001"


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "\ufeff"])
def test_a_list_without_links_has_no_entries(tmp_path: Path, content: str) -> None:
    (tmp_path / "links.txt").write_text(content, encoding="utf-8")
    assert read_list(tmp_path / "links.txt") == []


def test_a_list_has_an_end_unless_a_person_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "links.txt"
    path.write_bytes(b"#" * LARGEST_LIST)
    assert read_list(path) == []
    path.write_bytes(b"#" * LARGEST_LIST + b"\n" + TIKTOK.encode())
    with pytest.raises(InvalidInput, match="larger than 1,048,576 bytes"):
        read_list(path)
    assert kinds(read_list(path, largest=None)) == ["tiktok:7000000000000001001"]


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
    post = read(envelope(tiktok_post()), parse(TIKTOK), 0.0)
    jobs = FakeJobs({DOUYIN: Outcome("failed", post, error=MediaUnavailable("no"))})
    entries = understand([PROFILE, TIKTOK, "nothing", DOUYIN, SAME])
    watched: list[Job] = []
    reply = asyncio.run(run_batch(jobs, call(), entries, WISH, 3, watched.append))
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
    reply = asyncio.run(run_batch(jobs, call(), understand(["a", "b"]), WISH, 10, lambda _: None))
    assert (reply.status, reply.total, reply.failed, reply.error, jobs.asked) == ("complete", 2, 2, None, [])


def test_a_plan_counts_each_post_once() -> None:
    jobs = FakeJobs(plans={"tiktok:7000000000000001001": (True, False)})
    entries = understand([TIKTOK, SAME, DOUYIN, "nothing"])
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


def test_a_negative_cap_is_refused_instead_of_being_none() -> None:
    assert at_least_none(3) == 3
    with pytest.raises(InvalidInput, match="max_api_calls"):
        at_least_none(-1)
