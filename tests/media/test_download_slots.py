"""download.py: how many files are transferred and how many are verified at once."""

import asyncio
import threading
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.downloads import GOOD, PAGE, QUICK, SIZE, VIDEO, nothing, rendition
from tests.support.fault_server import Act, Faulty
from tikhub_mcp.media import download
from tikhub_mcp.media.contents import Content, inspect_content
from tikhub_mcp.media.download import Downloader, Slot
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.media.transfer import Limits, Transfer
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.renditions import FileKind, Rendition


def fetch_all(files: list[Rendition], folder: Path, at_once: int, limits: Limits = QUICK) -> list[Saved]:
    """Download files side by side, with so many transfers at once."""

    async def run() -> list[Saved]:
        downloader, limit = Downloader(Network(loopback_media=True), limits), asyncio.Semaphore(at_once)

        async def one(number: int, file: Rendition) -> Saved:
            async with Slot(limit) as slot:
                return await downloader.fetch(file, "tiktok", folder / f"{number}.mp4", nothing, slot=slot)

        return await asyncio.gather(*(one(*each) for each in enumerate(files)))

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_while_files_are_verified_others_are_transferred(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = threading.Barrier(2, timeout=10)

    def inspect(path: Path, kind: FileKind) -> Content:
        two.wait()  # the first file is not verified before the second has come
        return inspect_content(path, kind)

    monkeypatch.setattr(download, "inspect_content", inspect)
    files = [rendition(server.on(f"/{number}", GOOD)) for number in range(2)]
    assert [saved.size for saved in fetch_all(files, tmp_path, at_once=1)] == [SIZE] * 2


def test_only_so_many_files_are_verified_at_once(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = threading.Barrier(3, timeout=0.2)

    def inspect(path: Path, kind: FileKind) -> Content:
        with pytest.raises(threading.BrokenBarrierError):
            three.wait()
        return inspect_content(path, kind)

    monkeypatch.setattr(download, "MAX_CHECKS", 2)
    monkeypatch.setattr(download, "inspect_content", inspect)
    files = [rendition(server.on(f"/{number}", GOOD)) for number in range(4)]
    assert len(fetch_all(files, tmp_path, at_once=4)) == 4


def test_the_transfer_from_another_mirror_waits_for_its_turn_again(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, counts, receive = list[int](), list[int](), Transfer.receive

    async def counted(transfer: Transfer, url: str, headers: Mapping[str, str]) -> None:
        now.append(1)
        counts.append(len(now))
        await receive(transfer, url, headers)
        now.pop()

    monkeypatch.setattr(Transfer, "receive", counted)
    broken = Act(body=PAGE[:SIZE].ljust(SIZE), wait=0.01)
    files = [rendition(server.on(f"/{n}/a", broken), server.on(f"/{n}/b", GOOD)) for n in range(6)]
    assert len(fetch_all(files, tmp_path, at_once=1)) == 6
    assert (max(counts), len(counts)) == (1, 12)


def test_a_slot_is_taken_once_under_all_its_limits_and_given_back_however_it_ends() -> None:
    async def run() -> None:
        first, second = limits = asyncio.Semaphore(1), asyncio.Semaphore(1)
        async with Slot(*limits) as slot:
            await slot.acquire()
            assert [limit.locked() for limit in limits] == [True, True]
            slot.release()
            slot.release()
            assert [limit.locked() for limit in limits] == [False, False]
            await slot.acquire()
        assert [limit.locked() for limit in limits] == [False, False]
        async with second:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), Slot(*limits):
                    pass
            assert not first.locked()
        assert not second.locked()

    asyncio.run(run())


def test_who_waits_for_a_turn_has_no_part_file_open(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, acquire = list[list[Path]](), Slot.acquire

    def noted(slot: Slot, outside: asyncio.Timeout | None = None) -> Awaitable[None]:
        parts.append(list(tmp_path.glob("*.part")))
        return acquire(slot, outside)

    monkeypatch.setattr(Slot, "acquire", noted)
    page = server.on("/page", Act(body=PAGE[:SIZE].ljust(SIZE)))
    fetch_all([rendition(page, server.on("/good", GOOD))], tmp_path, at_once=1)
    assert parts == [[]] * 3


def test_the_wait_for_another_turn_takes_no_time_of_a_file(server: Faulty, tmp_path: Path) -> None:
    refused = server.on("/page", Act(body=PAGE[:SIZE].ljust(SIZE)))
    files = [rendition(refused, server.on("/good", GOOD))]
    files += [rendition(server.on(f"/{number}", Act(body=VIDEO, wait=0.5))) for number in range(4)]
    assert len(fetch_all(files, tmp_path, at_once=1, limits=replace(QUICK, seconds=1.5, read_timeout=1))) == 5
