"""The bundle for Claude Desktop: what is in it, and that it starts as its manifest says."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from bundle import build
from tests.hosts.node import SCRIPTS, Node
from tests.support.mcp_session import KEY, TOOLS_LIST
from tikhub_mcp import __version__
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.settings import environment as settings_environment

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # the first run on a machine installs

MANIFEST = json.loads((build.ROOT / "bundle" / "manifest.json").read_text(encoding="utf-8"))
TOOLS = json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
# What a host makes of the manifest, by the library that hosts use; null where it would not start the server.
CONFIGURED = """
const { getMcpConfigForManifest } = require("@anthropic-ai/mcpb");
const [manifest, extensionPath, home, userConfig] = args;
getMcpConfigForManifest({
  manifest: JSON.parse(manifest), extensionPath, systemDirs: { HOME: home }, userConfig: JSON.parse(userConfig),
  pathSeparator: "/",
}).then((config) => console.log(JSON.stringify(config ?? null)));
"""


@pytest.fixture(scope="module")
def packed(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, made by the script; a manifest that does not fit its schema ends that."""
    folder = tmp_path_factory.mktemp("dist")
    script = [sys.executable, str(build.ROOT / "bundle" / "build.py"), "--out", str(folder)]
    environment = {**os.environ, "PATH": node.path}
    ran = subprocess.run(script, cwd="/", env=environment, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Manifest schema validation passes!" in ran.stdout
    return folder / f"tikhub-mcp-{__version__}.mcpb"


@pytest.fixture
def installed(node: Node, packed: Path, tmp_path: Path) -> Path:
    """The bundle unpacked, where nobody likes it to be."""
    folder = tmp_path / "Claude Extensions é" / "tikhub-mcp"
    ran = node.run("mcpb", "unpack", packed, folder, home=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def configured(node: Node, installed: Path, home: Path, given: Json) -> Json:
    manifest = (installed / "manifest.json").read_text(encoding="utf-8")
    return node.said(CONFIGURED, manifest, str(installed), str(home), json.dumps(given), home=home)


def server(config: Json, home: Path, sandbox: Sandbox) -> StdioServerParameters:
    """As a host starts it: few variables, and uv on PATH."""
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    environment = {"PATH": path, "HOME": str(home), "TIKHUB_BASE_URL": sandbox.base_url, **config["env"]}
    return StdioServerParameters(command=config["command"], args=config["args"], env=environment, cwd="/")


def test_the_manifest_tells_of_the_tools_in_the_servers_own_words() -> None:
    told = {tool["name"]: tool["description"] for tool in MANIFEST["tools"]}
    assert told == {tool["name"]: tool["description"].split("\n")[0] for tool in TOOLS}


def test_the_key_is_asked_for_and_kept_as_a_secret_and_every_setting_is_read() -> None:
    asked = MANIFEST["user_config"]
    assert (asked["api_key"]["sensitive"], asked["api_key"]["required"]) == (True, True)
    assert asked["output_dir"]["default"] == settings_environment.DEFAULT_ROOT.replace("~", "${HOME}")
    env = MANIFEST["server"]["mcp_config"]["env"]
    assert env == {"TIKHUB_API_KEY": "${user_config.api_key}", "TIKHUB_OUTPUT_DIR": "${user_config.output_dir}"}


@pytest.mark.parametrize("where", ["SKILL.md", "tikhub_mcp/SKILL.md"])
def test_a_filled_in_key_is_never_packed_and_the_refusal_does_not_repeat_it(tmp_path: Path, where: str) -> None:
    root = tmp_path / "root"
    build.gather(root)
    (root / "bundle").mkdir()
    shutil.move(root / "manifest.json", root / "bundle")
    build.gather(tmp_path / "without", root)
    text = (root / "SKILL.md").read_text(encoding="utf-8")
    (root / where).write_text(f"{text}\n{KEY}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds an API key") as caught:
        build.gather(tmp_path / "with", root)
    assert KEY not in str(caught.value)
    assert not (tmp_path / "with").exists()


def test_the_bundle_holds_the_server_and_nothing_that_was_made_beside_it(packed: Path) -> None:
    with zipfile.ZipFile(packed) as bundle:
        names = set(bundle.namelist())
        assert json.loads(bundle.read("manifest.json")) == {**MANIFEST, "version": __version__}
        assert bundle.read("SKILL.md") == (build.ROOT / "SKILL.md").read_bytes()
    modules = {path.relative_to(build.ROOT).as_posix() for path in (build.ROOT / "tikhub_mcp").rglob("*.py")}
    assert {*build.FILES, "manifest.json", MANIFEST["server"]["entry_point"], *modules} <= names
    assert {name.split("/")[0] for name in names} == {*build.FILES, "manifest.json", "tikhub_mcp"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/." in name]


@pytest.mark.anyio
async def test_it_starts_from_any_folder_as_its_manifest_says_and_downloads(
    node: Node, installed: Path, uv: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    out = tmp_path / "Vidéos de l'été"
    config = configured(node, installed, uv, {"api_key": KEY, "output_dir": str(out)})
    assert config["args"][:3] == ["run", "--directory", str(installed)]
    async with Client(server(config, uv, sandbox)) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [tool["name"] for tool in TOOLS]
        reply = (await client.call_tool("download_video", {"url": link("tiktok")})).structured_content
        assert reply is not None
        assert Path(reply["file"]["path"]).parent == out / "videos"
        table = await client.call_tool("summarize_raw", {"formats": ["csv", "xlsx"]})
        assert not table.is_error  # the extra that makes the workbook is there
    assert [call.authorization for call in sandbox.calls] == [f"Bearer {KEY}"]


@pytest.mark.anyio
async def test_a_host_that_asks_for_no_key_and_starts_the_entry_point_by_itself_gets_a_server_that_refuses(
    node: Node, installed: Path, uv: Path, sandbox: Sandbox
) -> None:
    assert configured(node, installed, uv, {}) is None  # a host that reads `required` waits for the key
    said = {**MANIFEST["server"]["mcp_config"], "args": ["run", "--directory", str(installed)]}
    said["args"].append(MANIFEST["server"]["entry_point"])
    async with Client(server(said, uv, sandbox)) as client:
        reply = await client.call_tool("download_video", {"url": link("tiktok")})
    assert reply.structured_content is not None
    assert reply.structured_content["error"]["code"] == "api_key_missing"
    assert sandbox.calls == []
