"""download.py and the disk: no room, refusals of the system, cancellations, and what is there already."""

import asyncio
import errno
import hashlib
import io
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.downloading import GOOD, H266, MEDIA, PAGE, SIZE, UNSIZED, VIDEO, clean_target, fetch, fetching, rendition
from tests.faulty import Act, Faulty, redirect
from tikhub_mcp import download
from tikhub_mcp.download import existing
from tikhub_mcp.errors import DiskFull, NotWritable
from tikhub_mcp.transfer import Limits, in_thread


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    yield from clean_target(tmp_path)


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_file_that_the_disk_has_no_room_for_is_not_begun(
    server: Faulty, target: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, SIZE - 1))
    with pytest.raises(DiskFull, match=f"needs {SIZE:,} bytes.* has {SIZE - 1:,} free"):
        fetch(rendition(server.on("/a", GOOD), size=size), target)
    assert len(server.requests) == (size is None)


@pytest.mark.parametrize(("size", "needs"), [(SIZE, f"The file needs {SIZE:,} bytes; "), (None, "")])
def test_a_disk_that_fills_up_meanwhile_is_told_with_what_is_free(
    server: Faulty, target: Path, size: int | None, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_system(patch, "write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(DiskFull, match=rf"{needs}[\d,]+ are free\."):
            fetch(rendition(server.on("/a", GOOD), size=size), target)
    assert download._room(rendition(), target / "gone" / "x") == ""


class Writer(io.FileIO):
    """A part file whose writing or closing fails once."""

    failing: dict[str, OSError] = {}  # noqa: RUF012 - each test sets its own

    def write(self, content: memoryview, /) -> int:  # type: ignore[override] # what downloads hand it
        if error := Writer.failing.pop("write", None):
            super().write(memoryview(content)[:100])
            raise error
        return super().write(memoryview(content)[:20_000])  # the system may always take less

    def close(self) -> None:
        was_open = not self.closed
        super().close()
        if was_open and (error := Writer.failing.pop("close", None)):
            raise error


def break_system(monkeypatch: pytest.MonkeyPatch, call: str, error: OSError) -> None:
    """Make one call of the system fail, wherever downloads make it."""
    real_open, real_fsync = os.open, os.fsync

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    def opens(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        broken = flags & (os.O_DIRECTORY if call == "open folder" else os.O_CREAT if call == "open" else 0)
        return fail() if broken else real_open(path, flags, mode, dir_fd=dir_fd)

    def fsync(number: int) -> None:
        folder = stat.S_ISDIR(os.fstat(number).st_mode)
        return fail() if call == ("fsync folder" if folder else "fsync") else real_fsync(number)

    Writer.failing = {call: error}
    monkeypatch.setattr(os, "fdopen", lambda number, *_, **__: Writer(number, "r+b"))
    monkeypatch.setattr(os, "open", opens)
    monkeypatch.setattr(os, "fsync", fsync)
    for name, where, what in (("room", shutil, "disk_usage"), ("read", Path, "open"), ("replace", Path, "replace")):
        if call == name:
            monkeypatch.setattr(where, what, fail)


CALLS = ["room", "open", "write", "read", "fsync", "close", "replace", "open folder", "fsync folder"]
ERRNOS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE, errno.EINTR]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", ERRNOS, ids=lambda code: errno.errorcode[code])
def test_whatever_the_system_refuses_the_name_holds_the_old_file_or_all_of_the_new_one(
    server: Faulty, target: Path, call: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_bytes(old := (MEDIA / "h265.mp4").read_bytes())
    file = rendition(server.on("/a", GOOD), server.on("/b", GOOD))
    with monkeypatch.context() as patch:
        break_system(patch, call, OSError(code, os.strerror(code)))
        if "folder" in call and code == errno.EACCES:  # not every folder can be synced; the file is there
            assert fetch(file, target).size == SIZE
        else:
            with pytest.raises(DiskFull if code in (errno.ENOSPC, errno.EDQUOT) else NotWritable):
                fetch(file, target)
    assert target.read_bytes() == (VIDEO if "folder" in call else old)
    assert len(server.requests) == (call not in ("room", "open"))


def make_folder_at(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


@pytest.mark.parametrize("make", [make_folder_at, os.mkfifo])
def test_what_is_no_file_keeps_its_name_and_nothing_is_fetched(
    server: Faulty, target: Path, make: Callable[[Path], None]
) -> None:
    make(target)
    with pytest.raises(NotWritable, match="is no file"):
        fetch(rendition(server.on("/a", GOOD)), target)
    assert server.requests == []
    assert not target.is_file()


def test_a_link_under_the_name_is_replaced_and_what_it_leads_to_untouched(
    server: Faulty, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    target.symlink_to(tmp_path / "victim")
    fetch(rendition(server.on("/a", GOOD)), target)
    assert (target.is_symlink(), target.read_bytes()) == (False, VIDEO)
    assert (tmp_path / "victim").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "act",
    [
        Act(body=VIDEO, wait=9),
        Act(body=VIDEO, cut=0, end="stall"),
        Act(body=VIDEO, cut=SIZE // 2, end="stall"),
        redirect("/stall"),
    ],
    ids=["before the answer", "after the head", "in the middle", "after a redirect"],
)
def test_a_cancellation_while_bytes_come_leaves_no_part(server: Faulty, target: Path, act: Act) -> None:
    server.on("/stall", Act(raw=b"HTTP", end="stall"))

    async def run() -> None:
        task = asyncio.create_task(fetching(rendition(server.on("/a", act)), target, Limits()))
        await asyncio.sleep(0.15)
        assert any(target.parent.iterdir())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 1)

    asyncio.run(run())
    assert not target.exists()


@pytest.mark.parametrize(("where", "call"), [(download, "inspect"), (os, "fsync")])
def test_a_cancellation_while_a_thread_works_waits_for_it_and_leaves_no_part(
    server: Faulty, target: Path, where: object, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    real: Callable[[object], object] = getattr(where, call)

    def slowly(what: object) -> object:
        entered.set()
        assert go.wait(5)
        return real(what)

    monkeypatch.setattr(where, call, slowly)

    async def run() -> None:
        file = rendition(server.on("/a", GOOD))
        task = asyncio.create_task(fetching(file, target))
        await asyncio.to_thread(entered.wait, 5)
        for _ in range(3):  # once is enough; more must not hurry it
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert not target.exists() or target.read_bytes() == VIDEO


def test_what_a_thread_raises_comes_out_and_its_result_too() -> None:
    assert asyncio.run(in_thread(int, "7", base=8)) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(in_thread(int, "x"))


def test_a_good_file_that_is_there_is_used_and_read_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(VIDEO)
    saved = existing(target, rendition())
    assert saved is not None
    assert (saved.path, saved.size, saved.reused, saved.warnings) == (target, SIZE, True, ())
    assert saved.sha256 == hashlib.sha256(VIDEO).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert existing(target, rendition()) == saved
    target.write_bytes(longer := VIDEO + b"\0\0\0\x08free")
    changed = existing(target, rendition(size=None))
    assert changed is not None
    assert changed.sha256 == hashlib.sha256(longer).hexdigest()
    assert UNSIZED in changed.warnings[0]


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


NOT_USABLE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "truncated": write(VIDEO[:-9]),
    "another size": write(VIDEO + b"\0\0\0\x08free"),
    "empty": write(b""),
    "a page": write(PAGE[:SIZE]),
    "what nothing plays": write(H266),
    "a folder": make_folder_at,
    "a link to a good file": lambda path: path.symlink_to(MEDIA / "h264.mp4"),
    "a pipe, which must not hang": os.mkfifo,
}


@pytest.mark.parametrize("what", NOT_USABLE)
def test_what_is_not_the_whole_file_is_not_used(target: Path, what: str) -> None:
    NOT_USABLE[what](target)
    assert existing(target, rendition()) is None


def test_a_file_that_cannot_be_read_is_not_used(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(VIDEO)
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert existing(target, rendition()) is None
