"""Many downloads over a bad line: each connection fails with probability 0.3, at random but the same way every time.

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

from benchmarks.origin import MEDIA, Act, Origin, Reply, Request, cut, refuse, serve
from tikhub_mcp.download import Downloader
from tikhub_mcp.errors import FileError
from tikhub_mcp.network import Network
from tikhub_mcp.post import Rendition
from tikhub_mcp.transfer import Limits

FAILING = 0.3
AT_ONCE = 10
SEED = 20_260_728
LIMITS = Limits(seconds=60, silence=1.0, pause=0.05)
BODIES = [(MEDIA / name).read_bytes() for name in ("h264_large.mp4", "h265.mp4", "h265_silent.mp4")]


def flaky(content: bytes, seed: str) -> Act:
    """The object on a line that fails now and then: a reset, a FIN or a stall at a random byte, or a 503."""
    whole, chance = serve(content), random.Random(seed)

    def act(request: Request) -> Reply:
        if chance.random() >= FAILING:
            return whole(request)
        reply = whole(request)
        at = chance.randrange(reply.start, len(content)) if reply.start < len(content) else 0
        kind = chance.choice(("reset", "close", "stall", "503"))
        if kind == "503":
            return refuse(503)(request)
        return cut(whole, at, "reset" if kind == "reset" else "stall" if kind == "stall" else "close")(request)

    return act


class Soak:
    """The downloads, and what they came to."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.needed = 0
        self.failures: list[str] = []
        self._origin = origin
        self._folder = folder
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._downloader = Downloader(Network(loopback_media=True), LIMITS)

    async def one(self, number: int, mirrors: int) -> None:
        """One download, and a look at what lies there afterwards."""
        async with self._slots:
            content = BODIES[number % len(BODIES)]
            paths = [f"/{mirrors}/{number}/{mirror}/video.mp4" for mirror in range(mirrors)]
            urls = [self._origin.on(path, flaky(content, f"{SEED}{path}")) for path in paths]
            target = self._folder / f"tiktok_soak_{number}.mp4"
            file = Rendition("h264", 360, 640, 0, len(content), "", tuple(urls), None)
            self.needed += len(content)
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


async def soak(number: int, mirrors: int) -> bool:
    """Print one row; whether it is as wanted."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, Origin() as origin:
        folder = Path(name)
        work = Soak(origin, folder)
        await asyncio.gather(*(work.one(item, mirrors) for item in range(number)))
        left = len(list(folder.iterdir()))
        wire = origin.sent / work.needed
    succeeded, corrupt = work.counts["succeeded"] / number, work.counts["corrupt"]
    row = (number, mirrors, f"{succeeded:.2%}", f"{wire:.2f}", corrupt, left, f"{time.monotonic() - begun:.0f}")
    print(f"| {' | '.join(map(str, row))} |", flush=True)
    for failure in work.failures[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    return succeeded >= 0.995 and wire <= 1.3 and not corrupt and not left


async def main() -> int:
    arguments = argparse.ArgumentParser(description="Many downloads over a bad line.")
    arguments.add_argument("n", nargs="?", type=int, default=2000, help="downloads in all, half of them with 3 mirrors")
    number: int = arguments.parse_args().n
    print(f"Python {platform.python_version()}; {AT_ONCE} at once; each connection fails with probability {FAILING}\n")
    print("| downloads | mirrors | succeeded | bytes on the wire / needed | corrupt | parts left | seconds |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    rows = [await soak(number - number // 2, 1), await soak(number // 2, 3)]
    return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
