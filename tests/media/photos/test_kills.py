"""Part folders of killed processes. Kills at any moment are in tests/storage/test_kills.py."""

import os
import time
from pathlib import Path

from tikhub_mcp.storage.atomic import PART_SUFFIX, STALE_SECONDS, sweep


def test_a_part_folder_of_a_killed_process_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f".tiktok_a_7000000.{at * 8}{PART_SUFFIX}" for at in "01")
    for folder in (old, new):
        folder.mkdir()
        (folder / "01.jpg").write_bytes(b"a picture")
    (tmp_path / "elsewhere").mkdir()
    (link := tmp_path / f".x.{'2' * 8}{PART_SUFFIX}").symlink_to(tmp_path / "elsewhere")
    for path in (old, link):
        os.utime(path, (time.time() - STALE_SECONDS - 60,) * 2, follow_symlinks=False)
    sweep(tmp_path)
    assert (old.exists(), new.exists(), (tmp_path / "elsewhere").exists()) == (False, True, True)
