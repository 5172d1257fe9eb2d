"""The server as hosts start it: a process in `/` with few variables, asked over its pipes, in both protocol eras."""

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.mcp_session import CANARY, SLOW, TOOLS_LIST, Era, checked, content, listing, patience, until
from tests.support.stdio_client import DISCOVERY, MODULE, Environment, Wire, parts, wait
from tikhub_mcp import server as server_module
from tikhub_mcp.sandbox import Sandbox, good_links, link

SCRIPT = [str(Path(sys.executable).with_name("tikhub-mcp"))]
Connect = Callable[[Environment], AbstractAsyncContextManager[Client]]


@pytest.fixture
def connect(era: Era, tmp_path: Path) -> Iterator[Connect]:
    """The SDK's client, on a server that it starts itself; its log never holds the key."""
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as errors:

        def start(environment: Environment) -> AbstractAsyncContextManager[Client]:
            server = StdioServerParameters(command=MODULE[0], args=MODULE[1:], env=environment, cwd="/")
            return Client(stdio_client(server, errors), mode=era)

        yield start
    assert CANARY not in log.read_text(encoding="utf-8")


@pytest.mark.anyio
async def test_a_client_gets_its_videos_and_tables(
    connect: Connect, environment: Environment, root: Path, sandbox: Sandbox
) -> None:
    async with connect(environment) as client:
        tools = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)["tools"]
        assert tools == json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
        assert client.instructions == server_module.INSTRUCTIONS
        one = checked("download_video", await client.call_tool("download_video", {"url": link("tiktok")}))
        assert Path(one["file"]["path"]).parent == root / "videos"
        assert len(content(one["file"]["path"])) == one["file"]["size_bytes"]
        many = {"urls": [*good_links(3), link("photos"), "no link"]}
        batch = checked("batch_download", await client.call_tool("batch_download", many))
        assert batch.statuses == ["ok", "ok", "ok", "failed", "failed"]
        table = checked("summarize_raw", await client.call_tool("summarize_raw", {}))
        assert (table["rows"], table["broken"]) == (5, 0)
        refused = checked("download_video", await client.call_tool("download_video", {"url": link("bad_key"), "x": 1}))
        assert refused.code == "invalid_input"
    assert {call.authorization for call in sandbox.calls} == {f"Bearer {CANARY}"}
    assert not parts(root)


@pytest.mark.anyio
async def test_a_client_that_gives_up_ends_the_work_and_asks_again_for_free(
    connect: Connect, environment: Environment, root: Path, sandbox: Sandbox
) -> None:
    sandbox.media_bytes_per_second = SLOW
    async with connect(environment) as client:
        arguments = {"urls": good_links(3)}
        call = asyncio.ensure_future(client.call_tool("batch_download", arguments))
        await until(lambda: len(parts(root)) == 3)
        call.cancel()
        began = time.monotonic()
        with suppress(asyncio.CancelledError):
            await call
        await until(lambda: not parts(root))
        assert time.monotonic() - began < patience(1)
        sandbox.media_bytes_per_second = 0
        reply = checked("batch_download", await client.call_tool("batch_download", arguments))
        assert (reply["succeeded"], reply["cost"]["api_calls"], len(sandbox.calls)) == (3, 0, 3)


@pytest.mark.anyio
async def test_a_client_without_a_key_is_told_to_stop(
    connect: Connect, environment: Environment, root: Path, sandbox: Sandbox
) -> None:
    environment["TIKHUB_API_KEY"] = "YOUR_API_KEY"
    async with connect(environment) as client:
        for tool, arguments in (("download_video", {"url": link("tiktok")}), ("batch_download", {"dry_run": True})):
            reply = checked(tool, await client.call_tool(tool, arguments))
            assert (reply.is_error, reply.code, reply["error"]["stop"]) == (True, "api_key_missing", True)
            assert reply.message.startswith("Stop this task now")
    assert "Downloads" not in listing(root.parents[1])
    assert not sandbox.calls


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "console script"])
def test_the_first_message_may_be_a_handshake(environment: Environment, tmp_path: Path, command: list[str]) -> None:
    with Wire(environment, tmp_path / "log", command) as wire:
        hello = wire.shake_hands()
        assert hello["protocolVersion"] == "2025-11-25"
        assert hello["serverInfo"]["name"] == "tikhub-mcp"
        assert hello["capabilities"]["tools"] == {"listChanged": False}
        assert hello["instructions"] == server_module.INSTRUCTIONS
        assert len(wire.ask(1, "tools/list")["tools"]) == 3
        assert wire.call(2, "download_video", {"url": link("tiktok")})["status"] == "ok"
        code, seconds = wire.end()
        assert (code, wire.heard) == (0, [])
        assert seconds < patience(2)


def test_the_first_message_may_be_a_discovery_and_so_may_a_call(wire: Wire) -> None:
    hello = wire.ask(1, "server/discover", {"_meta": DISCOVERY})
    assert "2026-07-28" in hello["supportedVersions"]
    assert hello["instructions"] == server_module.INSTRUCTIONS
    assert wire.call(2, "download_video", {"url": link("private")}, DISCOVERY).code == "post_unavailable"
    assert wire.end()[0] == 0
    assert wire.heard == []


