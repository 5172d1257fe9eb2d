"""Web pages that call the server: those that were allowed can, as far as a browser asks; and nobody else."""

import pytest

from tests.support.team import INITIALIZE, Team, team_server
from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.settings.serving import ServeSettings

pytestmark = pytest.mark.anyio

PAGE = "https://chat.example.com"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, x-tikhub-api-key, mcp-protocol-version",
}


async def test_a_page_that_is_allowed_can_call_with_a_token(sandbox: Sandbox, environ: dict[str, str]) -> None:
    settings = ServeSettings(port=0, allowed_origins=(PAGE,), allowed_hosts=("tikhub.example.com",))
    async with team_server(sandbox, environ, settings) as team:
        asked = await team.plain.options(team.server.url, headers={"Origin": PAGE, **PREFLIGHT})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "x-tikhub-api-key" in asked.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in asked.headers
        told = await team.post(INITIALIZE, "alice", Origin=PAGE, Host="tikhub.example.com")
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "Mcp-Session-Id" in told.headers["access-control-expose-headers"]
        assert (await team.post(INITIALIZE, Origin=PAGE)).status_code == 401
        for origin in (f"{PAGE}.evil.com", f"{PAGE}:8443", PAGE.replace("https", "http"), "null"):
            refused = await team.plain.options(team.server.url, headers={"Origin": origin, **PREFLIGHT})
            assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)


async def test_a_page_of_the_server_itself_is_not_foreign(team: Team) -> None:
    assert (await team.post(INITIALIZE, "alice", Origin=team.base)).status_code == 200
