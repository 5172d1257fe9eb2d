"""Kill processes that write files at random moments, and look for corrupt files.

python -m benchmarks.kills [N]

N is the number of kills: a third each hit a process that downloads videos, one that downloads photo posts of 35
pictures, and one that stores answers and writes summaries.
"""

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fault_server import Faulty
from tests.support.killed_processes import Yard, kill_many

SEED = 20_260_728


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=400)
    kills = parser.parse_args().kills
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Faulty() as server:
        tally, corrupt = kill_many(Yard(Path(folder), server), kills, SEED)
    print(f"Python {platform.python_version()}, {platform.system()}; seed {SEED}; {time.monotonic() - began:.0f} s\n")
    print("| kills | files checked | corrupt | parts left | swept |")
    print("|---|---|---|---|---|")
    print(f"| {tally['kills']} | {tally['checked']} | {len(corrupt)} | {tally['left']} | {tally['swept']} |")
    for name in sorted(set(corrupt)):
        print(f"corrupt: {name}", file=sys.stderr)
    return 1 if corrupt else 0


if __name__ == "__main__":
    sys.exit(main())
