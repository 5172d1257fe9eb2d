"""What the tests of the hosts share."""

from pathlib import Path

import pytest

from tests.hosts.node import Node, install, uv_home


@pytest.fixture(scope="session")
def node() -> Node:
    return install()


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which uv needs no network."""
    return uv_home(tmp_path_factory.mktemp("uv"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"
