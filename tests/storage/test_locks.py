"""locks.py: what one process holds, no other does; and what several servers on one folder pay and fetch."""

import asyncio
import errno
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.mcp_session import Reply, content, patience
from tests.support.stdio_client import Wire
from tikhub_mcp.api.client import MAX_CONNECTIONS
from tikhub_mcp.media.mp4 import inspect
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.storage.database import INDEX_NAME
from tikhub_mcp.storage.locks import Locks

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

HOLDER = """
import asyncio, sys
from pathlib import Path
from tikhub_mcp.storage.locks import Locks

async def hold():
    async with Locks(Path(sys.argv[1])).everywhere("a", "b"):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, once it holds the name ("a", "b")."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    with Forked(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_name_that_another_process_holds_is_had_once_that_process_is_killed(
    holder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    async def story() -> None:
        locks = Locks(tmp_path / ".lock")
        async with locks.everywhere("a"), locks.everywhere("b", "a"):
            pass  # other names are free
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), locks.everywhere("a", "b"):
                pass
        holder.kill()
        async with asyncio.timeout(10), locks.everywhere("a", "b"):
            pass

    asyncio.run(story())


def test_in_one_process_a_name_is_held_once_whether_everywhere_or_here(tmp_path: Path) -> None:
    async def story() -> None:
        locks = Locks(tmp_path / ".lock")
        async with locks.everywhere("a"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), locks.here("a"):
                    pass
            async with locks.here("b"):
                pass
        async with locks.here("a"):
            pass

    asyncio.run(story())


UNRELIABLE = "The lock file .lock cannot be relied on "
IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "no folder": lambda file: file.parent.rmdir(),
    "a folder": Path.mkdir,
    "a pipe": lambda file: os.mkfifo(file),
    "a link to nothing": lambda file: file.symlink_to(file.with_name("elsewhere")),
    "a link to a file": lambda file: file.symlink_to(__file__),
    "a link to itself": lambda file: file.symlink_to(file),
    "a device": lambda file: file.symlink_to("/dev/zero"),
}


@pytest.mark.skipif(os.name == "nt", reason="files that are special on POSIX")
@pytest.mark.parametrize("there", IN_ITS_PLACE)
def test_without_a_file_to_lock_a_name_is_held_in_this_process_and_a_warning_logged_once(
    there: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "there" / ".lock"
    file.parent.mkdir()
    IN_ITS_PLACE[there](file)

    async def story() -> None:
        locks = Locks(file)
        async with locks.everywhere("a"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), locks.everywhere("a"):
                    pass
        async with locks.everywhere("a"):
            pass
        locks.close()

    asyncio.run(story())
    logged = [record.message.partition("(")[0] for record in caplog.records]
    assert logged == [UNRELIABLE] * (there != "no folder")  # which is expected, where nothing is to be written
    assert not (tmp_path / "there" / "elsewhere").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_that_another_user_made_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".lock").touch(0o600)
    tmp_path.chmod(0o755)
    descriptor = os.open(tmp_path, os.O_PATH)  # the folders above are not for everybody

    async def story() -> None:
        async with Locks(Path(f"/proc/self/fd/{descriptor}/.lock")).everywhere("a"):
            pass

    os.seteuid(65534)
    try:
        asyncio.run(story())
    finally:
        os.seteuid(0)
        os.close(descriptor)
    assert "Permission denied" in caplog.text


@pytest.mark.parametrize("then", ["removed", "replaced"])
def test_a_file_that_is_removed_under_a_running_server_is_made_anew_and_keeps_other_processes_out(
    then: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / ".lock"

    async def story() -> None:
        locks = Locks(file)
        async with AsyncExitStack() as held:
            await held.enter_async_context(locks.everywhere("old"))
            file.unlink()
            if then == "replaced":
                file.write_bytes(b"damaged" * 9)
            await held.enter_async_context(locks.everywhere("a", "b"))
            command = [sys.executable, "-c", HOLDER, str(file)]
            with Forked(command, stdout=subprocess.PIPE) as process:
                assert process.stdout
                await asyncio.sleep(0.7)
                assert process.poll() is None
                await held.aclose()
                assert await asyncio.to_thread(process.stdout.readline) == b"held\n"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2), locks.everywhere("a", "b"):
                        pass
                process.kill()
        locks.close()
        assert not locks.is_open

    asyncio.run(story())
    assert [record.message.partition("(")[0] for record in caplog.records] == [UNRELIABLE]


@pytest.mark.skipif(os.name == "nt", reason="POSIX's record locks")
def test_where_the_file_system_has_no_locks_a_name_is_held_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("tikhub_mcp.storage.locks.fcntl.lockf", none)

    async def story() -> None:
        locks = Locks(tmp_path / ".lock")
        for _ in range(2):
            async with locks.everywhere("a"):
                pass

    asyncio.run(story())


@pytest.mark.skipif(os.name == "nt", reason="file permissions as POSIX has them")
def test_a_lock_file_is_its_owners_alone_and_holds_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with Locks(tmp_path / ".lock").everywhere("a"):
            pass

    asyncio.run(story())
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o600
    assert content(tmp_path / ".lock") == b""


@contextmanager
def wires(sandbox: Sandbox, root: Path, servers: int) -> Iterator[list[Wire]]:
    """Servers of their own on one folder."""
    ours = {"TIKHUB_API_KEY": "a-key-of-the-tests", "TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(root)}
    with ExitStack() as stack:
        running = [stack.enter_context(Wire({**os.environ, **ours}, root / f"log {n}")) for n in range(servers)]
        for wire in running:
            wire.shake_hands()
        yield running


def asked_at_once(sandbox: Sandbox, root: Path, tool: str, arguments: dict[str, object], servers: int) -> list[Reply]:
    """What servers on one folder answer to the same call at the same moment."""
    with wires(sandbox, root, servers) as running, ThreadPoolExecutor(servers) as threads:
        return list(threads.map(lambda wire: wire.call(1, tool, arguments), running))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with ExitStack() as stack:
        yield stack.enter_context(Sandbox(latency=0.3, media_latency=0.3))


def test_three_servers_asked_for_one_post_pay_once_fetch_once_and_point_to_the_same_file(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    replies = asked_at_once(sandbox, tmp_path, "download_video", {"url": link("tiktok")}, 3)
    assert {reply["status"] for reply in replies} == {"ok"}
    assert len({reply["file"]["path"] for reply in replies}) == 1
    assert len({reply["raw_json_path"] for reply in replies}) == 1
    assert sorted(reply["file"]["reused"] for reply in replies) == [False, True, True]
    assert sorted(reply["cost"]["api_calls"] for reply in replies) == [0, 0, 1]
    assert len(sandbox.calls) == 1


def test_two_servers_asked_for_the_same_twenty_posts_pay_for_each_of_them_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    began = time.monotonic()
    links = good_links(20)
    replies = asked_at_once(sandbox, tmp_path, "batch_download", {"urls": links}, 2)
    assert time.monotonic() - began < 60
    assert [reply["succeeded"] for reply in replies] == [20, 20]
    assert sorted(call.share_url for call in sandbox.calls) == sorted(links)
    assert sum(reply["cost"]["api_calls"] for reply in replies) == 20
    assert replies[0]["results"][7]["path"] == replies[1]["results"][7]["path"]


def test_a_server_that_has_looked_already_learns_what_another_one_paid_for_since(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with wires(sandbox, tmp_path, 2) as (first, second):
        first.call(1, "download_video", {"url": link("douyin"), "metrics_only": True})
        second.call(1, "download_video", {"url": link("tiktok"), "metrics_only": True})
        reply = first.call(2, "download_video", {"url": link("tiktok")})
    assert (reply["status"], reply["cost"]["reused_answer"]) == ("ok", True)
    assert len(sandbox.calls) == 2


def test_of_three_processes_on_one_folder_one_is_killed_and_the_others_pay_for_no_more_than_it_took_along(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each post is paid for once; once more if the killed process had asked for it, and not stored the answer."""
    links = good_links(30)
    ours = {"TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(tmp_path / "out")}
    began = time.monotonic()
    sandbox.latency = 1.0  # so that the first has not asked for all before the others have begun
    running = {}
    for number in range(3):  # each begins at another link: what one asks for, the others wait for
        rotated = links[10 * number :] + links[: 10 * number]
        (tmp_path / f"{number}.txt").write_text("\n".join(rotated))
        command = [sys.executable, "-m", "tikhub_mcp", "batch", str(tmp_path / f"{number}.txt"), "--json"]
        key = f"a-made-up-key-{number}"
        environment = {**os.environ, **ours, "TIKHUB_API_KEY": key}
        running[key] = Forked(command, stdout=subprocess.PIPE, env=environment)

    def asked_by(*keys: str) -> list[str]:
        return [call.share_url for call in list(sandbox.calls) if call.authorization.removeprefix("Bearer ") in keys]

    while sorted(bool(asked_by(key)) for key in running)[1:] != [True, True]:
        assert len(sandbox.calls) < len(links)
        time.sleep(0.01)
    sandbox.latency = 0.05
    first = max(running, key=lambda key: len(asked_by(key)))
    with running.pop(first) as process:
        process.kill()
    replies = [json.loads(process.communicate(timeout=60)[0]) for process in running.values()]
    assert time.monotonic() - began < patience(20)
    assert [(reply["status"], reply["succeeded"]) for reply in replies] == [("complete", len(links))] * 2
    survivors = asked_by(*running)
    assert sum(reply["cost"]["api_calls"] for reply in replies) == len(survivors) == len(set(survivors))
    assert {*survivors, *asked_by(first)} == set(links)
    assert len(sandbox.calls) == len(survivors) + len(set(asked_by(first))) <= len(links) + MAX_CONNECTIONS
    videos, answers = list((tmp_path / "out/videos").glob("*.mp4")), list((tmp_path / "out/raw").glob("*.json"))
    assert len([inspect(path) for path in videos]) == len(links)
    assert {json.loads(path.read_bytes())["params"]["share_url"] for path in answers} == set(links)
    with closing(sqlite3.connect(tmp_path / "out" / INDEX_NAME)) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
