"""Calls that time out and are repeated until the work is done: the number of calls, and of paid answers.

    python -m benchmarks.repeated_calls [--python PYTHON] [ROW ...]

Each row starts the real server over stdio against the sandbox, sends the same call until nothing is pending (at most 24
times), and counts the sandbox's answers with HTTP 200, which are those that TikHub charges. `--python` is an
interpreter that has another version of the server installed, for comparison.
"""

import argparse
import asyncio
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tikhub_mcp.sandbox import Sandbox, good_links, link

MAX_CALLS = 24
PARALLEL_DOWNLOADS = 10


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: Its name in the table.
        links: The number of different links.
        api: Seconds before each answer of the API.
        media: Seconds before the first byte of each file.
        budget: TIKHUB_CALL_SECONDS.
        options: Further arguments of the tool.
        environment: Further variables of the server.
        clients: The number of servers that share one folder and get each call at once.
        restart: Whether each call starts a new server process.
        repeats: The number of further calls once nothing is pending.
        scenario: The sandbox's scenario; empty for posts without faults.
    """

    what: str
    links: int
    api: float = 0.5
    media: float = 2.5
    budget: float = 10.0
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    clients: int = 1
    restart: bool = False
    repeats: int = 0
    scenario: str = ""

    @property
    def ideal(self) -> int:
        """The number of calls that the work fills, with ten downloads at once and no overhead."""
        return math.ceil(self.links * (self.api + self.media) / PARALLEL_DOWNLOADS / self.budget)


REFRESH = {"refresh": True}
ROWS = {
    "refresh-200": Row("200 links, refresh", 200, options=REFRESH),
    "refresh-120": Row("120 links, refresh", 120, options=REFRESH),
    "no-reuse-120": Row("120 links, TIKHUB_REUSE_SECONDS=0", 120, environment={"TIKHUB_REUSE_SECONDS": "0"}),
    "short-reuse-120": Row("120 links, TIKHUB_REUSE_SECONDS=5", 120, environment={"TIKHUB_REUSE_SECONDS": "5"}),
    "short-budget-60": Row("60 links, 1 s a call", 60, media=0.0, budget=1.0),
    "short-budget-60-refresh": Row("60 links, 1 s a call, refresh", 60, media=0.0, budget=1.0, options=REFRESH),
    "one": Row("download_video, refresh, 1 s a call", 1, budget=1.0, options=REFRESH),
    "restart-60": Row("60 links, refresh, a process for each call", 60, options=REFRESH, restart=True),
    "two-clients-60": Row("60 links, refresh, two servers at once", 60, options=REFRESH, clients=2),
    "dead": Row("an answer whose links have expired, 5 times", 1, 0.0, 0.0, scenario="expired_always", repeats=4),
    "dead-restart": Row(
        "the same, a process each time", 1, 0.0, 0.0, scenario="expired_always", repeats=4, restart=True
    ),
    "full": Row("50 links, the disk full, twice", 50, 0.0, 0.0, environment={"FULL": "1"}, repeats=1),
}


async def _call(clients: Sequence[Client], row: Row, links: list[str]) -> list[dict[str, Any]]:
    """Send the same call through every client at once."""
    tool, given = ("download_video", {"url": links[0]}) if len(links) == 1 else ("batch_download", {"urls": links})
    results = await asyncio.gather(*(client.call_tool(tool, {**given, **row.options}) for client in clients))
    return [result.structured_content or {} for result in results]


async def _measure(row: Row, python: str, sandbox: Sandbox, folder: Path) -> tuple[int, str]:
    """Repeat the call until nothing is pending; the number of calls, and how the last one ended."""
    links = [link(row.scenario)] if row.scenario else good_links(row.links)
    environment = {
        "TIKHUB_API_KEY": "key-of-the-benchmark",
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_CALL_SECONDS": f"{row.budget:g}",
        "TIKHUB_OUTPUT_DIR": str(folder / "out"),
        **row.environment,
    }
    server = StdioServerParameters(command=python, args=["-P", "-m", "tikhub_mcp"], env=environment, cwd=folder)
    calls, repeats, ended = 0, row.repeats, ""
    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        while calls < MAX_CALLS:
            if row.restart or not clients:
                await stack.aclose()
                clients = [await stack.enter_async_context(Client(server)) for _ in range(row.clients)]
            replies = await _call(clients, row, links)
            calls += 1
            ended = ", ".join(_ended(reply) for reply in replies)
            if not any(reply.get("pending") or reply["status"] == "pending" for reply in replies):
                if not repeats:
                    break
                repeats -= 1
    return calls, ended


def _ended(reply: dict[str, Any]) -> str:
    error = reply.get("error") or {}
    retry = f", retryable: {str(error['retryable']).lower()}" if error else ""
    done = f" {reply['succeeded']} of {reply['total']}" if "total" in reply else ""
    return f"{reply['status']}{done}{' ' if error else ''}{error.get('code', '')}{retry}"


def _full(folder: Path) -> None:
    """Mount a file system of 1 MiB as the output folder, and fill all but 16 KiB of it (Linux, as root)."""
    (folder / "out").mkdir()
    if os.spawnlp(os.P_WAIT, "mount", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder / "out")):
        raise SystemExit("the row 'full' needs the right to mount a file system")
    (folder / "out" / "filling").write_bytes(b"\0" * (2**20 - 16 * 2**10))


def main() -> None:
    """Run the rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the version to measure")
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    given = parser.parse_args()
    print("| call | links | calls (ideal) | paid answers | how it ended |\n|---|---:|---:|---:|---|")
    for name in given.rows:
        row = ROWS[name]
        with tempfile.TemporaryDirectory() as temporary, Sandbox(latency=row.api, media_latency=row.media) as sandbox:
            folder, full = Path(temporary), bool(row.environment.get("FULL"))
            if full:
                _full(folder)
            try:
                calls, ended = asyncio.run(_measure(row, given.python, sandbox, folder))
            finally:
                if full:
                    os.spawnlp(os.P_WAIT, "umount", "umount", str(folder / "out"))
            paid = sum(call.status == 200 for call in sandbox.calls)
        ideal = f" ({row.ideal})" if row.media or row.api else ""
        print(f"| {row.what} | {row.links} | {calls}{ideal} | {paid} | {ended} |", flush=True)


if __name__ == "__main__":
    main()