def test_progress_goes_out_only_where_it_was_asked_for_and_never_after_the_result(wire: Wire, sandbox: Sandbox) -> None:
    sandbox.media_bytes_per_second = 250_000
    wire.shake_hands()
    wire.call(1, "download_video", {"url": link("tiktok")})
    assert wire.heard == []
    first, second = good_links(2)
    wire.call(2, "batch_download", {"urls": [first]}, {"progressToken": "a-token"})
    heard = [message["params"] for message in wire.heard]
    assert heard
    assert {message["method"] for message in wire.heard} == {"notifications/progress"}
    assert {params["progressToken"] for params in heard} == {"a-token"}
    assert [params["progress"] for params in heard] == sorted({params["progress"] for params in heard})
    assert all(math.isfinite(params["progress"]) and params["progress"] <= params["total"] for params in heard)
    wire.heard.clear()
    wire.call(3, "batch_download", {"urls": [second]})
    wire.end()
    assert wire.heard == []


def test_a_cancelled_request_gets_no_answer_and_leaves_no_part_file(wire: Wire, sandbox: Sandbox, root: Path) -> None:
    sandbox.media_bytes_per_second = SLOW
    wire.shake_hands()
    params = {"name": "download_video", "arguments": {"url": link("tiktok")}}
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    wait(lambda: [part for part in parts(root) if ".mp4." in part.name])
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    for number in (1, 1, 99):  # once, once more, and one that never was
        wire.send({**cancelled, "params": {"requestId": number}})
    assert wait(lambda: not parts(root)) < patience(1)
    sandbox.media_bytes_per_second = 0
    reply = wire.call(2, "download_video", {"url": link("tiktok")})
    assert (reply["status"], reply["cost"]["api_calls"]) == ("ok", 0)
    wire.end()
    assert wire.heard == []


NO_MESSAGES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe\x00 no UTF-8",
    b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":90,"method":5}',
    b'{"jsonrpc":"2.0","method":"no/such/notification"}',
    b'{"jsonrpc":"2.0","id":91,"result":{}}',
    b'{"jsonrpc":"2.0","id":92,"method":"tools/call","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"jsonrpc":"2.0","id":93,"method":"tools/call","params":{"name":"download_video","arguments":{"url":"\\ud800"}}}',
    b'{"jsonrpc":"2.0","id":94,"method":"tools/call","params":{"name":"batch_download","arguments":{"max_workers":NaN}}}',
    b'{"jsonrpc":"2.0","id":95,"method":"tools/call","params":{"name":"download_video","arguments":["a"]}}',
    b'{"jsonrpc":"2.0","id":96,"method":"tools/call"}',
    b"x" * 5_000_000,
]


def test_nothing_that_is_sent_ends_it(wire: Wire) -> None:
    assert wire.ask("early", "tools/call", {"name": "download_video", "arguments": {}})["code"] == -32602
    for line in NO_MESSAGES:
        wire.send(line)
    wire.shake_hands()
    for line in NO_MESSAGES:
        wire.send(line)
    assert wire.ask(1, "no/such/method")["code"] == -32601
    assert wire.ask(2, "tools/call", {"name": CANARY, "arguments": {}})["code"] == -32602
    reply = wire.call(3, "download_video", {"url": "x" * 5_000_000})
    assert reply.code == "unsupported_link"
    assert len(reply.text) < 4_000
    evil = "a\x00b\u202ec\u2028d\x1b[31me"
    assert wire.call(4, "download_video", {"url": evil, "output_dir": evil}).is_error
    assert wire.call(5, "summarize_raw", {evil: evil}).code == "invalid_input"
    assert wire.call(6, "download_video", {"url": link("tiktok")})["status"] == "ok"
    assert wire.end()[0] == 0
    assert all("result" in message or "error" in message for message in wire.heard)


@pytest.mark.parametrize("tool", ["download_video", "batch_download"])
def test_the_end_of_input_ends_it_during_downloads_and_leaves_no_part_file(
    wire: Wire, sandbox: Sandbox, root: Path, tool: str
) -> None:
    sandbox.media_bytes_per_second = SLOW
    wire.shake_hands()
    arguments = {"url": link("tiktok")} if tool == "download_video" else {"urls": good_links(20)}
    expected = 1 if tool == "download_video" else 10
    params = {"name": tool, "arguments": arguments}
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    wait(lambda: len([part for part in parts(root) if ".mp4." in part.name]) == expected)
    code, seconds = wire.end()
    assert code == 0
    assert seconds < patience(2)
    assert not parts(root)
    assert len(list((root / "raw").iterdir())) == len(sandbox.calls) == expected  # what was paid for is kept


def ran(code: str, environment: Environment) -> str:
    """What a Python with this code prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout


def test_the_server_loads_neither_the_sandbox_nor_what_only_the_command_line_needs(environment: Environment) -> None:
    # httpx loads rich for a command line of its own, where click is installed: that is kept from it here.
    code = "import sys; sys.modules['httpx._main'] = None; import tikhub_mcp.server; print(*sys.modules)"
    loaded = set(ran(code, environment).split())
    assert "tikhub_mcp.jobs.scheduler" in loaded
    assert not {"tikhub_mcp.cli.main", "tikhub_mcp.cli.demo", "tikhub_mcp.sandbox"} & loaded
    assert not {"rich.progress", "rich.table", "argparse", "typer"} & loaded


def test_the_server_can_be_loaded_by_its_path_as_mcp_run_does(environment: Environment) -> None:
    code = (
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('server_module', {server_module.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.mcp.name, callable(module.mcp.run))\n"
    )
    assert ran(code, environment).split() == ["tikhub-mcp", "True"]
