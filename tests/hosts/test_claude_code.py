"""Claude Code, with a stand-in for the model: what the model is shown of the tools' replies."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.node import Node
from tests.support.mcp_session import KEY, TOOLS_LIST
from tests.support.model_stub import DONE, Model
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.server import mcp

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # the first run on a machine installs

SHOWN_BYTES = 2048  # of a reply that is too long, and is kept in a file
KEPT = re.compile(r"<persisted-output>\n.* saved to: (.*)\n\nPreview.*:\n(.*)\n\.\.\.\n</persisted-output>")
HEAD = ["status", "error", "note", "total", "succeeded", "failed", "pending", "skipped", "failed_by_code", "cost"]
HEAD += ["workers", "output_dir", "raw_dir", "results_path"]
# What the app adds to a link that is shared; with it a hundred entries are too long for this client, whatever they say.
TRACKING = (
    "?_r=1&u_code=e0000000000000&preview_pb=0&sharer_language=en&_d=e0000000000000&share_item_id=7000000000000000000"
    "&source=h5_m&timestamp=1700000000&social_share_type=0&utm_source=copy&utm_campaign=client_share"
)

Ask = Callable[..., Model]


@pytest.fixture
def claude(node: Node) -> Path:
    """The program of this platform, which the package would put in place by a script of its own."""
    found = sorted(node.modules.glob("@anthropic-ai/claude-code-*/claude"))
    if not found:
        pytest.skip("npm has no Claude Code for this platform, or could not fetch it")
    return found[0]


@pytest.fixture
def ask(claude: Path, node: Node, sandbox: Sandbox, home: Path) -> Ask:
    """`ask((tool, arguments), …)`: the model, after a conversation in which it made these calls one after the other."""

    def run(*calls: tuple[str, Json], key: str = KEY, **settings: str) -> Model:
        given = {"TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(home / "out"), "TIKHUB_API_KEY": key}
        entry = {"command": sys.executable, "args": ["-I", "-m", "tikhub_mcp"], "env": given | settings}
        config = home / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"tikhub": entry}}), encoding="utf-8")
        options = ["--mcp-config", str(config), "--strict-mcp-config", "--allowedTools", "mcp__tikhub"]
        with Model(*calls) as model:
            environment = node.environment(home) | {
                "CLAUDE_CONFIG_DIR": str(home / "claude"),
                "ANTHROPIC_BASE_URL": model.base_url,
                "ANTHROPIC_API_KEY": "a-key-of-no-one",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_TELEMETRY": "1",
                "DISABLE_AUTOUPDATER": "1",
            }
            ran = subprocess.run(
                [claude, "-p", "Download these.", *options, "--output-format", "json"],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert json.loads(ran.stdout)["result"] == DONE
        assert len(model.shown) == len(calls)
        return model

    return run


def mine(name: str) -> str:
    """What this client calls a tool of the server."""
    return f"mcp__tikhub__{name}"


def test_the_model_is_shown_the_instructions_the_tools_a_video_and_why_another_one_cannot_be_had(
    ask: Ask, sandbox: Sandbox
) -> None:
    tools = json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
    names = ",".join(mine(tool["name"]) for tool in tools)
    model = ask(
        ("ToolSearch", {"query": f"select:{names}"}),  # only their names are shown until then
        (mine("download_video"), {"url": link("tiktok")}),
        (mine("download_video"), {"url": link("deleted")}),
    )
    assert str(mcp.instructions) in json.dumps(model.requests[0]["messages"], ensure_ascii=False).replace("\\n", "\n")
    listed = {tool["name"]: tool for tool in model.requests[-1]["tools"]}
    for tool in tools:
        shown = listed[mine(tool["name"])]
        assert (shown["description"], shown["input_schema"]) == (tool["description"], tool["inputSchema"])
    done, refused = map(json.loads, model.shown[1:])
    assert (done["status"], done["error"]) == ("ok", None)
    assert Path(done["file"]["path"]).stat().st_size == done["file"]["size_bytes"]
    assert refused["error"]["code"] == "post_unavailable"
    assert refused["error"]["message"].startswith("Do not retry:")
    assert len(sandbox.calls) == 2


def test_without_a_key_the_model_is_told_to_stop_and_nothing_is_sent(ask: Ask, sandbox: Sandbox, home: Path) -> None:
    [text] = ask((mine("download_video"), {"url": link("tiktok")}), key="").shown
    refused, _ = json.JSONDecoder().raw_decode(text)  # the client adds a hint about the tool's arguments
    assert refused["error"]["code"] == "api_key_missing"
    assert refused["error"]["message"].startswith("Stop this task now")
    assert (sandbox.calls, sandbox.media_requests) == ([], [])
    assert not (home / "out").exists()


def test_of_a_long_reply_the_model_is_shown_how_the_batch_stands_and_what_to_ask_again(ask: Ask) -> None:
    links = [f"{good}{TRACKING}" for good in good_links(298)]
    failing = [link("deleted"), "https://example.com/video/1"]
    batch = mine("batch_download")
    # Each gets some 50 of its posts within its time, so that the rest is to be asked again.
    calls = (batch, {"urls": [*failing, *links[:98]]}), (batch, {"urls": [*failing, *links[98:]]})
    hundred, two_hundred = ask(*calls, TIKHUB_CALL_SECONDS="5").shown
    kept = KEPT.fullmatch(hundred)
    assert kept, hundred
    whole = Path(kept[1]).read_text(encoding="utf-8")
    assert whole.startswith(kept[2])
    for text, preview in (whole, kept[2]), (two_hundred, two_hundred[:SHOWN_BYTES]):
        reply = json.loads(text)
        assert len(preview.encode()) <= SHOWN_BYTES
        head, _, rest = preview.partition(',"retry_urls":[')
        shown = json.loads(head + "}")
        assert list(shown)[: len(HEAD)] == HEAD
        assert shown == {name: reply[name] for name in shown}
        assert (shown["status"], shown["total"]) == ("partial", shown["succeeded"] + shown["pending"] + len(failing))
        assert shown["failed_by_code"] == {"post_unavailable": 1, "unsupported_link": 1}
        named = re.findall(r'"(https://[^"]*)"', rest)
        assert named == reply["retry_urls"][: len(named)]
        assert len(named) >= 3
