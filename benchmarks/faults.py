"""The fault matrix: what our downloader and other tools make of a link that misbehaves.

    python -m benchmarks.faults [--all]

Every fault is met with one mirror and with three (the fault on the first), with the size and hash of the file known
and without. A tool that cannot be told of these is run once, and its outcome counts for all four.
"""

import argparse
import asyncio
import gzip
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

from benchmarks.origin import MEDIA, Act, Origin, Reply, Request, chunked, cut, drip, refuse, serve, with_headers
from tikhub_mcp.download import Downloader
from tikhub_mcp.errors import FileError
from tikhub_mcp.network import Network
from tikhub_mcp.post import Rendition
from tikhub_mcp.transfer import Limits

DEADLINE = 20.0  # seconds for one run
QUIET = 2  # seconds without a byte, for every tool that knows such a limit
LIMITS = Limits(seconds=15, silence=QUIET, slow_seconds=2, slow_bytes=2048, pause=0.2, longest_pause=3)
AT_ONCE = 4
NAME = "video.mp4"
OUTCOMES = ("recovered", "clean failure", "debris", "silent", "wrong, but said so", "over the deadline")

GOOD = (MEDIA / "h264_large.mp4").read_bytes()
SIZE, HALF, MD5 = len(GOOD), len(GOOD) // 2, hashlib.md5(GOOD, usedforsecurity=False).hexdigest()
CHANGED = GOOD[:-HALF] + bytes(byte ^ 1 for byte in GOOD[-HALF:])  # another object, as long, as whole to its boxes
RIGHT = (GOOD, CHANGED)  # either; what must not be is some of each
PAGE = b"<!DOCTYPE html><title>Access Denied</title>" * 2000
ZIPPED = gzip.compress(GOOD)
PLAIN = Request("GET", "", {})
GOES_ON = serve(GOOD)
RESET, FIN = cut(GOES_ON, HALF, "reset"), cut(GOES_ON, HALF)
NO_LENGTH = with_headers(FIN, Content_Length=None)
LONGER = serve(GOOD + bytes(5000))
NEW = serve(CHANGED, '"2"')
WEAK, WEAK_NEW = 'W/"1"', serve(CHANGED, 'W/"1"', trusting=True)


@dataclass(frozen=True)
class Fault:
    """What a mirror does, request by request, the last act for good; `beyond`: only a hash can show it."""

    name: str
    acts: tuple[Act, ...]
    once: bool = False
    beyond: bool = False


def mangled(**headers: str | None) -> tuple[Act, ...]:
    """A reset, then a range with a wrong head, then honesty."""
    return RESET, with_headers(GOES_ON, on=206, **headers), GOES_ON


