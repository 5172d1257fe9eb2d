"""A server for several people on a socket of its own, and the SDK's client and a plain one in front of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.extension import ClientExtension
from mcp.client.streamable_http import streamable_http_client

from tests.support.mcp_session import Desk, Era
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.serve.run import HttpServer
from tikhub_mcp.serve.tokens import Tokens
from tikhub_mcp.settings.serving import ServeSettings

INITIALIZE: Json = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass
class Team:
    """A running server, the tokens of its people, and the address of everything."""

    sandbox: Sandbox
    environ: dict[str, str]
    root: Path
    server: HttpServer
    tokens: dict[str, str]
    plain: httpx.AsyncClient = field(init=False)

    @property
    def base(self) -> str:
        return self.server.url.removesuffix("/mcp")

    def headers(self, person: str, key: str = "") -> dict[str, str]:
        """What the client of a person sends."""
        own = {"X-TikHub-Api-Key": key} if key else {}
        return {"Authorization": f"Bearer {self.tokens.get(person) or person}", **own}

    @asynccontextmanager
    async def connect(
        self, person: str, key: str = "", *, era: Era = "auto", extensions: tuple[ClientExtension, ...] = ()
    ) -> AsyncIterator[Desk]:
        """The SDK's client of a person."""
        async with (
            AsyncClient(headers=self.headers(person, key), timeout=60) as http,
            Client(
                streamable_http_client(self.server.url, http_client=http), mode=era, extensions=list(extensions)
            ) as client,
        ):
            yield Desk(client, self.sandbox, self.environ, self.folder(person))

    def folder(self, person: str) -> Path:
        """Where everything of a person is."""
        return self.root / "people" / person

    async def post(self, message: Json, person: str = "", **headers: str) -> httpx.Response:
        """A message, as a client without an SDK sends it."""
        sent = {**ACCEPT, **(self.headers(person) if person else {}), **headers}
        return await self.plain.post(self.server.url, json=message, headers=sent)


@asynccontextmanager
async def team_server(
    sandbox: Sandbox, environ: dict[str, str], settings: ServeSettings | None = None
) -> AsyncIterator[Team]:
    """Run a server for alice and bob; its end is that of a signal."""
    root = Path(environ["TIKHUB_OUTPUT_DIR"])
    tokens = Tokens(root)
    people = {name: await asyncio.to_thread(tokens.add, name) for name in ("alice", "bob")}
    server = HttpServer(settings or ServeSettings(port=0), environ)
    serving = asyncio.create_task(server.serve())
    team = Team(sandbox, environ, root, server, people)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as team.plain:
            yield team
    finally:
        await server.stop()
        await serving


def wait_for_health(url: str, seconds: float = 30.0) -> None:
    """Wait until a server that was started answers."""
    until = time.monotonic() + seconds
    while True:
        try:
            assert httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
        else:
            return
