"""download.py and the disk: no room, refusals of the system, cancellations, and what is there already."""

import asyncio
import errno
import hashlib
import io
import os
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from tests.support.downloads import GOOD, H266, MEDIA, PAGE, QUICK, SIZE, UNSIZED, VIDEO, fetch, fetching, rendition
from tests.support.fault_server import Act, Faulty, redirect
from tests.support.make_media import retouched
from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import DiskFull, NotWritable
from tikhub_mcp.media import contents, download, library
from tikhub_mcp.media.library import existing
from tikhub_mcp.media.transfer import Limits


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_file_that_the_disk_has_no_room_for_is_not_begun(
    server: Faulty, target: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, SIZE - 1))
    with pytest.raises(DiskFull, match=f"needs {SIZE:,} bytes.* has {SIZE - 1:,} free"):
        fetch(rendition(server.on("/a", GOOD), size=size), target)
    assert len(server.requests) == (size is None)


FREE = 10**15  # on the disk of these tests; a mirror claims ten times as much
HUGE = f"HTTP/1.1 200 OK\r\nContent-Length: {FREE * 10}\r\n\r\n".encode()
BOASTING = Act(raw=HUGE + VIDEO)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Limits that only the disk holds anybody to."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(FREE, 0, FREE))
    return replace(QUICK, largest=FREE * 100)


@pytest.mark.parametrize("boasters", [1, 2])
def test_a_mirror_that_claims_more_than_the_disk_holds_leaves_it_to_the_next(
    server: Faulty, target: Path, roomy: Limits, boasters: int
) -> None:
    urls = [server.on(f"/{turn}", BOASTING) for turn in range(boasters)]
    saved = fetch(rendition(*urls, server.on("/good", GOOD), size=None), target, roomy)
    assert (saved.size, target.read_bytes()) == (SIZE, VIDEO)
    assert server.asked() == [*(f"/{turn}" for turn in range(boasters)), "/good"]


def test_a_mirror_that_once_claims_more_than_the_disk_holds_is_asked_again_when_another_only_refused(
    server: Faulty, target: Path, roomy: Limits
) -> None:
    urls = server.on("/a", BOASTING, GOOD), server.on("/b", Act(status=403))
    assert fetch(rendition(*urls, size=None), target, roomy).size == SIZE
    assert server.asked() == ["/a", "/b", "/a"]


