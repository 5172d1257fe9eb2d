"""What the other tests of this folder need is installed once a machine."""

from pathlib import Path

import pytest

from tests.hosts.frameworks import PINNED, install
from tests.hosts.node import Node

pytestmark = pytest.mark.slow


@pytest.mark.index
@pytest.mark.timeout(600)
def test_the_programs_of_others_can_be_had_in_the_pinned_versions(node: Node, uv: Path) -> None:
    assert node.modules.is_dir()
    assert (uv / ".config" / "uv" / "uv.toml").is_file()


@pytest.mark.index
@pytest.mark.timeout(600)
@pytest.mark.parametrize("framework", PINNED)
def test_the_agent_frameworks_can_be_had_in_the_pinned_versions(framework: str) -> None:
    assert install(framework).python.exists()
