"""The Inspector, by its command and by its page."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bundle import build
from tests.hosts.node import HERE, SCRIPTS, WANTED, Node
from tests.support.mcp_session import KEY, TOOLS_LIST, patience
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.settings.environment import DEFAULT_BASE_URL

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # the first run on a machine installs

ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
TOOLS = json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
CALLS: dict[str, Json] = {
    "download_video": {"url": link("tiktok")},
    "batch_download": {"urls": good_links(3)},
    "summarize_raw": {},
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STARTED = re.compile(r"(http://127\.0\.0\.1:\d+\?MCP_INSPECTOR_API_TOKEN=\w+)")

Inspect = Callable[..., CompletedProcess[str]]


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    """What the Inspector calls it; without the option, its command speaks the older one."""
    found: str = request.param
    return found


@pytest.fixture
def inspect(node: Node, era: str, sandbox: Sandbox, home: Path) -> Inspect:
    """`inspect("tools/list", "--strict")`, of a server in that era against the sandbox; without a key for `key=""`."""

    def run(method: str, *options: str, key: str = KEY) -> CompletedProcess[str]:
        given = {"TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(home / "out"), "TIKHUB_API_KEY": key}
        variables = [word for name, value in given.items() if value for word in ("-e", f"{name}={value}")]
        asked = ["--protocol-era", era, "--format", "json", "--method", method, *options]
        return node.run("mcp-inspector", "--cli", *variables, *asked, sys.executable, "-m", "tikhub_mcp", home=home)

    return run


def call(tool: str) -> list[str]:
    return ["--tool-name", tool, "--tool-args-json", json.dumps(CALLS[tool])]


def result(ran: CompletedProcess[str]) -> Json:
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)["result"]


def test_it_speaks_the_protocol_of_the_era(inspect: Inspect, era: str) -> None:
    assert result(inspect("initialize"))["protocolVersion"] == ERAS[era]


def test_it_lists_the_tools_and_its_strict_look_finds_nothing(inspect: Inspect) -> None:
    ran = inspect("tools/list", "--strict")
    listed = {tool["name"]: tool["inputSchema"] for tool in result(ran)["tools"]}
    assert listed == {tool["name"]: tool["inputSchema"] for tool in TOOLS}
    assert "Issue:" not in ran.stderr
    assert "warning" not in ran.stderr.lower()


def test_it_calls_every_tool(inspect: Inspect) -> None:
    one = result(inspect("tools/call", *call("download_video")))["structuredContent"]
    assert Path(one["file"]["path"]).stat().st_size == one["file"]["size_bytes"]
    many = result(inspect("tools/call", *call("batch_download")))["structuredContent"]
    assert (many["status"], many["succeeded"]) == ("complete", 3)
    table = result(inspect("tools/call", *call("summarize_raw")))["structuredContent"]
    assert (table["status"], table["broken"]) == ("ok", 0)
    assert table["rows"] >= 3


def test_two_hundred_calls_ten_at_a_time_lose_none(inspect: Inspect, sandbox: Sandbox) -> None:
    for tool in ("download_video", "summarize_raw"):
        ran = inspect("tools/call", *call(tool), "--load", "--load-requests", "200", "--load-concurrency", "10")
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)["result"]
        assert (told["concurrency"], told["requests"], told["ok"]) == (10, 200, 200)
        assert (told["toolErrors"], told["errors"]) == (0, 0)
    assert len(sandbox.calls) == 1  # all of them are about one post, which is paid for once


@pytest.mark.parametrize("era", ["modern"], indirect=True)
def test_it_verifies_the_skill(inspect: Inspect) -> None:
    ran = inspect("skills/list", "--verify")
    assert ran.returncode == 0, ran.stderr
    assert "Verified 1 skill and 1 file: no conformance errors." in ran.stderr + ran.stdout


@pytest.mark.parametrize("era", ["modern"], indirect=True)
def test_a_batch_that_takes_long_is_a_task_that_it_waits_for(inspect: Inspect, sandbox: Sandbox) -> None:
    sandbox.media_bytes_per_second = 30_000  # a file takes 5 s
    reply = result(inspect("tools/call", *call("batch_download")))["structuredContent"]
    assert (reply["status"], reply["succeeded"]) == ("complete", 3)


def test_it_shows_the_refusal_without_a_key_as_the_failure_of_a_call(inspect: Inspect, sandbox: Sandbox) -> None:
    ran = inspect("tools/call", *call("download_video"), key="")
    assert ran.returncode == 5  # the tool's reply is an error
    assert json.loads(ran.stdout)["result"]["structuredContent"]["error"]["code"] == "api_key_missing"
    assert sandbox.calls == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def checkout(tmp_path: Path, node: Node, sandbox: Sandbox) -> Path:
    """A copy of this one in which npx finds the Inspector and the server takes the sandbox for TikHub.

    The Inspector hands none of the variables on that would say so, and uv would change the real one's `.venv`.
    """
    folder = tmp_path / "checkout"
    build.gather(folder)
    settings = folder / "tikhub_mcp" / "settings" / "environment.py"
    text = settings.read_text(encoding="utf-8")
    assert DEFAULT_BASE_URL in text
    settings.write_text(text.replace(DEFAULT_BASE_URL, sandbox.base_url), encoding="utf-8")
    (folder / "node_modules").symlink_to(node.modules)
    return folder


@pytest.fixture
def page(node: Node, uv: Path, checkout: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the page that `mcp dev tikhub_mcp/server.py` serves."""
    environment = node.environment(uv) | {
        "MCP_AUTO_OPEN_ENABLED": "false",
        "MCP_INSPECTOR_SECRET_STORE": "memory",
        "CLIENT_PORT": str(free_port()),
        "MCP_SANDBOX_PORT": str(free_port()),
    }
    command, log = [str(SCRIPTS / "mcp"), "dev", "tikhub_mcp/server.py"], tmp_path / "log"
    with log.open("w") as out:  # in a session of its own: with the Inspector and the server it is ended as one
        process = subprocess.Popen(
            command, cwd=checkout, env=environment, start_new_session=True, stdout=out, stderr=out
        )
    try:
        began = time.monotonic()
        while not (found := STARTED.search(log.read_text(encoding="utf-8"))):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() - began < patience(60), log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield found[1]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium, which shows the page, is not there")
def test_mcp_dev_opens_a_page_that_connects_lists_refuses_without_a_key_and_downloads_with_one(
    node: Node, page: str, checkout: Path, sandbox: Sandbox, uv: Path, tmp_path: Path
) -> None:
    told = [node.modules, CHROMIUM, page, link("tiktok"), checkout / "SKILL.md", KEY, tmp_path / "page.png"]
    ran = node.run("node", HERE / "page.cjs", *map(str, told), home=tmp_path, timeout=150)
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(ran.stdout)
    assert shown["tools"] == [tool["name"] for tool in TOOLS]
    assert "api_key_missing" in shown["refused"]
    assert str(checkout / "SKILL.md") in shown["refused"]
    assert '"status": "ok"' in shown["done"]
    [video] = (uv / "Downloads" / "tikhub_mcp" / "videos").iterdir()
    assert video.name in shown["done"]
    assert len(sandbox.calls) == 1
    pinned = json.loads(WANTED.read_text(encoding="utf-8"))["dependencies"]["@modelcontextprotocol/inspector"]
    assert shown["version"].startswith(f"v{pinned}\n")