def wrong_place(request: Request) -> Reply:
    """To a request for the rest: a range that says, rightly, that it begins elsewhere."""
    if "range" not in request.headers:
        return GOES_ON(request)
    start = HALF - 1000
    headers = {"Content-Type": "video/mp4", "ETag": '"1"', "Content-Length": str(SIZE - start)}
    headers["Content-Range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
    return Reply(status=206, headers=headers, body=(GOOD[start:],), start=start)


FAULTS = (
    Fault("reset mid-body, once", (RESET, GOES_ON), once=True),
    Fault("FIN mid-body, once", (FIN, GOES_ON), once=True),
    Fault("short body without a length, once", (NO_LENGTH, GOES_ON), once=True),
    Fault("chunked without the last chunk, once", (chunked(cut(GOES_ON, HALF), terminated=False), GOES_ON), once=True),
    Fault(
        "six resets, each a bit further",
        (*(cut(GOES_ON, SIZE * n // 7, "reset") for n in range(1, 7)), GOES_ON),
        once=True,
    ),
    Fault("stall mid-body, once", (cut(GOES_ON, HALF, "stall"), GOES_ON), once=True),
    Fault("stall before the head, once", (lambda _: Reply(status=0, end="stall"), GOES_ON), once=True),
    Fault("slow but honest (32 KiB/s)", (drip(GOES_ON, 4096, 0.125),), once=True),
    Fault("206 that begins elsewhere", (RESET, wrong_place, GOES_ON), once=True),
    Fault("206 of another total", mangled(Content_Range=f"bytes {HALF}-{SIZE - 1}/{SIZE + 9}"), once=True),
    Fault("206 without Content-Range", mangled(Content_Range=None), once=True),
    Fault(
        "206 as multipart/byteranges",
        mangled(Content_Range=None, Content_Type="multipart/byteranges; boundary=x"),
        once=True,
    ),
    Fault("200 in place of the rest", (RESET, lambda _: GOES_ON(PLAIN)), once=True),
    Fault("416 in place of the rest", (RESET, refuse(416), GOES_ON), once=True),
    Fault("object changed, If-Range honoured", (RESET, NEW), once=True),
    Fault("object changed, If-Range ignored", (RESET, serve(CHANGED, '"2"', trusting=True)), once=True),
    Fault("object changed, weak ETag", (cut(serve(GOOD, WEAK), HALF, "reset"), WEAK_NEW), once=True),
    Fault("429 with Retry-After, once", (refuse(429, Retry_After="1"), GOES_ON), once=True),
    Fault("503, once", (refuse(503), GOES_ON), once=True),
    Fault("503 in place of the rest, once", (RESET, refuse(503), GOES_ON), once=True),
    Fault("reset mid-body, always", (RESET,)),
    Fault("FIN mid-body, always", (FIN,)),
    Fault("short body without a length, always", (NO_LENGTH,)),
    Fault("stall mid-body, always", (cut(GOES_ON, HALF, "stall"),)),
    Fault("drip (20 bytes a second)", (drip(GOES_ON, 1, 0.05),)),
    *(Fault(f"{status}, always", (refuse(status),)) for status in (403, 404, 410, 429, 503)),
    Fault("HTML", (serve(PAGE, kind="text/html"),)),
    Fault("HTML labelled video/mp4", (serve(PAGE),)),
    Fault("empty 200", (serve(b""),)),
    Fault("music (M4A) labelled video/mp4", (serve((MEDIA / "music.m4a").read_bytes()),)),
    Fault("more bytes than Content-Length", (with_headers(LONGER, Content_Length=str(SIZE)),)),
    Fault("more bytes than the file has, chunked", (chunked(LONGER),)),
    Fault("Content-Length of 10^15", (with_headers(GOES_ON, Content_Length=str(10**15)),)),
    Fault("Content-Length that is none", (with_headers(GOES_ON, Content_Length="-5"),)),
    Fault("gzip unasked", (with_headers(serve(ZIPPED), Content_Encoding="gzip"),)),
    Fault("redirect loop", (refuse(302, Location="/loop/a"),)),
    Fault("20 redirects", (refuse(302, Location="/hop/1"),)),
    Fault("redirect without Location", (refuse(302),)),
    Fault("truncated, its length right", (serve(GOOD[:HALF]),)),
    Fault("swapped halves", (serve(GOOD[HALF:] + GOOD[:HALF]),)),
    Fault(
        "zeros in place of the last quarter",
        (serve(GOOD[: -SIZE // 4] + bytes(SIZE - len(GOOD[: -SIZE // 4]))),),
        beyond=True,
    ),
)
SCRIPT = """import sys, httpx
with httpx.stream("GET", sys.argv[1], follow_redirects=True, timeout=2) as answer:
    answer.raise_for_status()
    with open("video.mp4", "wb") as file:
        for chunk in answer.iter_bytes():
            file.write(chunk)
"""
TOOLS: dict[str, list[str]] = {
    "curl": ["curl", "-sSfL", "--retry", "3", "-C", "-", "-o", NAME],
    "wget": ["wget", "-q", "-t", "3", "-T", str(QUIET)],
    "aria2c": ["aria2c", "-q", "--no-conf", "--max-tries=3", f"--timeout={QUIET}", "-o", NAME],
    "yt-dlp": ["yt-dlp", "-q", "--ignore-config", f"--socket-timeout={QUIET}", "-o", NAME],
    "httpx script": [sys.executable, "-c", SCRIPT],
}


@dataclass(frozen=True)
class Cell:
    """One run: a fault, how many mirrors, and whether the size and hash are known."""

    fault: Fault
    mirrors: int
    known: bool


def judge(folder: Path, success: bool, said_so: bool = False) -> str:
    """What is to be called what lies there, after what was reported."""
    final = folder / NAME
    right = final.is_file() and final.read_bytes() in RIGHT
    if success:
        return "recovered" if right else OUTCOMES[4] if said_so else "silent"
    return "debris" if final.exists() and not right else "clean failure"


async def ours(urls: list[str], known: bool, folder: Path) -> str:
    """Download with the project's own code."""
    file = Rendition("h264", 360, 640, 0, SIZE if known else None, MD5 if known else "", tuple(urls), None)
    begun = time.monotonic()
    try:
        work = Downloader(Network(loopback_media=True), LIMITS).fetch(file, "tiktok", folder / NAME, lambda _: None)
        saved = await work
        outcome = judge(folder, success=True, said_so=any("file_hash" in said for said in saved.warnings))
    except FileError:
        outcome = judge(folder, success=False)
        if any(folder.iterdir()):
            outcome = "debris"
    return OUTCOMES[5] if time.monotonic() - begun > DEADLINE else outcome


async def other(tool: str, urls: list[str], folder: Path) -> str:
    """Download with another tool, in a folder that is its home."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    arguments = [*TOOLS[tool], *(urls if tool == "aria2c" else urls[:1])]
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*arguments, cwd=folder, env=environment, stdout=null, stderr=null)
    try:
        async with asyncio.timeout(DEADLINE):
            return judge(folder, await process.wait() == 0)
    except TimeoutError:
        process.kill()
        await process.wait()
        return OUTCOMES[5]


async def run(tool: str, cell: Cell, origin: Origin, slots: asyncio.Semaphore) -> str:
    """One cell for one tool."""
    async with slots:
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        try:
            first = (GOES_ON, *cell.fault.acts) if tool == "yt-dlp" else cell.fault.acts  # it looks before it loads
            urls = [origin.on(f"/{folder.name}/1/{NAME}", *first)]
            urls += [origin.on(f"/{folder.name}/{number}/{NAME}", GOES_ON) for number in range(2, cell.mirrors + 1)]
            return await (ours(urls, cell.known, folder) if tool == "ours" else other(tool, urls, folder))
        finally:
            shutil.rmtree(folder)


def same_for(tool: str, cell: Cell) -> Cell:
    """The run that stands for this cell: the one that the tool can express."""
    if tool == "ours":
        return cell
    return Cell(cell.fault, cell.mirrors if tool == "aria2c" else 1, known=False)


async def matrix(tools: list[str]) -> dict[tuple[str, Cell], str]:
    """Every cell for every tool."""
    cells = [Cell(fault, mirrors, known) for fault, mirrors, known in product(FAULTS, (1, 3), (True, False))]
    runs = list(dict.fromkeys((tool, same_for(tool, cell)) for cell in cells for tool in tools))
    slots = asyncio.Semaphore(AT_ONCE)
    with Origin() as origin:
        origin.on("/loop/a", refuse(302, Location="/loop/b"))
        origin.on("/loop/b", refuse(302, Location="/loop/a"))
        for hop in range(1, 20):
            origin.on(f"/hop/{hop}", refuse(302, Location=f"/hop/{hop + 1}"))
        origin.on("/hop/20", GOES_ON)
        done = dict(zip(runs, await asyncio.gather(*(run(*one, origin, slots) for one in runs)), strict=True))
    return {(tool, cell): done[tool, same_for(tool, cell)] for cell in cells for tool in tools}


def unwanted(cell: Cell, outcome: str) -> bool:
    """Whether ours may not end so."""
    if cell.fault.beyond and not cell.known:
        return outcome not in ("silent", "recovered")  # nothing but a decoder could tell
    return outcome in ("silent", "debris", OUTCOMES[5]) or (cell.fault.once and outcome != "recovered")


async def said(*command: str) -> str:
    """The first line that a command prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().splitlines()[0]


async def main() -> int:
    arguments = argparse.ArgumentParser(description="The fault matrix.")
    arguments.add_argument("--all", action="store_true", help="print every cell, not only the sums")
    everything = arguments.parse_args().all
    there = [tool for tool, command in TOOLS.items() if shutil.which(command[0])]
    versions = [await said(tool, "--version") for tool in there if tool != "httpx script"]
    tools = ["ours", *there]
    results = await matrix(tools)

    print(f"{len(FAULTS)} faults × 1 or 3 mirrors × size and hash known or not, {DEADLINE:g} s each")
    print(f"Python {platform.python_version()}, httpx {version('httpx')}; " + "; ".join(versions))
    for tool in TOOLS.keys() - set(there):
        print(f"{tool} is not installed, and left out")
    print(f"\n| tool | {' | '.join(OUTCOMES)} |\n|---|{'---:|' * len(OUTCOMES)}")
    for tool in tools:
        counts = Counter(outcome for (who, _), outcome in results.items() if who == tool)
        print(f"| {tool} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    if everything:
        print(f"\n| fault | mirrors | known | {' | '.join(tools)} |\n|---|---|---|{'---|' * len(tools)}")
        for cell in dict.fromkeys(cell for _, cell in results):
            row = " | ".join(results[tool, cell] for tool in tools)
            print(f"| {cell.fault.name} | {cell.mirrors} | {'yes' if cell.known else 'no'} | {row} |")
    bad = {cell: outcome for (tool, cell), outcome in results.items() if tool == "ours" and unwanted(cell, outcome)}
    for cell, outcome in bad.items():
        print(f"\nNot as wanted: {cell.fault.name}, mirrors {cell.mirrors}, known {cell.known}: {outcome}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
