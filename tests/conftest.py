"""What several test modules need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faulty import Faulty


@pytest.fixture
def anyio_backend() -> str:
    """The only event loop that the server runs on."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[Faulty]:
    """A server that does as it is told."""
    with Faulty() as running:
        yield running


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are written 4 KiB at a time: with the usual MiB all of a small file would wait in memory until its end."""
    monkeypatch.setattr("tikhub_mcp.transfer.PIECE", 4096)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where a file goes; whatever happens, nothing else may be in the folder afterwards."""
    folder = tmp_path / "videos"
    folder.mkdir()
    path = folder / "tiktok_someone_7000000000000000001.mp4"
    yield path
    assert {entry.name for entry in folder.iterdir()} <= {path.name}
