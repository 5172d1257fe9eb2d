"""The server as hosts start it: a process in `/` with few variables, asked over its pipes, in both protocol eras."""

import asyncio
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Self

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult

from tests import serving
from tests.serving import CANARY, SLOW, TOOLS_LIST, Era, checked, content, listing, patience, until
from tikhub_mcp import server as server_module
from tikhub_mcp.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link

era, sandbox = serving.era, serving.sandbox

MODULE = [sys.executable, "-m", "tikhub_mcp"]
SCRIPT = [str(Path(sys.executable).with_name("tikhub-mcp"))]
CLIENT = {"name": "a-client", "version": "1"}
DISCOVERY = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}

Environment = dict[str, str]
Connect = Callable[[Environment], AbstractAsyncContextManager[Client]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def root(home: Path) -> Path:
    """Where files go when nobody says otherwise."""
    return home / "Downloads" / "tikhub_mcp"


@pytest.fixture
def environment(sandbox: Sandbox, home: Path) -> Environment:
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    ours = {"TIKHUB_API_KEY": CANARY, "TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_LOG_LEVEL": "DEBUG"}
    return {**measured, **ours, "HOME": str(home), "PATH": os.defpath}


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


class Wire:
    """A server process, and the lines to and from it; each line that comes is held to the protocol."""

    def __init__(self, environment: Environment, log: Path, command: list[str] = MODULE) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd="/", env=environment
            )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.heard: list[Json] = []  # all messages but the answers asked for
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        assert CANARY not in self.log.read_text(encoding="utf-8")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def send(self, message: Json) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def ask(self, number: int | str, method: str, params: Json = None) -> Json:
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return self.answer(number)

    def answer(self, number: int | str) -> Json:
        while (message := self.message()).get("id") != number:
            self.heard.append(message)
        return message.get("result") or message["error"]

    def message(self) -> Json:
        return strict(self.lines.get(timeout=60))

    def call(self, number: int, tool: str, arguments: Json, meta: Json = None) -> serving.Reply:
        params = {"name": tool, "arguments": arguments, "_meta": meta or {}}
        return checked(tool, CallToolResult.model_validate(self.ask(number, "tools/call", params)))

    def shake_hands(self) -> Json:
        result = self.ask(0, "initialize", HANDSHAKE)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return result

    def end(self) -> tuple[int, float]:
        """Close its input; the exit code, and after how many seconds."""
        began = time.monotonic()
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=60)
        seconds = time.monotonic() - began
        self.reader.join()
        while not self.lines.empty():
            self.heard.append(self.message())
        return code, seconds


def strict(line: bytes) -> Json:
    """A line of standard output, which is JSON-RPC in valid UTF-8 with finite numbers."""

    def no_number(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert line.endswith(b"\n")
    message = json.loads(line.decode("utf-8"), parse_constant=no_number)
    assert message["jsonrpc"] == "2.0"
    assert "method" in message or {"result", "error"} & message.keys()
    return message


@pytest.fixture
def wire(environment: Environment, tmp_path: Path) -> Iterator[Wire]:
    with Wire(environment, tmp_path / "log") as running:
        yield running


def parts(root: Path) -> list[Path]:
    return list(root.rglob("*.part"))


def wait(condition: Callable[[], object], seconds: float = 30) -> float:
    """Wait for what has no event; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


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
    assert "tikhub_mcp.jobs" in loaded
    assert not {"tikhub_mcp.cli", "tikhub_mcp.demo", "tikhub_mcp.sandbox"} & loaded
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
