"""reading.py: a file that is not what it was taken for is neither followed nor waited for."""

import os
from pathlib import Path

import pytest

from tikhub_mcp.storage.reading import read_regular, read_start


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize(("most", "content"), [(4, b"0123"), (10, b"0123456789"), (-1, b"0123456789"), (0, b"")])
def test_the_start_of_a_file_is_as_long_as_was_asked(file: Path, most: int, content: bytes) -> None:
    assert read_start(file, most) == content


def test_a_link_is_followed_only_where_that_is_asked_for(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert read_start(link, 4, through_links=True) == b"0123"
    with pytest.raises(OSError, match="link"):
        read_start(link, 4)
    with pytest.raises(OSError, match="link"):
        read_regular(link, 10)


@pytest.mark.parametrize("through_links", [False, True])
def test_a_pipe_is_refused_at_once(tmp_path: Path, through_links: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = sorted(Path("/dev/fd").iterdir())
    with pytest.raises(ValueError, match="no regular file"):
        read_start(tmp_path / "pipe", 4, through_links=through_links)
    with pytest.raises(ValueError, match="no regular file"):
        read_regular(tmp_path / "pipe", 10)
    assert sorted(Path("/dev/fd").iterdir()) == before
