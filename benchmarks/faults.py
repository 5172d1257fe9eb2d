"""The fault matrix: the results of this project's downloader and of other tools for links with faults.

    python -m benchmarks.faults [--all] [--readme]

Each fault runs with one mirror and with three (the fault on the first), and with the file's size and hash known and
unknown. Other tools are not given size and hash, and all but aria2c use one mirror only: one run counts for all cells
that are the same to a tool.
"""

import argparse
import asyncio
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

from benchmarks.mishaps import FAULTS, GOES_ON, GOOD, RIGHT, SIZE, Fault
from benchmarks.origin import Origin, refuse
from tikhub_mcp.errors import FileError
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.renditions import Rendition

DEADLINE = 20.0  # seconds for one run
QUIET = 2  # seconds without a byte; the read timeout of every tool that has one
LIMITS = Limits(seconds=15, read_timeout=QUIET, slow_seconds=2, slow_bytes=2048, pause=0.2, longest_pause=3)
AT_ONCE = 4
NAME = "video.mp4"
README = Path(__file__).with_name("README.md")
OUTCOMES = ("recovered", "clean failure", "debris", "silent", "wrong, but said so", "over the deadline")

MD5 = hashlib.md5(GOOD, usedforsecurity=False).hexdigest()
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
    # Without --file-allocation it would fill the disk for a Content-Length of 10^15.
    "aria2c": [
        "aria2c",
        "-q",
        "--no-conf",
        "--max-tries=3",
        f"--timeout={QUIET}",
        "--file-allocation=none",
        "-o",
        NAME,
    ],
    "yt-dlp": ["yt-dlp", "-q", "--ignore-config", f"--socket-timeout={QUIET}", "-o", NAME],
    "httpx script": [sys.executable, "-c", SCRIPT],
}


@dataclass(frozen=True)
class Cell:
    """One run: a fault, how many mirrors, and whether the size and hash are known."""

    fault: Fault
    mirrors: int
    known: bool


def outcome_of(folder: Path, success: bool, said_so: bool = False) -> str:
    """The outcome of a run, by the file in the folder and by what the tool reported."""
    final = folder / NAME
    right = final.is_file() and final.read_bytes() in RIGHT
    if success:
        return "recovered" if right else OUTCOMES[4] if said_so else "silent"
    return "debris" if final.exists() and not right else "clean failure"


def has_parts(folder: Path) -> bool:
    """Whether anything but the file is left. (Other tools keep partial files on purpose, to resume later.)"""
    return any(entry.name != NAME for entry in folder.iterdir())


async def ours(urls: list[str], known: bool, folder: Path) -> str:
    """Download with this project's downloader; the outcome."""
    file = Rendition("h264", 360, 640, 0, SIZE if known else None, MD5 if known else "", tuple(urls), None)
    begun = time.monotonic()
    try:
        work = Downloader(Network(loopback_media=True), LIMITS).fetch(file, "tiktok", folder / NAME, lambda _: None)
        saved = await work
        outcome = outcome_of(folder, success=True, said_so=any("file_hash" in said for said in saved.warnings))
    except FileError:
        outcome = outcome_of(folder, success=False)
    if has_parts(folder):
        outcome = "debris"
    return OUTCOMES[5] if time.monotonic() - begun > DEADLINE else outcome


async def other(tool: str, urls: list[str], folder: Path) -> str:
    """Download with another tool, with the folder as its home directory; the outcome."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    arguments = [*TOOLS[tool], *(urls if tool == "aria2c" else urls[:1])]
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*arguments, cwd=folder, env=environment, stdout=null, stderr=null)
    try:
        async with asyncio.timeout(DEADLINE):
            return outcome_of(folder, await process.wait() == 0)
    except TimeoutError:
        process.kill()
        await process.wait()
        return OUTCOMES[5]


async def run(tool: str, cell: Cell, origin: Origin, slots: asyncio.Semaphore) -> str:
    """Run one cell with one tool; the outcome."""
    async with slots:
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        try:
            first = (
                (GOES_ON, *cell.fault.acts) if tool == "yt-dlp" else cell.fault.acts
            )  # it sends a first request before the download
            urls = [origin.on(f"/{folder.name}/1/{NAME}", *first)]
            urls += [origin.on(f"/{folder.name}/{number}/{NAME}", GOES_ON) for number in range(2, cell.mirrors + 1)]
            return await (ours(urls, cell.known, folder) if tool == "ours" else other(tool, urls, folder))
        finally:
            shutil.rmtree(folder)


def same_for(tool: str, cell: Cell) -> Cell:
    """The run whose outcome counts for this cell: other tools do not know size and hash; most use one mirror."""
    if tool == "ours":
        return cell
    return Cell(cell.fault, cell.mirrors if tool == "aria2c" else 1, known=False)


async def matrix(tools: list[str]) -> dict[tuple[str, Cell], str]:
    """Run every cell with every tool; the outcomes."""
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
    """Whether this outcome of this project's downloader fails the benchmark."""
    return outcome in ("silent", "debris", OUTCOMES[5]) or (cell.fault.once and outcome != "recovered")


async def release(tool: str) -> str:
    """The name and version of a tool."""
    process = await asyncio.create_subprocess_exec(tool, "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    found = re.search(r"\d[\w.]+", output.decode().splitlines()[0].removeprefix(tool))
    return f"{tool} {found[0] if found else ''}"


def sums(results: dict[tuple[str, Cell], str], tools: list[str]) -> str:
    """The table of outcomes: one row per tool, one column per outcome."""
    rows = [f"| tool | {' | '.join(OUTCOMES)} |", f"|---|{'---:|' * len(OUTCOMES)}"]
    for tool in tools:
        counts = Counter(outcome for (who, _), outcome in results.items() if who == tool)
        rows.append(f"| {tool} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    return "\n".join(rows)


def into_readme(table: str) -> None:
    """Replace the table in benchmarks/README.md between its markers."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split("<!-- faults -->\n")
    _, after = rest.split("<!-- /faults -->")
    README.write_text(f"{before}<!-- faults -->\n{table}\n<!-- /faults -->{after}", encoding="utf-8")


async def main() -> int:
    arguments = argparse.ArgumentParser(description="The fault matrix.")
    arguments.add_argument("--all", action="store_true", help="print every cell, not only the sums")
    arguments.add_argument("--readme", action="store_true", help="put the sums into benchmarks/README.md")
    options = arguments.parse_args()
    there = [tool for tool, command in TOOLS.items() if shutil.which(command[0])]
    versions = [await release(tool) for tool in there if tool != "httpx script"]
    tools = ["ours", *there]
    results = await matrix(tools)

    print(f"{len(FAULTS)} faults × 1 or 3 mirrors × size and hash known or not, {DEADLINE:g} s each")
    print(", ".join((f"Python {platform.python_version()}", f"httpx {version('httpx')}", *versions)))
    for tool in TOOLS.keys() - set(there):
        print(f"{tool} is not installed, and left out")
    print(f"\n{sums(results, tools)}")
    if options.readme:
        into_readme(sums(results, tools))
    if options.all:
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
