"""The server's own time for a call over stdio, by the number of answers in the raw folder.

    python -m benchmarks.overhead [MANY]

The calls are answered from disk, without a request: the answer is stored and the file exists. They are sent as plain
JSON lines, so that no client library is measured.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.start import LINES
from tests.support.payloads import envelope, tiktok_post
from tikhub_mcp.sandbox import Sandbox, link

TURNS = 200
FEW = 2_000
MOST_CALL, MOST_LIST = 5.0, 2.0  # ms
FIRST = 7_300_000_000_000_000_000


def fill(folder: Path, files: int) -> None:
    """Fill a raw folder up to `files` answers, each about another post, with the file names of the server."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(list(folder.iterdir())), files):
        post = FIRST + number
        answer = envelope(tiktok_post(aweme_id=str(post)), request_id=f"{number:08x}-0000-4000-8000-000000000001")
        (folder / f"raw_{post}_{number:08x}00004000.json").write_text(json.dumps(answer), encoding="utf-8")


class Server:
    """A server process with this output folder, driven by JSON lines."""

    def __init__(
        self, base_url: str, root: Path, command: Sequence[str] = (sys.executable, "-m", "tikhub_mcp")
    ) -> None:
        ours = {"TIKHUB_API_KEY": "key-of-the-benchmark", "TIKHUB_BASE_URL": base_url, "TIKHUB_OUTPUT_DIR": str(root)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | ours
        )
        self.number = 0
        for line in LINES[:2]:
            self.send(line)
        self.read()

    def send(self, line: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> bytes:
        assert self.process.stdout
        return self.process.stdout.readline()

    def ask(self, method: str, **params: Any) -> bytes:  # noqa: ANN401 - JSON of any kind
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        return self.read()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def timed(call: Callable[[], bytes], expected: bytes, turns: int = TURNS) -> list[float]:
    """Milliseconds of each of `turns` calls; asserts that every reply contains `expected`."""
    times = []
    for _ in range(turns):
        begun = time.perf_counter()
        reply = call()
        times.append(1000 * (time.perf_counter() - begun))
        assert expected in reply, reply
    return times


def measure(base_url: str, root: Path) -> dict[str, list[float]]:
    """Milliseconds of the calls to a new server, by kind of call."""
    server = Server(base_url, root)

    def video(**arguments: object) -> bytes:
        return server.ask("tools/call", name="download_video", arguments={"url": link("tiktok"), **arguments})

    assert b'"status":"ok"' in video()
    found = {
        "`ping`, for comparison": timed(lambda: server.ask("ping"), b'"result":{}'),
        "`tools/list`": timed(lambda: server.ask("tools/list"), b'"tools":['),
        "`download_video`, the file is there": timed(video, b'"api_calls":0'),
        "`download_video`, the numbers only": timed(lambda: video(metrics_only=True), b'"api_calls":0'),
    }
    server.end()
    return found


def main() -> int:
    """Run the measurements, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("many", nargs="?", type=int, default=200_000)
    many: int = parser.parse_args().many
    print(f"Python {platform.python_version()}, mcp {version('mcp')}, {TURNS} calls of each\n")
    print("| call | answers in the raw folder | ms: median | 95 of 100 |\n|---|---:|---:|---:|")
    good = True
    with tempfile.TemporaryDirectory(prefix="overhead-") as name, Sandbox() as sandbox:
        root = Path(name)
        for files in (0, FEW, many):
            fill(root / "raw", files)
            for what, times in measure(sandbox.base_url, root).items():
                median = statistics.median(times)
                good &= median < (MOST_LIST if "list" in what else MOST_CALL)
                print(
                    f"| {what} | {files:,} | {median:.1f} | {sorted(times)[int(0.95 * len(times))]:.1f} |", flush=True
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
