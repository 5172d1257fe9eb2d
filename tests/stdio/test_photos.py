"""Photo posts over stdio: with the SDK's client, several processes, calls that are cancelled, and processes killed."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mcp_session import checked, content, listing, patience
from tests.support.stdio_client import DISCOVERY, Caller, Connect, Environment, Wire, parts, wait
from tikhub_mcp.media.photos.receipt import RECEIPT_NAME, read_receipt
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, link

pytestmark = pytest.mark.slow

MANY = 35  # pictures of the sandbox's largest photo post
MIXED = [link(name) for name in ("photos", "tiktok", "moving_photos", "private", "no_photos", "douyin")]


@pytest.fixture
def caller(environment: Environment, tmp_path: Path) -> Iterator[Caller]:
    with Wire(environment, tmp_path / "log") as wire:
        yield Caller(wire, DISCOVERY)


def folders(root: Path) -> list[Path]:
    return sorted((root / "photos").iterdir())


def is_whole(folder: Path, count: int) -> bool:
    """Whether a folder has so many pictures, all as its receipt says, and nothing else."""
    receipt = read_receipt(folder)
    assert receipt is not None
    assert {path.name for path in folder.iterdir()} == {RECEIPT_NAME, *(file.name for file in receipt.files)}
    assert all(file.check(folder) == file for file in receipt.files)
    return receipt.complete and sum(file.role == "picture" for file in receipt.files) == count


@pytest.mark.anyio
@pytest.mark.both_eras
async def test_a_client_gets_photo_posts_alone_and_among_videos_and_what_is_said_in_a_video(
    connect: Connect, environment: Environment, root: Path, sandbox: Sandbox
) -> None:
    async with connect(environment) as client:

        async def call(tool: str, **arguments: Json) -> Json:
            return checked(tool, await client.call_tool(tool, arguments)).said

        plan = await call("batch_download", urls=MIXED, dry_run=True)
        assert (plan["distinct_posts"], plan["on_disk"], plan["calls_needed"]) == (6, 0, 6)
        assert (sandbox.calls, listing(root)) == ([], [])
        one = await call("download_video", url=MIXED[0])
        assert (one["status"], one["kind"], one["file"], one["cost"]["api_calls"]) == ("ok", "images", None, 1)
        assert is_whole(Path(one["photos"]["dir"]), 9)
        plan = await call("batch_download", urls=MIXED, dry_run=True)
        assert (plan["on_disk"], plan["calls_needed"]) == (1, 5)
        batch = await call("batch_download", urls=MIXED)
        assert [item["status"] for item in batch["results"]] == ["ok", "ok", "ok", "failed", "failed", "ok"]
        assert batch["failed_by_code"] == {"post_unavailable": 1, "not_a_video": 1}
        assert [item["photos_count"] for item in batch["results"]] == [9, None, 4, None, None, None]
        assert batch["results"][0]["path"] == one["photos"]["dir"]
        assert len(sandbox.calls) == len(MIXED)
        fetched = len(sandbox.media_requests)
        again = await call("batch_download", urls=MIXED)
        assert (again["cost"]["api_calls"], again["succeeded"], len(sandbox.media_requests)) == (0, 4, fetched)
        assert (await call("download_video", url=MIXED[0]))["photos"]["reused"]
        plan = await call("batch_download", urls=MIXED, dry_run=True)
        assert (plan["on_disk"], plan["calls_needed"]) == (4, 0)
        said = await call("download_video", url=MIXED[1], include=["captions"])
        assert (said["transcript"]["language"], len(said["extras"]), said["cost"]["api_calls"]) == ("en", 2, 0)
        with_music = await call("download_video", url=MIXED[0], include="music")
        assert [file["name"] for file in with_music["photos"]["files"]][-2:] == ["07.jpg", "music.m4a"]  # eight in all
        assert (Path(one["photos"]["dir"]) / "music.m4a").exists()
        table = await call("summarize_raw")
        assert (table["rows"], table["broken"]) == (6, 1)
    assert not parts(root)


def test_two_processes_on_one_folder_pay_once_and_make_one_whole_folder(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    sandbox.latency = sandbox.media_latency = 0.1
    with ExitStack() as running:
        callers = [
            Caller(running.enter_context(Wire(environment, tmp_path / name)), DISCOVERY) for name in ("one", "two")
        ]
        for caller in callers:
            caller.begin(1, "download_video", {"url": link("many_photos")})
        replies = [caller.wire.answer(1)["structuredContent"] for caller in callers]
        for caller in callers:
            caller.end()
    assert [reply["status"] for reply in replies] == ["ok", "ok"]
    assert sorted(reply["photos"]["reused"] for reply in replies) == [False, True]
    assert sum(reply["cost"]["api_calls"] for reply in replies) == len(sandbox.calls) == 1
    assert len(sandbox.media_requests) == MANY
    [folder] = folders(root)
    assert is_whole(folder, MANY)


def test_a_cancelled_call_leaves_nothing_half_made_and_the_same_call_again_is_free(
    caller: Caller, sandbox: Sandbox, root: Path
) -> None:
    sandbox.media_latency = 0.3
    caller.begin(1, "download_video", {"url": link("many_photos")})
    wait(lambda: sum(path.name.endswith(".jpg") for part in parts(root) if part.is_dir() for path in part.iterdir()))
    caller.cancel(1)
    assert wait(lambda: not parts(root)) < patience(1)
    assert (folders(root), len(list((root / "raw").glob("raw_*.json")))) == ([], 1)
    sandbox.media_latency = 0
    reply = caller.call(2, "download_video", {"url": link("many_photos")})
    assert (reply["status"], reply["cost"]["api_calls"], len(sandbox.calls)) == ("ok", 0, 1)
    assert is_whole(Path(reply["photos"]["dir"]), MANY)
    caller.end()


def test_a_call_that_is_cancelled_while_it_adds_a_picture_leaves_the_folder_as_it_was(
    caller: Caller, sandbox: Sandbox, root: Path
) -> None:
    folder = Path(caller.call(1, "download_video", {"url": link("broken_photo")})["photos"]["dir"])
    before = {path.name: content(path) for path in folder.iterdir()}
    sandbox.repaired, sandbox.media_bytes_per_second = True, 100
    caller.begin(2, "download_video", {"url": link("broken_photo")})
    wait(lambda: parts(root))
    caller.cancel(2)
    wait(lambda: not parts(root))
    assert {path.name: content(path) for path in folder.iterdir()} == before
    sandbox.media_bytes_per_second = 0
    reply = caller.call(3, "download_video", {"url": link("broken_photo")})
    assert (reply["status"], reply["cost"]["api_calls"]) == ("ok", 0)
    assert is_whole(folder, 3)
    caller.end()


def test_what_a_killed_process_has_paid_for_is_completed_by_the_next_without_paying(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    sandbox.media_latency = 0.3
    with Wire(environment, tmp_path / "one") as wire:
        Caller(wire, DISCOVERY).begin(1, "download_video", {"url": link("many_photos")})
        wait(lambda: len(sandbox.media_requests) > MANY // 2)
        wire.process.kill()
        wire.process.wait()
    assert all(path.suffix == ".part" for path in folders(root))
    sandbox.media_latency = 0
    with Wire(environment, tmp_path / "two") as wire:
        caller = Caller(wire, DISCOVERY)
        reply = caller.call(1, "download_video", {"url": link("many_photos")})
        caller.end()
    assert (reply["status"], reply["cost"]["api_calls"], len(sandbox.calls)) == ("ok", 0, 1)
    assert is_whole(Path(reply["photos"]["dir"]), MANY)


def test_the_limit_on_bytes_is_one_for_all_files_of_a_post(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    size = len(sandbox._files[".jpeg"].content)
    for most, expected in ((9 * size - 1, "too_large"), (9 * size, None)):
        environment["TIKHUB_MAX_BYTES"] = str(most)
        with Wire(environment, tmp_path / "log") as wire:
            caller = Caller(wire, DISCOVERY)
            reply = caller.call(1, "download_video", {"url": link("photos")})
            caller.end()
        assert (reply.code, len(folders(root)), len(sandbox.calls)) == (expected, 1 - bool(expected), 1)
    assert is_whole(folders(root)[0], 9)
