"""Peak memory of ten large downloads at once, and of endless and compressed API answers.

    python -m benchmarks.memory [BYTES]

Each row runs in a separate process, which has its own peak; the origin server runs in another process.
"""

import argparse
import asyncio
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from benchmarks.origin import MEDIA, Act, Origin, Reply, Request
from tikhub_mcp.api.client import PATH, TikHub
from tikhub_mcp.errors import TikHubMCPError
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.renditions import Rendition

MOST = 150  # MiB
AT_ONCE = 10
CLIP = (MEDIA / "h264.mp4").read_bytes()
LINK = parse_link("https://www.tiktok.com/@someone/video/7000000000000000001")
ENDPOINT = PATH.format(platform=LINK.platform)
BOMB = 8 * 2**30  # bytes, once unpacked


def large(size: int) -> Act:
    """A real MP4 followed by a `free` box, generated during the response, `size` bytes in total."""
    box = (1).to_bytes(4, "big") + b"free" + (size - len(CLIP)).to_bytes(8, "big")

    def body() -> Iterator[bytes]:
        yield CLIP + box
        rest, zeros = size - len(CLIP) - len(box), bytes(2**18)
        while rest:
            yield zeros[:rest]
            rest -= min(rest, len(zeros))

    headers = {"Content-Type": "video/mp4", "Content-Length": str(size), "ETag": '"large"'}
    return lambda _: Reply(headers=headers, body=body())


def bomb(_: Request) -> Reply:
    """A gzip answer of 8 MiB that unpacks to 8 GiB: one independent block of zeros, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return Reply(headers=headers, body=[first, *[block] * (BOMB // 2**20)])


def endless(_: Request) -> Reply:
    """A chunked answer that begins as valid JSON and never ends."""

    def body() -> Iterator[bytes]:
        yield b'a\r\n{"desc": "\r\n'
        while True:
            yield b"10000\r\n%s\r\n" % (b"a" * 0x10000)

    return Reply(headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, body=body())


class UnlimitedBudget:
    """A budget without a limit."""

    def spend(self) -> None:
        pass

    def refund(self) -> None:
        pass


async def download(base_url: str, size: int, folder: Path) -> None:
    downloader = Downloader(Network(loopback_media=True), Limits())

    async def one(number: int) -> None:
        file = Rendition("h264", 144, 256, 0, size, "", (f"{base_url}/large",), None)
        saved = await downloader.fetch(file, "tiktok", folder / f"{number}.mp4", lambda _: None)
        saved.path.unlink()

    await asyncio.gather(*(one(number) for number in range(AT_ONCE)))


async def ask(base_url: str, times: int) -> None:
    tikhub = TikHub(base_url, Network())

    async def keep(answer: Answer) -> None:
        raise AssertionError(f"an answer was accepted: {len(answer.body)} bytes")

    async def one() -> None:
        try:
            await tikhub.look_up(LINK, SecretStr("k" * 40), UnlimitedBudget(), keep)
        except TikHubMCPError as refused:
            print(refused.code)

    await asyncio.gather(*(one() for _ in range(times)))


def peak() -> int:
    """The peak memory of this process in KiB (VmHWM: the peak that getrusage reports may be that of the parent)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1])


def child(kind: str, base_url: str, size: int, folder: Path) -> None:
    match kind:
        case "downloads":
            asyncio.run(download(base_url, size, folder))
        case "answers":
            asyncio.run(ask(base_url, size))
    print(peak())


def measure(kind: str, base_url: str, size: int, folder: Path) -> tuple[float, str]:
    """Run one kind of work in a new process; its peak in MiB, and the last line that it printed before."""
    command = [sys.executable, "-m", "benchmarks.memory", "--child", kind, base_url, str(size), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parent.parent)
    *lines, last = done.stdout.splitlines()
    return int(last) / 1024, lines[-1] if lines else ""


def main() -> int:
    arguments = argparse.ArgumentParser(description="Peak memory.")
    arguments.add_argument("bytes", nargs="?", type=int, default=2**30, help="of each of the ten files")
    arguments.add_argument("--child", nargs=4, metavar=("KIND", "URL", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        kind, base_url, size, folder = given.child
        child(kind, base_url, int(size), Path(folder))
        return 0
    with tempfile.TemporaryDirectory(prefix="memory-") as name, Origin() as origin:
        folder, free = Path(name), shutil.disk_usage(name).free
        if free < 1.2 * AT_ONCE * given.bytes:
            print(f"{AT_ONCE} files of {given.bytes:,} bytes do not fit: {free:,} bytes are free")
            return 2
        origin.on("/large", large(given.bytes))
        origin.on(f"/bomb{ENDPOINT}", bomb)
        origin.on(f"/endless{ENDPOINT}", endless)
        rows = (
            ("the imports alone", "nothing", "", 0),
            (f"{AT_ONCE} downloads of {given.bytes / 2**20:,.0f} MiB at once", "downloads", "", given.bytes),
            (f"API answer: a gzip bomb of {BOMB >> 30} GiB", "answers", "/bomb", 1),
            ("API answer without an end", "answers", "/endless", 1),
            (f"API answer: {AT_ONCE} gzip bombs at once", "answers", "/bomb", AT_ONCE),
            (f"API answer without an end, {AT_ONCE} at once", "answers", "/endless", AT_ONCE),
        )
        print(f"Python {platform.python_version()}, {sys.platform}")
        print(f"Target: less than {MOST} MiB\n")
        print("| what | peak, MiB | seconds | how it ended |\n|---|---:|---:|---|")
        worst = 0.0
        for what, kind, path, size in rows:
            begun = time.monotonic()
            mib, ending = measure(kind, origin.base_url + path, size, folder)
            print(f"| {what} | {mib:.0f} | {time.monotonic() - begun:.0f} | {ending or 'done'} |", flush=True)
            worst = max(worst, mib)
    return 0 if worst < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