@pytest.mark.parametrize("mirrors", [1, 3])
def test_what_all_mirrors_claim_is_believed_after_one_round_and_told_with_what_is_free(
    server: Faulty, target: Path, roomy: Limits, mirrors: int
) -> None:
    urls = [server.on(f"/{turn}", BOASTING) for turn in range(mirrors)]
    with pytest.raises(DiskFull, match=f"needs {FREE * 10:,} bytes.* has {FREE:,} free"):
        fetch(rendition(*urls, size=None), target, roomy)
    assert server.asked() == [f"/{turn}" for turn in range(mirrors)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("boasters", [0, 1])
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_disk_that_is_really_full_ends_it_whatever_other_mirrors_there_are(
    server: Faulty, target: Path, roomy: Limits, size: int | None, boasters: int, code: int
) -> None:
    urls = [server.on("/boast", BOASTING)] * boasters + [server.on("/a", GOOD), server.on("/b", GOOD)]
    with pytest.MonkeyPatch.context() as patch:
        break_system(patch, "write", OSError(code, os.strerror(code)))
        with pytest.raises(DiskFull, match=f"nothing more could be written.* {FREE:,} are free"):
            fetch(rendition(*urls, size=size), target, roomy)
    assert server.asked() == ["/boast"] * boasters + ["/a"]


@pytest.mark.parametrize(
    ("size", "needs"), [(SIZE, f"The file needs {SIZE:,} bytes; "), (None, f"The file needs {SIZE:,} bytes; ")]
)
def test_a_disk_that_fills_up_meanwhile_is_told_with_what_is_free(
    server: Faulty, target: Path, size: int | None, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_system(patch, "write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(DiskFull, match=rf"{needs}[\d,]+ are free\."):
            fetch(rendition(server.on("/a", GOOD), size=size), target)
    assert download._room(SIZE, target / "gone" / "x") == ""


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


@pytest.mark.slow
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


@pytest.mark.parametrize(("where", "call"), [(contents, "inspect"), (os, "fsync")])
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
    assert list(target.parent.iterdir()) == [target] * (call == "fsync")  # the last step is completed, no other follows


def test_what_a_thread_raises_comes_out_and_its_result_too() -> None:
    assert asyncio.run(in_thread(int, "7", base=8)) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(in_thread(int, "x"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is opened, each time; nothing was looked at before."""
    opened: Callable[..., IO[Any]] = Path.open
    seen: list[str] = []

    def noting(path: Path, *arguments: Any, **named: Any) -> IO[Any]:  # noqa: ANN401 - handed on
        seen.append(path.name)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", noting)
    monkeypatch.setattr(library, "_inspected", {})
    return seen


def test_a_good_file_that_is_there_is_used_and_read_once(target: Path, reads: list[str]) -> None:
    target.write_bytes(VIDEO)
    reads.clear()
    saved = existing(target, rendition())
    assert saved is not None
    assert (saved.path, saved.size, saved.reused, saved.warnings) == (target, SIZE, True, ())
    assert saved.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert set(reads) == {target.name}
    reads.clear()
    assert [existing(target, rendition()) for _ in range(3)] == [saved] * 3
    assert reads == []


LONGER, TURNED = VIDEO + b"\0\0\0\x08free", retouched(VIDEO)  # TURNED is as long


def rewritten(path: Path) -> None:
    path.write_bytes(TURNED)
    os.utime(path, ns=(1, 1))  # two writes within one tick of the file system's clock leave the same time


def lengthened(path: Path) -> None:
    before = path.stat()
    path.write_bytes(LONGER)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("change", "now"), [(rewritten, TURNED), (lengthened, LONGER)])
def test_a_file_that_changed_since_it_was_looked_at_is_looked_at_again(
    target: Path, reads: list[str], change: Callable[[Path], None], now: bytes
) -> None:
    target.write_bytes(VIDEO)
    assert existing(target, rendition(size=None))
    change(target)
    changed = existing(target, rendition(size=None))
    assert changed is not None
    assert changed.sha256 == hashlib.sha256(now).hexdigest()
    assert [UNSIZED in warning for warning in changed.warnings] == [True]


def test_a_file_of_the_right_size_with_another_hash_is_used_with_a_downloads_own_warning_each_time(
    server: Faulty, target: Path, reads: list[str]
) -> None:
    file = rendition(server.on("/a", GOOD), file_hash="0" * 32)
    fetched = fetch(file, target)
    assert len(fetched.warnings) == 1
    assert "file_hash" in fetched.warnings[0]
    for turn in range(3):
        reads.clear()
        assert existing(target, file) == replace(fetched, reused=True)
        assert bool(reads) is (turn == 0)
    right = existing(target, replace(file, file_hash=hashlib.md5(VIDEO).hexdigest()))
    assert right is not None
    assert right.warnings == ()  # what is known is the file's hash, not what was said of the last post's


@pytest.mark.parametrize("file_hash", [hashlib.md5(VIDEO).hexdigest(), "0" * 32, ""])
@pytest.mark.parametrize("known_already", [False, True])
def test_a_file_of_the_wrong_size_is_not_used_whatever_its_hash(
    target: Path, reads: list[str], file_hash: str, known_already: bool
) -> None:
    target.write_bytes(VIDEO)
    assert (existing(target, rendition()) is not None) or not known_already
    reads.clear()
    for size in (SIZE - 1, SIZE + 1):
        assert existing(target, rendition(size=size, file_hash=file_hash)) is None
    assert reads == []


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
