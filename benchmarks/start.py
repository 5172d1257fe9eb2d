"""The time from spawn to the first list of tools, relative to a minimal server on the same SDK.

    python -m benchmarks.start [TURNS]

Both servers start alternately, over stdio, from compiled bytecode. Requests are plain JSON lines, so that no client
library is measured. It also prints the import times of this project's modules.
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
from importlib.metadata import version
from pathlib import Path

WANTED = 1.15  # the allowed ratio to the server with one tool
MOST_OWN = 60.0  # ms; the limit for importing this project's modules
IMPORTS = "import gc; gc.disable(); from tikhub_mcp.server import run"  # as `tikhub-mcp` does it
ONE_TOOL = '''
import asyncio

from mcp.server import MCPServer

server = MCPServer("one")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


asyncio.run(server.run_stdio_async())
'''
PARAMS = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
LINES = (
    {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": PARAMS},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
)


def start(command: list[str]) -> float:
    """Milliseconds from spawn to the list of tools."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in LINES))
        process.stdin.flush()
        while b'"tools":[' not in (reply := process.stdout.readline()):
            assert reply, f"{command} ended before it listed its tools"
        took = time.perf_counter() - begun
        process.stdin.close()
    return 1000 * took


def own_imports() -> dict[str, float]:
    """The import time of each module of this project in milliseconds, without the imports inside it."""
    command = [sys.executable, "-X", "importtime", "-c", IMPORTS]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = (line.removeprefix("import time:").split("|") for line in report.splitlines())
    return {
        name.strip(): int(alone) / 1000 for alone, _, name in lines if name.strip().partition(".")[0] == "tikhub_mcp"
    }


def main() -> int:
    """Run the measurements, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=21)
    turns: int = parser.parse_args().turns
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        script = Path(folder) / "one.py"
        script.write_text(ONE_TOOL, encoding="utf-8")
        os.environ |= {"HOME": folder, "TIKHUB_OUTPUT_DIR": str(Path(folder) / "out")}
        servers = {
            "a server with one tool": [sys.executable, str(script)],
            "tikhub-mcp": [str(Path(sys.executable).with_name("tikhub-mcp"))],
        }
        for command in servers.values():  # compile the bytecode
            start(command)
        times: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(turns):
            for name, command in servers.items():
                times[name].append(start(command))
        own = [own_imports() for _ in range(5)]
    print(f"Python {platform.python_version()}, mcp {version('mcp')}, {turns} starts of each\n")
    print("| | ms to the first list of tools: median | lowest | highest |\n|---|---:|---:|---:|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.0f} | {min(found):.0f} | {max(found):.0f} |")
    one, ours = (statistics.median(found) for found in times.values())
    took = statistics.median(sum(modules.values()) for modules in own)
    print(f"\nRatio of the medians: {ours / one:.2f}. Import of our own modules: {took:.0f} ms, of which most:\n")
    for name, alone in sorted(own[0].items(), key=lambda item: -item[1])[:8]:
        print(f"- {name}: {alone:.1f} ms")
    return 0 if ours / one <= WANTED and took < MOST_OWN else 1


if __name__ == "__main__":
    sys.exit(main())
