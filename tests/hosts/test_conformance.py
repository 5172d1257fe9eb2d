"""The conformance suite of the protocol, against `serve`: what is sent is valid, in each of its scenarios.

Most scenarios ask for tools that only a server made for the suite has. Their answers must be valid messages too.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.hosts.node import Node
from tests.support.mcp_session import KEY
from tests.support.team import Team, team_server
from tikhub_mcp.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.anyio]

GREEN = {  # that need no such tools
    "server-initialize",
    "server-session-lifecycle",
    "ping",
    "tools-list",
    "resources-list",
    "sep-2164-resource-not-found",
    "sep-2640-skills-directory",
    "sep-2640-skills-enumeration",
    "sep-2640-skills-manifest",
    "dns-rebinding-protection",
    "http-header-validation",
}


def let_in(team: Team) -> None:
    """Add a token to every request, because the suite can send none."""
    config: Any = team.server._server.config
    app, token = config.app, (b"authorization", f"Bearer {team.tokens['alice']}".encode())

    async def with_token(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "headers": [*scope["headers"], token]}, receive, send)

    config.loaded_app = with_token


async def test_every_message_of_serve_is_valid_and_what_it_has_conforms(
    node: Node, sandbox: Sandbox, tmp_path: Path
) -> None:
    environ = {
        "TIKHUB_API_KEY": KEY,
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(tmp_path / "root"),
    }
    async with team_server(sandbox, environ) as team:
        await asyncio.sleep(0.1)  # until uvicorn has loaded the application
        let_in(team)
        arguments = ["server", "--url", team.server.url, "--suite", "all", "-o", str(tmp_path / "out")]
        ran = await asyncio.to_thread(node.run, "conformance", *arguments, home=tmp_path, timeout=300)
    found: dict[str, list[dict[str, Any]]] = {}
    for path in (tmp_path / "out").glob("server-*/checks.json"):
        scenario = path.parent.name.removeprefix("server-").rpartition("-20")[0]
        found[scenario] = json.loads(path.read_text(encoding="utf-8"))
    wire = [check for checks in found.values() for check in checks if check["id"].startswith("wire-schema")]
    assert len(wire) > 50, ran.stdout + ran.stderr
    assert [check for check in wire if check["status"] != "SUCCESS"] == []
    failed = {name for name, checks in found.items() if any(check["status"] == "FAILURE" for check in checks)}
    assert (GREEN - found.keys(), GREEN & failed) == (set(), set())
