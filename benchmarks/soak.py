"""Many downloads over an unreliable connection: each request fails with probability 0.3, from a fixed seed.

python -m benchmarks.soak [N]
"""

import argparse
import asyncio
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Literal

from benchmarks.origin import MEDIA, Act, Origin, Reply, Request, cut, refuse, serve
from tikhub_mcp.errors import FileError
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.renditions import Rendition

FAILING = 0.3
AT_ONCE = 10
KINDS: tuple[Literal["reset", "close", "stall", "503"], ...] = ("reset", "close", "stall", "503")
SEED = 20_260_728
LIMITS = Limits(seconds=60, read_timeout=1.0, pause=0.05)
Counts = Counter[str]
BODIES = [(MEDIA / name).read_bytes() for name in ("h264_large.mp4", "h265.mp4", "h265_silent.mp4")]


def flaky(content: bytes, seed: str) -> Act:
    """Serve an object with random faults: a reset, a FIN or a stall at a random byte, or a 503."""
    whole, chance = serve(content), random.Random(seed)

    def act(request: Request) -> Reply:
        if chance.random() >= FAILING:
            return whole(request)
        reply = whole(request)
        at = chance.randrange(reply.start, len(content)) if reply.start < len(content) else 0
        kind = chance.choice(KINDS)
        return refuse(503)(request) if kind == "503" else cut(whole, at, kind)(request)

    return act


class Soak:
    """The downloads and their totals."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.counts: Counts = Counter()
        self.failures: list[str] = []
        self._origin = origin
        self._folder = folder
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._downloader = Downloader(Network(loopback_media=True), LIMITS)

    async def one(self, number: int, mirrors: int) -> None:
        """Run one download, and check its file."""
        async with self._slots:
            content = BODIES[number % len(BODIES)]
            paths = [f"/{mirrors}/{number}/{mirror}/video.mp4" for mirror in range(mirrors)]
            urls = [self._origin.on(path, flaky(content, f"{SEED}{path}")) for path in paths]
            target = self._folder / f"tiktok_soak_{number}.mp4"
            file = Rendition("h264", 360, 640, 0, len(content), "", tuple(urls), None)
            self.counts["needed"] += len(content)
            try:
                await self._downloader.fetch(file, "tiktok", target, lambda _: None)
                self.counts["succeeded"] += 1
            except FileError as failure:
                self.failures.append(failure.message)
            self._look(target, content)
            for path in paths:
                self._origin.off(path)

    def _look(self, target: Path, content: bytes) -> None:
        if target.exists():
            self.counts["corrupt"] += target.read_bytes() != content
            target.unlink()

    def left(self) -> int:
        """The number of files left over, after the file of each download was removed."""
        return sum(1 for _ in self._folder.iterdir())


async def soak(number: int, mirrors: int) -> Counts:
    """Run `number` downloads with `mirrors` mirrors each; their totals."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, Origin() as origin:
        work = Soak(origin, Path(name))
        await asyncio.gather(*(work.one(item, mirrors) for item in range(number)))
        work.counts.update(downloads=number, left=work.left(), sent=origin.sent)
    for failure in work.failures[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    work.counts["ms"] = round((time.monotonic() - begun) * 1000)
    return work.counts


def show(what: str, counts: Counts) -> None:
    """Print one row of the table."""
    succeeded, wire = counts["succeeded"] / counts["downloads"], counts["sent"] / counts["needed"]
    row = (counts["downloads"], what, f"{succeeded:.2%}", f"{wire:.2f}", counts["corrupt"], counts["left"])
    print(f"| {' | '.join(map(str, row))} | {counts['ms'] / 1000:.0f} |", flush=True)


async def main() -> int:
    arguments = argparse.ArgumentParser(description="Many downloads over a bad line.")
    arguments.add_argument("n", nargs="?", type=int, default=2000, help="downloads in all, half of them with 3 mirrors")
    number: int = arguments.parse_args().n
    print(f"Python {platform.python_version()}; {AT_ONCE} at once; each connection fails with probability {FAILING}\n")
    print("| downloads | mirrors | succeeded | bytes on the wire / needed | corrupt | parts left | seconds |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    total: Counts = Counter()
    for mirrors, part in ((1, number - number // 2), (3, number // 2)):
        counts = await soak(part, mirrors)
        show(str(mirrors), counts)
        total += counts
    show("in all", total)
    enough = total["succeeded"] >= 0.995 * number and total["sent"] <= 1.3 * total["needed"]
    return 0 if enough and not total["corrupt"] and not total["left"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
