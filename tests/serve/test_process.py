"""The server as a process: how it starts, what it logs, and how it ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from tests.support.forked import Forked
from tests.support.forked import run as forked_run
from tests.support.mcp_session import CANARY, SLOW, Era, content, patience, until
from tests.support.stdio_client import MODULE
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.serve.tokens import Tokens

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class Served:
    """A process of `tikhub-mcp serve`."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.root, self.log = folder / "root", folder / "log"
        self.environment = {
            "HOME": str(folder),
            "PATH": os.defpath,
            "TIKHUB_BASE_URL": sandbox.base_url,
            "TIKHUB_OUTPUT_DIR": str(self.root),
            "TIKHUB_LOG_LEVEL": "DEBUG",
        }
        self.process: subprocess.Popen[Any] | None = None
        self.url = ""

    def run(self, *options: str, **variables: str) -> tuple[int, str]:
        """Run the command where it is expected to end by itself."""
        self.start(*options, **variables)
        assert self.process
        return self.process.wait(20), self.log.read_text()

    def start(self, *options: str, **variables: str) -> None:
        with self.log.open("wb") as log:
            command, environment = [*MODULE, "serve", *options], {**self.environment, **variables}
            self.process = Forked(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment)

    async def ready(self) -> None:
        await until(lambda: "listens at" in self.log.read_text())
        found = re.search(r"listens at (http\S+/mcp)\.", self.log.read_text())
        assert found
        self.url = found[1]

    @contextlib.asynccontextmanager
    async def connect(self, token: str, era: Era = "auto") -> Any:  # noqa: ANN401 - the client
        headers = {"Authorization": f"Bearer {token}", "X-TikHub-Api-Key": CANARY}
        async with (
            AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client


@pytest.fixture
def served(tmp_path: Path, sandbox: Sandbox) -> Iterator[Served]:
    running = Served(tmp_path, sandbox)
    yield running
    if running.process:
        running.process.kill()
        running.process.wait()


@pytest.fixture
async def token(served: Served) -> str:
    return await asyncio.to_thread(Tokens(served.root).add, "alice")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "x"], "--port (TIKHUB_HTTP_PORT) must be a whole number"),
        (["--host", "0.0.0.0"], "others than this machine can connect"),
        (["--host", "0.0.0.0", "--public-url", "https://a.example"], "Nobody could be let in"),
        (["--host", "no.such.name.invalid", "--allowed-host", "a.example"], "is no name or address here"),
        (
            ["--host", "192.0.2.1", "--public-url", "https://a.example"],
            "cannot be used (Cannot assign requested address)",
        ),
        (["--public-url", "a.example"], "must look like https://tikhub.example.com"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(served: Served, options: list[str], said: str) -> None:
    if said != "Nobody could be let in":
        Tokens(served.root).add("alice")
    code, log = served.run("--port", "0", *options)
    assert (code, log.count("\n")) == (2, 1)
    assert log.startswith("error: invalid_input: ")
    assert said in log


def test_a_busy_port_is_one_sentence(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, log = served.run(TIKHUB_HTTP_PORT=port)
    assert (code, log.count("\n")) == (2, 1)
    assert f"Port {port} on 127.0.0.1 cannot be used (Address already in use)." in log


@pytest.mark.both_eras
async def test_sigterm_ends_it_soon_with_a_reply_to_running_calls_and_nothing_half_made(
    served: Served, token: str, sandbox: Sandbox, era: Era
) -> None:
    sandbox.media_bytes_per_second = SLOW
    served.start("--port", "0")
    await served.ready()
    health = served.url.replace("/mcp", "/health")
    async with httpx.AsyncClient(trust_env=False) as plain:
        assert (await plain.get(health)).status_code == 200
        async with served.connect(token, era) as client:
            await client.list_tools()  # which the client would ask for after the reply, to check it
            call = asyncio.create_task(client.call_tool("download_video", {"url": link("tiktok")}))
            await until(lambda: list(served.root.rglob("*.part")))
            assert served.process
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            await until(lambda: httpx.get(health, trust_env=False).status_code == 503, 2)
            refused = await plain.post(served.url, json={}, headers={"Authorization": f"Bearer {token}"})
            assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
            reply: CallToolResult = await call
            code = await asyncio.to_thread(served.process.wait, 20)
    assert time.monotonic() - began < patience(4)
    assert code == 0
    assert reply.structured_content["status"] == "pending"
    assert not list(served.root.rglob("*.part"))
    assert len(list((served.root / "people" / "alice" / "raw").glob("raw_*.json"))) == 1  # it was paid for


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_an_idle_server_ends_at_once(served: Served, token: str, number: str) -> None:
    served.start("--port", "0")
    await served.ready()
    async with served.connect(token, "legacy") as client:  # a session, with its open stream, holds nothing up
        await client.list_tools()
        assert served.process
        began = time.monotonic()
        served.process.send_signal(getattr(signal, number))
        assert await asyncio.to_thread(served.process.wait, 20) == 0
        assert time.monotonic() - began < patience(1.5)


async def test_the_log_names_requests_and_holds_no_secret(served: Served, token: str) -> None:
    served.start("--port", "0")
    await served.ready()
    base = served.url.removesuffix("/mcp")
    async with served.connect(token) as client:
        reply = (await client.call_tool("download_video", {"url": link("tiktok")})).structured_content
        await client.call_tool("download_video", {"url": link("bad_key")})
    url = reply["file"]["url"]
    async with httpx.AsyncClient(trust_env=False) as plain:
        assert (await plain.get(url)).status_code == 200
        for path in (f"/mcp?token={token}", f"/{token}", f"/files/alice/{token}", f"/health?key={CANARY}"):
            await plain.get(base + path)
        await plain.get(f"{base}/mcp", headers={"Authorization": f"Bearer {token}x", "X-Evil": "a"})
        await plain.request(token.upper(), f"{base}/mcp")
    log = served.log.read_text()
    assert "127.0.0.1 alice POST /mcp 200" in log
    assert "127.0.0.1 - GET /files 200" in log
    assert "127.0.0.1 - GET /mcp 401" in log
    assert "/health" not in log
    signature = url.split("signature=")[1]
    key = content(served.root / ".serve" / "link.key")
    for secret in (token, token.upper(), CANARY, signature, key.hex(), "expires="):
        assert secret not in log


async def test_it_outlives_whoever_started_it(served: Served, token: str, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; print(subprocess.Popen([*sys.argv[1:], '--port', '0'], stdin=-3, stdout=-3, "
        f"stderr=open({str(served.log)!r}, 'w')).pid)"
    )
    command = [sys.executable, "-c", code, *MODULE, "serve"]
    made = await asyncio.to_thread(forked_run, command, env=served.environment, cwd="/")
    pid = int(made.stdout)
    try:
        await served.ready()
        await asyncio.sleep(1.5)  # longer than between two checks of the parent
        async with httpx.AsyncClient(trust_env=False) as plain:
            assert (await plain.get(served.url.replace("/mcp", "/health"))).status_code == 200
    finally:
        os.kill(pid, signal.SIGTERM)


async def test_a_token_can_be_added_while_it_runs_on_loopback(served: Served) -> None:
    served.start("--port", "0")
    await served.ready()
    assert "Nobody is let in yet: run `tikhub-mcp token add NAME`." in served.log.read_text()
    token = await asyncio.to_thread(Tokens(served.root).add, "alice")
    async with served.connect(token) as client:
        assert len((await client.list_tools()).tools) == 3
    assert json.loads(content(Tokens(served.root).path)).keys() == {"alice"}
