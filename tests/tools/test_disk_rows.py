"""The disk and the server together: no room, no folder, no numbers; what is there already; two at once."""

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp.client import Client

from tests.support import forked
from tests.support.failing_disk import Watch, parts
from tests.support.forked import Forked
from tests.support.mcp_session import MEDIA, Desk, Era, content, until
from tikhub_mcp.jobs.model import MAX_TRANSFERS
from tikhub_mcp.sandbox import Sandbox, good_links, link, short_link
from tikhub_mcp.server import Server
from tikhub_mcp.storage.atomic import MAX_NAME_BYTES
from tikhub_mcp.tools.handlers import Tools

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="as POSIX has it"), pytest.mark.slow]

GOOD, OTHER = (MEDIA / "h264_large.mp4").read_bytes(), (MEDIA / "h265_silent.mp4").read_bytes()


@pytest.fixture
def era() -> Era:
    """One of the two: nothing here depends on it."""
    return "auto"


async def saved(desk: Desk) -> Path:
    """The file of the first call."""
    return Path((await desk.one(link("tiktok")))["file"]["path"])


# No room


@pytest.mark.parametrize("room", [0, 1, len(GOOD) // 2, len(GOOD) - 1])
async def test_a_disk_that_fills_up_is_said_with_what_is_free_and_needed_and_the_answer_is_kept(
    desk: Desk, room: int
) -> None:
    with Watch(desk.root / "videos", room=room):
        reply = await desk.one(link("tiktok"))
    assert reply.code == "disk_full"
    assert f"needs {len(GOOD):,} bytes" in reply.message
    assert re.search(r"[\d,]{5,} are free", reply.message)
    assert content(reply["raw_json_path"])
    assert not desk.videos
    assert not desk.parts
    again = await desk.one(link("tiktok"))
    assert (again["status"], again["cost"]["api_calls"]) == ("ok", 0)


# The order that survives a loss of power


async def test_every_file_is_written_and_synced_before_it_is_named_and_its_folder_synced_after(desk: Desk) -> None:
    with Watch(desk.root) as watch:
        video = await desk.one(link("tiktok"))
        table = await desk.ask("summarize_raw")
    for path in (video["file"]["path"], video["raw_json_path"], table["csv_path"], table["json_path"]):
        assert watch.order(Path(path)) == ["write", "fsync", "replace", "fsync folder"]


# The same file twice


async def two_calls(desk: Desk) -> list[str]:
    replies = await asyncio.gather(*(desk.one(link("tiktok")) for _ in range(2)))
    return [reply["file"]["path"] for reply in replies]


async def one_batch(desk: Desk) -> list[str]:
    return [item["path"] for item in (await desk.batch([link("tiktok"), f"{link('tiktok')}?lang=en"]))["results"]]


@pytest.mark.parametrize("ask", [two_calls, one_batch])
async def test_one_post_asked_for_twice_is_one_call_one_download_and_one_file(
    desk: Desk, ask: Callable[[Desk], "asyncio.Future[list[str]]"]
) -> None:
    first, second = await ask(desk)
    assert first == second
    assert content(first) == GOOD
    assert len(desk.asked) == len(desk.sandbox.media_requests) == 1


async def test_one_post_by_a_long_and_a_short_link_is_one_download_and_one_file(desk: Desk) -> None:
    reply = await desk.batch([link("tiktok"), short_link("tiktok")])
    first, second = (item["path"] for item in reply["results"])
    assert first == second
    assert content(first) == GOOD
    assert len(desk.sandbox.media_requests) == 1


async def test_two_servers_on_one_root_give_the_same_good_files_and_hurt_each_other_in_nothing(
    desk: Desk, environ: dict[str, str]
) -> None:
    desk.sandbox.media_bytes_per_second = 500_000
    links = good_links(4)
    async with Client(Server(Tools(environ))) as client:  # they share nothing but the disk
        other = Desk(client, desk.sandbox, environ, desk.root)
        first, second = await asyncio.gather(desk.batch(links), other.batch(links))
        assert first.statuses == second.statuses == ["ok"] * 4
        assert [item["path"] for item in first["results"]] == [item["path"] for item in second["results"]]
        assert all(content(desk.root / "videos" / name) in (GOOD, OTHER) for name in desk.videos)
        assert len(desk.videos) == 4
        assert not desk.parts
        for server in (desk, other):
            assert (await server.batch(links))["cost"]["api_calls"] == 0


def test_two_processes_at_once_give_the_same_good_file(sandbox: Sandbox, environ: dict[str, str]) -> None:
    sandbox.media_bytes_per_second = 200_000
    command = [sys.executable, "-m", "tikhub_mcp", "one", "--json", link("tiktok")]
    both = [Forked(command, stdout=subprocess.PIPE, env={**os.environ, **environ}, cwd="/") for _ in range(2)]
    first, second = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert first["status"] == second["status"] == "ok"
    assert first["file"]["path"] == second["file"]["path"]
    assert content(first["file"]["path"]) == GOOD
    assert not parts(Path(environ["TIKHUB_OUTPUT_DIR"]))
    assert len(sandbox.calls) <= 2


# What is under the name already


def kind_of(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


def identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mode, found.st_mtime_ns


def every(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def truncated(path: Path) -> None:
    os.truncate(path, len(GOOD) // 2)


def another_video(path: Path) -> None:
    path.write_bytes(OTHER)


def for_reading_only(path: Path) -> None:
    os.truncate(path, len(GOOD) // 2)
    path.chmod(0o400)


def link_elsewhere(path: Path) -> None:
    (path.parent / "victim").write_bytes(b"mine")
    path.unlink()
    path.symlink_to(path.parent / "victim")


def nothing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [truncated, another_video, for_reading_only, link_elsewhere, nothing])
async def test_what_is_not_the_whole_video_is_replaced_for_free(desk: Desk, change: Callable[[Path], None]) -> None:
    path = await saved(desk)
    change(path)
    reply = await desk.one(link("tiktok"))
    assert (reply["status"], reply["file"]["reused"], reply["cost"]["api_calls"]) == ("ok", False, 0)
    assert content(path) == GOOD
    assert {kind_of(entry) for entry in every(path.parent)} == {stat.S_IFREG}
    assert [content(entry) for entry in every(path.parent) if entry != path] in ([], [b"mine"])


@pytest.mark.parametrize("access", [0o644, 0o400])
async def test_the_whole_video_is_used_again_for_free(desk: Desk, access: int) -> None:
    path = await saved(desk)
    os.chmod(path, access)  # noqa: PTH101 - one call, of a file that is there
    before = identity(path)
    reply = await desk.one(link("tiktok"))
    assert (reply["file"]["reused"], reply["cost"]["api_calls"]) == (True, 0)
    assert identity(path) == before
    assert len(desk.sandbox.media_requests) == 1


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(("make", "kind"), [(folder, stat.S_IFDIR), (pipe, stat.S_IFIFO)])
async def test_what_is_no_file_keeps_its_name_and_is_an_error(
    desk: Desk, make: Callable[[Path], None], kind: int
) -> None:
    path = await saved(desk)
    make(path)
    reply = await desk.one(link("tiktok"))
    assert (reply.code, reply["cost"]["api_calls"]) == ("not_writable", 0)
    assert kind_of(path) == kind
    assert not desk.parts


# The folder goes away


async def test_a_video_folder_that_goes_away_meanwhile_is_an_error_and_asking_again_is_free(desk: Desk) -> None:
    desk.sandbox.media_bytes_per_second = 400_000
    asking = asyncio.create_task(desk.one(link("tiktok")))
    await until(lambda: [part for part in desk.parts if part.parent.name == "videos"])
    shutil.rmtree(desk.root / "videos")
    reply = await asking
    assert (reply["status"], reply.code) == ("failed", "not_writable")
    assert content(reply["raw_json_path"])
    again = await desk.one(link("tiktok"))
    assert (again["status"], again["cost"]["api_calls"]) == ("ok", 0)


@pytest.mark.parametrize("name", ["videos", "photos", "raw"])
async def test_a_folder_that_cannot_be_made_is_known_before_anything_is_paid_for(desk: Desk, name: str) -> None:
    desk.root.mkdir()
    (desk.root / name).touch()
    for post in ("tiktok", "photos"):
        assert (await desk.one(link(post))).code == "not_writable"
    assert desk.asked == []
    if name == "photos":  # neither needs it
        assert (await desk.one(link("tiktok"), output_dir=str(desk.root / "here")))["status"] == "ok"
        assert (await desk.one(link("tiktok"), metrics_only=True, include="captions"))["status"] == "ok"


async def test_a_raw_folder_that_goes_away_while_tikhub_works_loses_no_answer(desk: Desk) -> None:
    desk.sandbox.latency = 0.3
    asking = asyncio.create_task(desk.one(link("tiktok")))
    await until(lambda: desk.asked)
    shutil.rmtree(desk.root / "raw")
    reply = await asking
    assert (reply["status"], reply.code, reply["cost"]["api_calls"]) == ("failed", "not_writable", 1)
    again = await desk.one(link("tiktok"))
    assert (again["status"], again["cost"]["api_calls"]) == ("ok", 0)
    assert content(again["raw_json_path"])


# Long paths


@pytest.mark.parametrize("tool", ["download_video", "batch_download"])
async def test_a_path_that_leaves_no_room_for_a_name_is_an_error_before_anything_is_paid(
    desk: Desk, environ: dict[str, str], tool: str
) -> None:
    longest = os.pathconf("/", "PC_PATH_MAX") - 1
    deep = Path(environ["TIKHUB_OUTPUT_DIR"])
    while (more := longest - MAX_NAME_BYTES - len(f"{deep}/videos/")) > 0:  # one byte more than would do
        deep /= "d" * min(more, 200)
    environ["TIKHUB_OUTPUT_DIR"] = str(deep)
    async with Client(Server(Tools(environ))) as client:
        strict = Desk(client, desk.sandbox, environ, deep)
        reply = await (strict.one(link("tiktok")) if tool == "download_video" else strict.batch([link("tiktok")]))
    assert "File name too long" in reply.text
    assert not desk.asked


# No file descriptors left

CROWD = """
import asyncio, json, os, resource, sys
from pathlib import Path
from pydantic import SecretStr
from tikhub_mcp.jobs.model import Call, Options
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.settings.environment import Settings

settings = Settings(sys.argv[1], Path(sys.argv[2]))
links, rounds = [parse_link(url) for url in sys.argv[4:]], []

async def run():
    jobs = Jobs.of(settings)
    for limit in (int(sys.argv[3]), 1024):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 1024))
        call = Call(SecretStr("a-key"))
        outcomes = await jobs.get_all(call, links, Options(settings.videos), 10, lambda _: None)
        await asyncio.sleep(0.05)
        codes = [outcome.error.code if outcome.error else outcome.status for outcome in outcomes.values()]
        rounds.append({"codes": codes, "paid": call.api_calls, "open": len(os.listdir("/proc/self/fd"))})

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
asyncio.run(run())
print(json.dumps(rounds))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells what is open")
@pytest.mark.parametrize("limit", [16, 32])
def test_ten_downloads_with_few_numbers_end_well_or_cleanly_and_leak_nothing(
    sandbox: Sandbox, tmp_path: Path, limit: int
) -> None:
    sandbox.media_bytes_per_second = 500_000
    links = good_links(MAX_TRANSFERS)
    child = forked.run([sys.executable, "-c", CROWD, sandbox.base_url, str(tmp_path / "root"), str(limit), *links])
    assert (child.returncode, child.stderr) == (0, b"")
    crowded, free = json.loads(child.stdout)
    # An answer that cannot be stored ends the payments, so others may be skipped.
    assert set(crowded["codes"]) <= {"ok", "skipped", "not_writable", "media_unavailable", "tikhub_unavailable"}
    assert free["codes"] == ["ok"] * MAX_TRANSFERS
    assert crowded["paid"] + free["paid"] == MAX_TRANSFERS
    assert crowded["open"] <= free["open"]
    assert not parts(tmp_path)
