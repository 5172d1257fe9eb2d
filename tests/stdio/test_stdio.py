"""The server as hosts start it: a process in `/` with few variables, asked over its pipes, in both protocol eras."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mcp_session import CANARY, TOOLS_LIST, checked, content, listing, patience
from tests.support.stdio_client import Connect, Environment, Wire, parts
from tikhub_mcp import server as server_module
from tikhub_mcp.sandbox import Sandbox, good_links, link

pytestmark = pytest.mark.slow

SCRIPT = [str(Path(sys.executable).with_name("tikhub-mcp"))]


@pytest.mark.anyio
async def test_a_client_gets_its_videos_and_tables(
    connect: Connect, environment: Environment, root: Path, sandbox: Sandbox
) -> None:
    async with connect(environment) as client:
        tools = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)["tools"]
        assert tools == json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
        assert client.instructions == server_module.instructions(3600)
        one = checked("download_video", await client.call_tool("download_video", {"url": link("tiktok")}))
        assert Path(one["file"]["path"]).parent == root / "videos"
        assert len(content(one["file"]["path"])) == one["file"]["size_bytes"]
        many = {"urls": [*good_links(3), link("photos"), "no link"]}
        batch = checked("batch_download", await client.call_tool("batch_download", many))
        assert batch.statuses == ["ok", "ok", "ok", "ok", "failed"]
        table = checked("summarize_raw", await client.call_tool("summarize_raw", {}))
        assert (table["rows"], table["broken"]) == (5, 0)
        refused = checked("download_video", await client.call_tool("download_video", {"url": link("bad_key"), "x": 1}))
        assert refused.code == "invalid_input"
    assert {call.authorization for call in sandbox.calls} == {f"Bearer {CANARY}"}
    assert not parts(root)


def test_a_client_without_a_key_is_told_to_stop(
    environment: Environment, tmp_path: Path, root: Path, sandbox: Sandbox
) -> None:
    environment["TIKHUB_API_KEY"] = "YOUR_API_KEY"
    with Wire(environment, tmp_path / "log") as wire:
        wire.shake_hands()
        calls = (("download_video", {"url": link("tiktok")}), ("batch_download", {"dry_run": True}))
        for number, (tool, arguments) in enumerate(calls, 1):
            reply = wire.call(number, tool, arguments)
            assert (reply.is_error, reply.code, reply["error"]["stop"]) == (True, "api_key_missing", True)
            assert reply.message.startswith("Stop this task now")
    assert "Downloads" not in listing(root.parents[1])
    assert not sandbox.calls


def test_the_first_message_may_be_a_handshake_with_the_console_script(environment: Environment, tmp_path: Path) -> None:
    with Wire(environment, tmp_path / "log", SCRIPT, subprocess.Popen) as wire:
        hello = wire.shake_hands()
        assert hello["protocolVersion"] == "2025-11-25"
        assert hello["serverInfo"]["name"] == "tikhub-mcp"
        assert hello["capabilities"].keys() == {"resources", "tools"}
        assert hello["capabilities"]["tools"] == {"listChanged": False}
        assert hello["instructions"] == server_module.instructions(3600)
        assert len(wire.ask(1, "tools/list")["tools"]) == 3
        assert wire.call(2, "download_video", {"url": link("tiktok")})["status"] == "ok"
        code, seconds = wire.end()
        assert (code, wire.heard) == (0, [])
        assert seconds < patience(2)


def line(tool: str, arguments: str) -> bytes:
    """A call, its arguments as they are to stand on the wire."""
    params = f'{{"name": "{tool}", "arguments": {arguments}}}'
    return f'{{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {params}}}'.encode()


NO_MESSAGES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00 no UTF-8",
    b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
    b'{"jsonrpc":"2.0","method":"no/such/notification"}',
    b'{"jsonrpc":"2.0","id":91,"result":{}}',
    line("download_video", "[" * 5_000 + "]" * 5_000),
    line("batch_download", '{"max_workers": NaN}'),
    line("download_video", '["a"]'),
    b'{"jsonrpc":"2.0","id":96,"method":"tools/call"}',
    b"x" * 5_000_000,
]
SILENT = 1  # of them: the response to nothing


def test_nothing_that_is_sent_ends_it(wire: Wire) -> None:
    assert wire.ask("early", "tools/call", {"name": "download_video", "arguments": {}})["code"] == -32602
    wire.shake_hands()
    for message in NO_MESSAGES:
        wire.send(message)
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
    assert ["result" in message or "error" in message for message in wire.heard] == [True] * (len(NO_MESSAGES) - SILENT)


HALF = "\\ud83d"  # of an emoji, as JavaScript's JSON.stringify writes it
ONLY_PYTHON_READS = {
    line("download_video", f'{{"url": "{HALF} {link("tiktok")}"}}'): '"status": "ok"',
    line("download_video", f'{{"url": "{HALF}"}}'): "unsupported_link",
    line("download_video", f'{{"url": "x", "{HALF}": 1}}'): "is no argument of this tool",
    line("download_video", f'{{"url": "{link("tiktok")}", "output_dir": "/{HALF}"}}'): "path_not_allowed",
    line("batch_download", f'{{"urls": ["x"], "max_workers": {"9" * 5000}}}'): "max_workers must be a whole number",
    line(HALF, "{}"): "Unknown tool",
}


def test_a_call_that_only_python_can_read_is_done_or_refused_in_our_own_words(wire: Wire) -> None:
    wire.shake_hands()
    for message, words in ONLY_PYTHON_READS.items():
        wire.send(message)
        assert words in json.dumps(wire.answer(7))


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
