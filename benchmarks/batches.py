"""`tikhub-mcp batch` with many links: time relative to the ideal, and peak memory, by the number of links.

    python -m benchmarks.batches [LINKS ...]

The API answers after 500 ms, and a file begins after 600 ms. Ten posts are in flight at once, so the ideal is a tenth
of 1.1 s per link. The peak is that of the whole process (Linux).
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tikhub_mcp.sandbox import Sandbox, good_links

API, MEDIA, AT_ONCE = 0.5, 0.6, 10  # seconds, seconds, downloads
WANTED = 1.1  # times the ideal
MOST_MEMORY = 150  # MiB
COMMAND = """
import sys
from tikhub_mcp.cli.main import main
code = main(["batch", sys.argv[1], "-o", sys.argv[2], "--json"])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def run(base_url: str, folder: Path, links: int) -> tuple[float, float]:
    """Run one batch; its seconds, and its peak memory in MiB."""
    listed = folder / "links.txt"
    listed.write_text("\n".join(good_links(links)), encoding="utf-8")
    out, errors = folder / "reply.json", folder / "errors"
    ours = {
        "TIKHUB_API_KEY": "key-of-the-benchmark",
        "TIKHUB_BASE_URL": base_url,
        "TIKHUB_OUTPUT_DIR": str(folder / "out"),
    }
    begun = time.perf_counter()
    with out.open("wb") as reply, errors.open("wb") as log:
        actions = [(os.POSIX_SPAWN_DUP2, reply.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        command = [sys.executable, "-c", COMMAND, str(listed), str(folder / "videos")]
        process = os.posix_spawn(sys.executable, command, os.environ | ours, file_actions=actions)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    took = time.perf_counter() - begun
    output = errors.read_text(encoding="utf-8")
    assert code == 0, output
    assert len(list((folder / "videos").glob("*.mp4"))) == links
    return took, int(output.split()[-1]) / 1024


def main() -> int:
    """Run the measurements, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("links", nargs="*", type=int, default=[20, 200, 2000])
    numbers: list[int] = parser.parse_args().links
    print(f"Python {platform.python_version()}, httpx {version('httpx')}\n")
    print("| links | seconds | times the ideal | ms a link | peak, MiB |\n|---:|---:|---:|---:|---:|")
    good = True
    for links in numbers:
        sandbox = Sandbox(latency=API, media_latency=MEDIA)
        with tempfile.TemporaryDirectory(prefix="batches-") as name, sandbox:
            took, peak = run(sandbox.base_url, Path(name), links)
        times = took / (links * (API + MEDIA) / AT_ONCE)
        good &= peak < MOST_MEMORY and (
            times <= WANTED or links < 100
        )  # in a short batch the start of Python dominates
        print(f"| {links:,} | {took:.1f} | {times:.2f} | {1000 * took / links:.0f} | {peak:.0f} |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
