"""Files that are made to cost memory and time, and what is left of them."""

import asyncio
import os
import resource
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.downloads import MEDIA, PAGE, fetch, rendition
from tests.support.fault_server import Act, Faulty
from tests.support.hostile_files import fuzz, fuzz_seconds, seconds_to_cancel
from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media import boxes, digests, download, mp4
from tikhub_mcp.media.mp4 import Media, inspect

FUZZ_SECONDS = fuzz_seconds(1)
VIDEOS = sorted(MEDIA.glob("*.mp4"))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


HEAD, MEDIA_BOX = box(b"ftyp", b"isomisom"), box(b"mdat", b"m")
EMPTY_BOXES = HEAD + box(b"moov", box(b"free", b"") * (4 << 17)) + MEDIA_BOX
DAMAGED_INDEX = HEAD + box(b"moov", box(b"free", bytes(20 << 20)) + struct.pack(">I", 99) * 2) + MEDIA_BOX


@pytest.mark.slow
def test_a_file_of_empty_boxes_takes_less_than_a_few_seconds(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(EMPTY_BOXES)
    before = time.thread_time()
    with pytest.raises(MediaInvalid, match="more than 200,000 boxes"):
        inspect(path)
    assert time.thread_time() - before < 5


def test_verification_ends_when_its_caller_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MAX_BOXES", 1 << 40)
    path = tmp_path / "file.mp4"
    path.write_bytes(HEAD + box(b"moov", box(b"mvex", box(b"free", b"") * (3 << 20))) + MEDIA_BOX)
    assert seconds_to_cancel(inspect, path) < 1


@pytest.mark.slow
def test_a_large_index_waits_for_another_and_an_ordinary_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    path.write_bytes(DAMAGED_INDEX)

    async def run() -> None:
        task = asyncio.create_task(in_thread(inspect, path))
        assert await in_thread(inspect, VIDEOS[0])
        await asyncio.sleep(1)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with mp4._large:
        asyncio.run(run())
    with pytest.raises(MediaInvalid, match="a box is larger than the box around it"):
        inspect(path)


def test_a_hash_of_a_large_file_ends_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"
    path.touch()
    os.truncate(path, 1 << 34)  # a hole

    async def run() -> float:
        task = asyncio.create_task(in_thread(digests.digest_file, path, md5=True))
        await asyncio.sleep(0.2)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    assert asyncio.run(run()) < 1


TEN_AT_ONCE = """
import asyncio, sys
from pathlib import Path
from tests.support.downloads import fetching, rendition
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.transfer import Limits

async def one(number):
    file = rendition(sys.argv[1], size=None)
    try:
        await fetching(file, Path(sys.argv[2]) / f"a_{number}.mp4", Limits(pause=0.0))
    except MediaInvalid as refused:
        print(refused.message)

async def run():
    await asyncio.gather(*map(one, range(10)))

asyncio.run(run())
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_ten_downloads_with_damaged_indexes_take_less_than_150_mib_and_leave_nothing(
    server: Faulty, tmp_path: Path
) -> None:
    url = server.on("/index", Act(body=DAMAGED_INDEX))
    command = [sys.executable, "-c", TEN_AT_ONCE, url, str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2])
    *refused, peak = done.stdout.splitlines()
    assert len(refused) == 10
    assert all("a box is larger than the box around it" in line for line in refused)
    assert int(peak) < 150 * 1024
    assert list(tmp_path.iterdir()) == []


def test_a_failure_that_is_kept_for_later_keeps_nothing_of_what_came(
    server: Faulty, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = list[BaseException]()
    monkeypatch.setattr(
        download._Mirrors,
        "reason",
        lambda mirrors: kept.extend(mirrors.failures) or mirrors.failures[-1],  # type: ignore[func-returns-value]
    )
    urls = [server.on("/short", Act(body=PAGE)), server.on("/page", Act(status=403))]
    with pytest.raises(Exception, match="could not be downloaded"):
        fetch(rendition(*urls, size=None), target)
    assert len(kept) >= 2
    assert [(each.__traceback__, each.__context__, each.__cause__) for each in kept] == [(None, None, None)] * len(kept)


def index_boxes(content: bytes) -> list[range]:
    """Where lengths, types and counts of the index are; and the whole file."""
    kinds = (b"moov", b"trak", b"stbl", b"stsz", b"stco", b"stsc", b"stts", b"stsd", b"mdat", b"avcC")
    marks = [at for kind in kinds if (at := content.find(kind)) > 0]
    return [*(range(at - 8, at + 25) for at in marks), range(len(content))]


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * FUZZ_SECONDS)
def test_mutated_videos_give_a_media_or_media_invalid_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "file.mp4"

    def look(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(MediaInvalid):
            assert isinstance(inspect(path), Media)

    fuzz([video.read_bytes() for video in VIDEOS], look, FUZZ_SECONDS, [struct.pack(">I", 8)], index_boxes)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1 << 21
