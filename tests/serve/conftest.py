"""What the tests of the HTTP server share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.team import Team, team_server
from tikhub_mcp.sandbox import Sandbox


@pytest.fixture
async def team(sandbox: Sandbox, environ: dict[str, str]) -> AsyncIterator[Team]:
    """A server for alice and bob, with a key of its own."""
    async with team_server(sandbox, environ) as running:
        yield running
