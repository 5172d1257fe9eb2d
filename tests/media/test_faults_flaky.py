"""A lone mirror on a bad line: three connections in ten fail, at random but the same way every time."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.downloads import SIZE, VIDEO, nothing, rendition
from tests.support.fault_server import Act, Faulty, Request, cdn, spoiled
from tests.support.media_faults import LIMITS
from tikhub_mcp.errors import FileError
from tikhub_mcp.jobs.model import MAX_TRANSFERS
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.net.transport import Network

pytestmark = pytest.mark.slow

DOWNLOADS, FAILING = 100, 0.3
GOOD = cdn(VIDEO)
PATIENT = replace(LIMITS, seconds=60.0, pause=0.01)


def flaky(number: int) -> Callable[[Request], Act]:
    """The video on such a line: now and then a 503, or a reset or a FIN at a random byte of what was asked for."""
    chance = random.Random(number)

    def answer(request: Request) -> Act:
        if chance.random() >= FAILING:
            return GOOD(request)
        kind = chance.choice(("503", "reset", "close"))
        if kind == "503":
            return Act(status=503)
        cut = chance.randrange(len(GOOD(request).body) or 1)
        return spoiled(GOOD, cut=cut, end=kind)(request)

    return answer


def test_of_100_downloads_over_a_bad_line_one_may_fail_and_none_is_wrong_or_comes_twice(
    server: Faulty, tmp_path: Path
) -> None:
    downloader, slots = Downloader(Network(loopback_media=True), PATIENT), asyncio.Semaphore(MAX_TRANSFERS)
    failed: list[str] = []

    async def one(number: int) -> None:
        file = rendition(server.on(f"/{number}", flaky(number)), file_hash=hashlib.md5(VIDEO).hexdigest())
        try:
            async with slots:
                saved = await downloader.fetch(file, "tiktok", tmp_path / f"tiktok_someone_{number}.mp4", nothing)
            assert saved.warnings == ()
        except FileError as error:
            failed.append(error.message)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(DOWNLOADS):
                group.create_task(one(number))

    asyncio.run(all_of_them())
    assert len(failed) <= DOWNLOADS // 100, failed
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {VIDEO}
    assert len(list(tmp_path.iterdir())) == DOWNLOADS - len(failed)
    assert len(server.requests) > DOWNLOADS * (1 + FAILING) * 0.9  # the line was as bad as it should be
    assert server.sent < 1.05 * DOWNLOADS * SIZE
