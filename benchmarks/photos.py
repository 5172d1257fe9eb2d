"""The time for a photo post of 35 pictures over stdio, each of which takes 100 ms, and the server's memory.

    python -m benchmarks.photos [TURNS]

The ideal is ten transfers at once without any other work: four rounds of 100 ms. The API answers at once. The first
post is not counted: Python imports modules for it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.overhead import Server
from tikhub_mcp.sandbox import Sandbox, link

PICTURES = 35
LATENCY = 0.1  # seconds until a picture begins to come
IDEAL = 0.4  # seconds: 35 pictures, ten at once
MOST = 1.2  # times the ideal
MOST_MIB = 150


def peak_mib(server: Server) -> float:
    """The most memory that the server has taken, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=9)
    turns = parser.parse_args().turns
    times = []
    with Sandbox(latency=0, media_latency=LATENCY) as sandbox, tempfile.TemporaryDirectory() as folder:
        server = Server(sandbox.base_url, Path(folder))
        for turn in range(turns + 1):
            begun = time.perf_counter()
            out = str(Path(folder) / str(turn))
            reply = json.loads(
                server.ask(
                    "tools/call", name="download_video", arguments={"url": link("many_photos"), "output_dir": out}
                )
            )
            times.append(time.perf_counter() - begun)
            assert reply["result"]["structuredContent"]["photos"]["complete"], reply
        memory = peak_mib(server)
        server.end()
    median = statistics.median(times[1:])
    print("| pictures | ideal s | median s | beside the ideal | least s | most s | peak MiB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {PICTURES} | {IDEAL} | {median:.2f} | {median / IDEAL:.2f} | {min(times[1:]):.2f} | {max(times[1:]):.2f} "
        f"| {memory:.0f} |"
    )
    return int(median > MOST * IDEAL or memory > MOST_MIB)


if __name__ == "__main__":
    sys.exit(main())
