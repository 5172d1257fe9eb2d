"""A process that saves a photo post, killed at any moment: what has its final name is whole."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.media.photos.test_save import JPEG, as_type, picture, post, save
from tests.support.downloads import VIDEO
from tests.support.fault_server import Act, Faulty
from tikhub_mcp.media.photos.receipt import RECEIPT_NAME, read_receipt
from tikhub_mcp.posts.post import Post
from tikhub_mcp.storage.atomic import PART_SUFFIX, STALE_SECONDS, sweep

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[3]
KILLS = 10
# It has imported everything. For a line it forks a process that is killed, and for the next line waits for its end.
NURSERY = """
import os, sys
from pathlib import Path
from tests.media.photos.test_kills import album
from tests.media.photos.test_save import save
base, root = sys.argv[1], Path(sys.argv[2])
while sys.stdin.readline():
    child = os.fork()
    if not child:
        save(root, album(base))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    os.waitpid(child, 0)
"""


def album(base: str) -> Post:
    return post(*(picture(f"{base}/{n}.jpeg", clip=f"{base}/clip{n}" if n % 3 == 0 else "") for n in range(1, 13)))


def check(root: Path) -> int:
    """How many files there are under final names, each of which is whole and known by what it is."""
    files = [path for folder in root.iterdir() if folder.suffix != PART_SUFFIX for path in folder.iterdir()]
    for path in files:
        if path.name == RECEIPT_NAME:
            receipt = read_receipt(path.parent)
            assert receipt is not None
            there = [file for file in receipt.files if (path.parent / file.name).exists()]  # the test removes some
            assert all(file.check(path.parent) == file for file in there)
        else:
            assert path.read_bytes() == (VIDEO if path.suffix == ".mp4" else JPEG), path.name
    return len(files)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_after_a_kill_at_any_moment_every_file_of_a_folder_is_whole(server: Faulty, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(1, 13):
        server.on(f"/{number}.jpeg", Act(body=JPEG, headers=as_type(b"").headers, drip=len(JPEG) // 3, pause=0.01))
        server.on(f"/clip{number}", Act(body=VIDEO, drip=len(VIDEO) // 5, pause=0.01))
    command = [sys.executable, "-c", NURSERY, server.base_url, str(tmp_path)]
    with subprocess.Popen(command, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin
        assert nursery.stdout
        for _ in range(KILLS):
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            child = int(nursery.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.4))
            os.kill(child, signal.SIGKILL)  # if it has ended, the nursery has not waited for it yet
            nursery.stdin.write("\n")
            check(tmp_path)
            for folder in tmp_path.glob("tiktok_*"):  # the next one adds what is missing to a folder that is there
                (folder / chance.choice(["01.jpg", "03.mp4", "05.jpg"])).unlink(missing_ok=True)
        nursery.stdin.close()
    assert save(tmp_path, album(server.base_url)).missing == ()
    assert check(tmp_path) == 12 + 4 + 1


def test_a_part_folder_of_a_killed_process_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f".tiktok_a_7000000.{at * 8}{PART_SUFFIX}" for at in "01")
    for folder in (old, new):
        folder.mkdir()
        (folder / "01.jpg").write_bytes(JPEG)
    (tmp_path / "elsewhere").mkdir()
    (link := tmp_path / f".x.{'2' * 8}{PART_SUFFIX}").symlink_to(tmp_path / "elsewhere")
    for path in (old, link):
        os.utime(path, (time.time() - STALE_SECONDS - 60,) * 2, follow_symlinks=False)
    sweep(tmp_path)
    assert (old.exists(), new.exists(), (tmp_path / "elsewhere").exists()) == (False, True, True)
