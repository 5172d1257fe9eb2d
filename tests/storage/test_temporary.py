"""Temporary folders and what killed processes have left of them."""

import os
import tempfile
from pathlib import Path

import pytest

from tikhub_mcp.storage.atomic import STALE_SECONDS
from tikhub_mcp.storage.temporary import temporary_folder


def test_a_later_start_removes_what_a_killed_process_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    left, young, link, file = (tmp_path / f"tikhub-mcp-work-{name}" for name in ("left", "young", "link", "file"))
    for folder in (elsewhere, left, young):
        folder.mkdir()
        (folder / "rows").write_text("x")
    link.symlink_to(elsewhere)
    file.touch()
    old = file.stat().st_mtime - STALE_SECONDS - 1
    for path in (left, elsewhere, file):
        os.utime(path, (old, old))
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
        assert not left.exists()
    assert not folder.exists()
    assert (elsewhere / "rows").exists()
    assert {young, link, file} <= set(tmp_path.iterdir())
    monkeypatch.setattr(os, "getuid", lambda: -1)
    os.utime(young, (old, old))
    with temporary_folder():
        assert young.exists()  # another user's
