"""Clients as they are: what they make of a list, of an id, of a version; and the machines on which they start us."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client

from tests.support.mcp_session import CANARY, SLOW, TOOLS_LIST, Era, checked, content, listing, patience
from tests.support.stdio_client import (
    CLIENT,
    DISCOVERY,
    HANDSHAKE,
    MODULE,
    Caller,
    Environment,
    Wire,
    downloading,
    parts,
    wait,
)
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.server import instructions

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="variables, permissions and folders as POSIX has them"),
    pytest.mark.slow,
]

SIX = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}  # all that hosts hand on
LINKS = good_links(3)


@pytest.fixture
def environment(sandbox: Sandbox, home: Path) -> Environment:
    """Six variables and our own."""
    ours = {"TIKHUB_API_KEY": CANARY, "TIKHUB_BASE_URL": sandbox.base_url}
    theirs = {"LOGNAME": "someone", "PATH": os.defpath, "SHELL": "/bin/sh", "TERM": "xterm", "USER": "someone"}
    return {**ours, **theirs, "HOME": str(home)}


@pytest.fixture
def caller(wire: Wire) -> Caller:
    return Caller(wire, DISCOVERY)


def tools_work(wire: Wire) -> None:
    """All three of them, and they end well."""
    assert wire.ask(1, "tools/list")["tools"] == json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
    one = wire.call(2, "download_video", {"url": link("tiktok"), "output_dir": "clips"})
    assert Path(one["file"]["path"]).parent.name == "clips"
    assert len(content(one["file"]["path"])) == one["file"]["size_bytes"]
    assert wire.call(3, "batch_download", {"urls": LINKS})["succeeded"] == len(LINKS)
    assert wire.call(4, "summarize_raw", {})["rows"] == len(LINKS) + 1
    assert wire.end()[0] == 0
    assert wire.heard == []


# Arguments


LISTS: dict[str, Json] = {
    "JSON text": json.dumps(LINKS),
    "JSON text of many lines": json.dumps(LINKS, indent=2),
    "lines": "\n".join(LINKS),
    "lines of Windows": "\r\n\r\n".join(LINKS) + "\r\n",
    "one text": f"look: {' and '.join(LINKS)}!",
    "JSON text in a list": [json.dumps(LINKS)],
    "lines in a list": ["\n".join(LINKS)],
    "list": LINKS,
}


def test_a_list_of_links_is_understood_however_a_client_writes_it(caller: Caller, sandbox: Sandbox, root: Path) -> None:
    understood = {}
    for number, (name, urls) in enumerate(LISTS.items(), 1):
        reply = caller.call(number, "batch_download", {"urls": urls})
        understood[name] = [(item["url"], item["status"]) for item in reply["results"]]
    assert understood == {name: [(url, "ok") for url in LINKS] for name in LISTS}
    assert len(list((root / "videos").glob("*.mp4"))) == len(LINKS)
    assert sorted(asked.share_url for asked in sandbox.calls) == sorted(LINKS)
    assert caller.call(99, "batch_download", {"urls": LINKS[0]}).statuses == ["ok"]
    caller.end()


def test_numbers_and_switches_come_as_texts_lists_as_texts_and_what_is_left_out_as_null(
    caller: Caller, sandbox: Sandbox, root: Path
) -> None:
    texts = {"urls": json.dumps(LINKS), "max_workers": "3", "metrics_only": "true", "save_raw": "True"}
    reply = caller.call(1, "batch_download", {**texts, "urls_file": None, "output_dir": None, "max_api_calls": "2"})
    assert (reply["succeeded"], reply["cost"]["api_calls"], len(sandbox.calls)) == (2, 2, 2)
    assert not (root / "videos").exists()
    for number, formats in enumerate((["csv"], "csv", '["csv"]', "csv,", None), 2):
        table = caller.call(number, "summarize_raw", {"input": None, "formats": formats})
        assert (table["rows"], bool(table["json_path"])) == (2, formats is None)
    caller.end()


def test_a_call_may_leave_its_arguments_out(caller: Caller) -> None:
    assert caller.call(1, "download_video", {"url": link("tiktok"), "metrics_only": True})["status"] == "ok"
    params = {"name": "summarize_raw", "_meta": caller.meta} if caller.meta else {"name": "summarize_raw"}
    assert caller.wire.ask(2, "tools/call", params)["structuredContent"]["rows"] == 1
    caller.end()


# Ids and tokens

IDS: list[int | str] = [0, -1, 7, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30]
IDS += ["", "8", "-9", "01", "a-name", "3f1c2d4e-0b5a-4c6d-8e7f-9a0b1c2d3e4f", "名\u2028\x00'\"\\", "x" * 10_000]


def test_every_id_comes_back_as_it_was(caller: Caller) -> None:
    for number in IDS:
        params = {"_meta": caller.meta}
        caller.wire.send({"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": params})
        message = caller.wire.message()
        assert (message["id"], type(message["id"])) == (number, type(number))
        assert len(message["result"]["tools"]) == 3
    caller.end()


def test_a_call_is_cancelled_by_its_id_whatever_that_is(caller: Caller, sandbox: Sandbox, root: Path) -> None:
    sandbox.media_bytes_per_second = SLOW
    for number, url in zip(IDS, good_links(len(IDS)), strict=True):
        params = {"name": "download_video", "arguments": {"url": url}, "_meta": caller.meta}
        caller.wire.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        wait(lambda: downloading(root))
        caller.cancel(number)
        assert wait(lambda: not parts(root)) < patience(1)
    sandbox.media_bytes_per_second = 0
    reply = caller.call(1, "batch_download", {"urls": good_links(len(IDS))})
    assert (reply["succeeded"], reply["cost"]["api_calls"]) == (len(IDS), 0)
    caller.end()


def test_progress_increases_under_any_token_and_is_told_to_nobody_who_gave_none(
    caller: Caller, sandbox: Sandbox
) -> None:
    sandbox.media_bytes_per_second = 250_000  # a file takes 0.6 s
    none, *some = good_links(3)
    params = {"name": "download_video", "arguments": {"url": none}}
    said = caller.wire.ask(1, "tools/call", {**params, "_meta": caller.meta} if caller.meta else params)
    assert said["structuredContent"]["status"] == "ok"
    assert caller.wire.heard == []
    for token, url in zip((0, "a-token"), some, strict=True):
        meta = {**caller.meta, "progressToken": token}
        assert caller.wire.call(2, "download_video", {"url": url}, meta)["status"] == "ok"
        assert caller.wire.heard
        heard = [message["params"] for message in caller.wire.heard]
        assert {message["method"] for message in caller.wire.heard} == {"notifications/progress"}
        assert {params["progressToken"] for params in heard} == {token}
        assert [params["progress"] for params in heard] == sorted({params["progress"] for params in heard})
        assert all(params["progress"] <= params["total"] for params in heard)
        caller.wire.heard.clear()
    caller.end()


# Versions


def hello(wire: Wire, version: str) -> str:
    """Shake hands as a client of that version; the version that is agreed on."""
    agreed: str = wire.ask(0, "initialize", {**HANDSHAKE, "protocolVersion": version})["protocolVersion"]
    wire.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return agreed


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18"])
def test_a_client_of_an_older_version_is_answered_in_it_and_its_tools_work(wire: Wire, version: str) -> None:
    assert hello(wire, version) == version
    tools_work(wire)


def test_a_client_that_shakes_hands_in_a_version_without_handshakes_is_offered_the_last_with_one(wire: Wire) -> None:
    assert hello(wire, "2026-07-28") == "2025-11-25"
    assert wire.call(1, "download_video", {"url": link("tiktok")})["status"] == "ok"


def test_a_client_of_the_modern_era_begins_with_whatever_it_likes_and_hears_which_versions_there_are(
    wire: Wire, sandbox: Sandbox
) -> None:
    assert wire.call(0, "download_video", {"url": link("tiktok")}, DISCOVERY)["status"] == "ok"
    greeting = wire.ask(1, "server/discover", {"_meta": DISCOVERY})
    assert "2026-07-28" in greeting["supportedVersions"]
    assert greeting["instructions"] == instructions(3600)
    assert len(wire.ask(2, "tools/list", {"_meta": DISCOVERY})["tools"]) == 3
    later = {**DISCOVERY, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    for number, (method, params) in enumerate(
        [("server/discover", {}), ("tools/call", {"name": "download_video", "arguments": {"url": link("douyin")}})], 3
    ):
        refused = wire.ask(number, method, {**params, "_meta": later})
        assert refused["code"] == -32022
        assert "2026-07-28" in refused["data"]["supported"]
    assert len(sandbox.calls) == 1
    anonymous = {key: value for key, value in DISCOVERY.items() if value != CLIENT}
    assert wire.call(5, "download_video", {"url": link("tiktok")}, anonymous)["status"] == "ok"
    assert wire.end()[0] == 0
    assert wire.heard == []


# Variables


@pytest.mark.anyio
async def test_the_six_variables_that_a_host_hands_on_are_enough(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, era: Era, root: Path, tmp_path: Path
) -> None:
    ours = {name: value for name, value in environment.items() if name.startswith("TIKHUB_")}
    for name in SIX:
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / "elsewhere"))  # a host keeps its own to itself
    assert set(get_default_environment()) == environment.keys() - ours.keys() == SIX
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as errors:
        server = StdioServerParameters(command=MODULE[0], args=MODULE[1:], env=ours, cwd="/")
        async with Client(stdio_client(server, errors), mode=era) as client:
            assert len((await client.list_tools()).tools) == 3
            result = await client.call_tool("batch_download", {"urls": json.dumps(LINKS)})
            reply = checked("batch_download", result)
            assert reply.statuses == ["ok"] * len(LINKS)
            assert {Path(item["path"]).parent for item in reply["results"]} == {root / "videos"}
            assert checked("summarize_raw", await client.call_tool("summarize_raw", {}))["rows"] == len(LINKS)
    assert log.read_text(encoding="utf-8") == ""


# Homes and folders


def works(command: list[str], **variables: str) -> bool:
    """Whether a command can be run here."""
    found = shutil.which(command[0]) is not None
    return found and subprocess.run(command, capture_output=True, check=False, env=variables or None).returncode == 0


def by_permission(home: Path) -> list[str]:
    """Permissions bind root as well, once it may not override them."""
    prefix = [] if os.geteuid() else ["setpriv", "--bounding-set", "-dac_override"]
    if prefix and not works([*prefix, "true"]):
        pytest.skip("root cannot be bound by permissions here")
    home.chmod(0o555)
    return [*prefix, *MODULE]


def by_mount(home: Path) -> list[str]:
    """A file system that is mounted for reading only, where nobody but the server sees it."""
    mounting = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = ["unshare", "--mount" if os.geteuid() == 0 else "-rm", "/bin/sh", "-c", mounting, str(home)]
    if not works([*prefix, "true"]):
        pytest.skip("nothing can be mounted here")
    return [*prefix, *MODULE]


@pytest.fixture
def reading_only(request: pytest.FixtureRequest, home: Path) -> Iterator[list[str]]:
    """The command of a server that cannot write to its home."""
    lock: Callable[[Path], list[str]] = getattr(request, "param", by_permission)
    yield lock(home)
    home.chmod(0o755)


@pytest.mark.parametrize(
    ("reading_only", "below"),
    [(by_permission, ""), (by_mount, "not there")],
    ids=["home by permission", "missing home by mount"],
    indirect=["reading_only"],
)
def test_a_home_that_can_only_be_read_is_an_error_of_each_call_that_writes_before_anything_is_paid(
    environment: Environment, tmp_path: Path, home: Path, sandbox: Sandbox, reading_only: list[str], below: str
) -> None:
    environment["HOME"] = str(home / below)
    with Wire(environment, tmp_path / "log", reading_only, subprocess.Popen) as wire:
        wire.shake_hands()
        assert len(wire.ask(1, "tools/list")["tools"]) == 3
        one = wire.call(2, "download_video", {"url": link("tiktok")})
        assert (one.is_error, one["status"], one.code) == (True, "failed", "not_writable")
        assert str(home) in one.message
        many = wire.call(3, "batch_download", {"urls": LINKS})
        assert [item["error"]["code"] for item in many["results"]] == ["not_writable"] * len(LINKS)
        assert wire.call(4, "batch_download", {"urls": LINKS, "dry_run": True})["calls_needed"] == len(LINKS)
        assert wire.call(5, "summarize_raw", {}).code == "invalid_input"  # nothing was saved that it could read
        assert not sandbox.calls
        numbers = {"url": link("tiktok"), "metrics_only": True, "save_raw": False}
        assert wire.call(6, "download_video", numbers)["metrics"]["likes"] > 0
        saved = wire.call(7, "download_video", {"url": link("tiktok"), "output_dir": str(tmp_path), "save_raw": False})
        assert (saved["status"], saved["cost"]["api_calls"]) == ("ok", 0)
        assert wire.end()[0] == 0
        assert wire.heard == []
    assert listing(home) == []


def test_a_home_that_can_only_be_read_does_not_matter_where_files_go_elsewhere(
    environment: Environment, tmp_path: Path, home: Path, reading_only: list[str]
) -> None:
    environment["TIKHUB_OUTPUT_DIR"] = str(tmp_path / "elsewhere")
    with Wire(environment, tmp_path / "log", reading_only, subprocess.Popen) as wire:
        wire.shake_hands()
        tools_work(wire)
    assert listing(home) == []
    assert (tmp_path / "log").read_text(encoding="utf-8") == ""


def test_a_home_that_is_not_there_is_made_with_the_first_file(environment: Environment, wire: Wire, home: Path) -> None:
    home.rmdir()
    wire.shake_hands()
    assert wire.call(1, "download_video", {"url": "no link"}).code == "unsupported_link"
    assert not home.exists()
    reply = wire.call(2, "download_video", {"url": link("tiktok")})
    assert Path(reply["file"]["path"]).is_relative_to(home)
    assert wire.end()[0] == 0


STRANGER = "54321"  # a user whom no list of users has
AS_STRANGER = ["setpriv", "--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]
AS_STRANGER += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]  # Python may be in root's home


@pytest.fixture
def homeless() -> list[str]:
    """The command of a server for whom there is no home, once the variable is gone."""
    asked = [*AS_STRANGER, MODULE[0], "-c", "from pathlib import Path; Path.home()"]
    if not works([*AS_STRANGER, "true"]) or works(asked, PATH=os.defpath):
        pytest.skip("there is a home for everybody here")
    return [*AS_STRANGER, *MODULE]


def test_without_a_home_each_call_says_which_variable_to_set(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, homeless: list[str]
) -> None:
    del environment["HOME"]
    with Wire(environment, tmp_path / "log", homeless, subprocess.Popen) as wire:
        wire.shake_hands()
        assert len(wire.ask(1, "tools/list")["tools"]) == 3
        calls: list[tuple[str, Json]] = [("download_video", {"url": LINKS[0]}), ("batch_download", {"urls": LINKS})]
        for number, (tool, arguments) in enumerate([*calls, ("summarize_raw", {})], 2):
            reply = wire.call(number, tool, arguments)
            assert (reply.is_error, reply.code) == (True, "invalid_input")
            assert "TIKHUB_OUTPUT_DIR" in reply.message
        assert wire.end()[0] == 0
        assert wire.heard == []
    assert not sandbox.calls


def test_without_a_home_all_works_where_files_go_elsewhere(
    environment: Environment, tmp_path: Path, homeless: list[str]
) -> None:
    del environment["HOME"]
    with TemporaryDirectory() as elsewhere:
        Path(elsewhere).chmod(0o777)  # while pytest's own folders are root's alone
        environment["TIKHUB_OUTPUT_DIR"] = elsewhere
        with Wire(environment, tmp_path / "log", homeless, subprocess.Popen) as wire:
            wire.shake_hands()
            assert wire.call(9, "download_video", {"url": LINKS[0], "output_dir": "~/clips"}).code == "path_not_allowed"
            tools_work(wire)
    assert (tmp_path / "log").read_text(encoding="utf-8") == ""


def test_a_current_directory_that_was_deleted_does_not_matter(
    environment: Environment, tmp_path: Path, root: Path
) -> None:
    (tmp_path / "here").mkdir()
    leaving = (
        "import os, sys\n"
        "from tikhub_mcp.__main__ import main\n"
        "os.chdir(sys.argv[1])\n"
        "os.rmdir(sys.argv.pop())\n"
        "main()\n"
    )
    with Wire(environment, tmp_path / "log", [MODULE[0], "-c", leaving, str(tmp_path / "here")]) as wire:
        wire.shake_hands()
        tools_work(wire)
    assert (tmp_path / "log").read_text(encoding="utf-8") == ""
    assert not (tmp_path / "here").exists()
    assert len(list((root / "videos").glob("*.mp4"))) == len(LINKS)
