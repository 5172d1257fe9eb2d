"""`tikhub-mcp install` and `uninstall`, as people and scripts run them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.install.conftest import Run
from tikhub_mcp.cli.main import main
from tikhub_mcp.install.clients import CLIENTS, find_files

KEY = "a-key-that-nobody-may-see"
SCRIPT = str(Path(sys.executable).with_name("tikhub-mcp"))


def entry(path: Path, servers: str = "mcpServers") -> Any:  # noqa: ANN401 - any JSON
    return json.loads(path.read_bytes())[servers]["tikhub"]


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", CLIENTS)
def test_it_goes_in_and_out_again(run: Run, home: Path, name: str) -> None:
    [path] = find_files(name)
    ran = run("install", name, "--yes")
    assert (ran.code, ran.err, files(home)) == (0, "", [path])
    asked, written, _, last = ran.out.splitlines()
    assert asked.startswith(f'{path}: adds "tikhub"')
    assert (written, last.partition(" ")[0]) == (f"Written: {path}", "Next:")
    assert entry(path, CLIENTS[name].servers)["command"] == SCRIPT
    ran = run("install", name)
    assert (ran.code, "already" in ran.out, "adds" in ran.out) == (0, True, False)
    ran = run("uninstall", name)
    assert (ran.code, 'removes "tikhub"' in ran.out, "--yes" in ran.err) == (2, True, True)
    ran = run("uninstall", name, "--yes")
    [backup] = path.parent.glob(f"{path.name}.backup-*")
    assert (ran.code, f"As it was, keys included: {backup}" in ran.out) == (0, True)
    ran = run("uninstall", name, "--yes")
    assert (ran.code, "nothing to take out" in ran.out, ran.out.count("\n")) == (0, True, 1)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_client_that_is_not_there_is_said_to_be_missing_and_nothing_is_created(
    run: Run, home: Path, command: str
) -> None:
    (home / ".cursor").rmdir()
    ran = run(command, "cursor", "--yes")
    assert (ran.code, ran.out, files(home), (home / ".cursor").exists()) == (2, "", [], False)
    assert ran.err.startswith(f"error: invalid_input: Cursor was not found: there is no folder {home / '.cursor'}.")


def test_both_editions_of_vs_code_get_the_entry(run: Run, home: Path) -> None:
    (home / ".config/Code - Insiders/User").mkdir(parents=True)
    assert run("install", "vscode", "--yes").code == 0
    assert [entry(path, "servers")["command"] for path in files(home)] == [SCRIPT] * 2


def test_a_project_gets_its_folder_for_settings(run: Run, home: Path) -> None:
    assert run("install", "vscode", "--project", ".", "--yes").code == 0
    assert files(home) == [home / ".vscode" / "mcp.json"]


def test_without_a_terminal_and_without_yes_nothing_is_written(run: Run, home: Path) -> None:
    ran = run("install", "cursor")
    assert (ran.code, files(home), 'adds "tikhub"' in ran.out, "--yes" in ran.err) == (2, [], True, True)


def test_the_key_goes_in_only_where_that_is_said(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("install", "cursor", "--with-key", "--yes")
    assert (ran.code, files(home), ran.err.partition(": ")[2][:15]) == (3, [], "api_key_missing")
    monkeypatch.setenv("TIKHUB_API_KEY", f"Bearer {KEY}")
    [path] = find_files("cursor")
    assert run("install", "cursor", "--yes").code == 0
    assert "env" not in entry(path)
    ran = run("install", "cursor", "--with-key", "--yes")
    assert (ran.code, KEY in ran.out + ran.err, entry(path)["env"]) == (0, False, {"TIKHUB_API_KEY": KEY})
    path.write_text("// mine")
    ran = run("install", "cursor", "--with-key", "--yes")
    assert (ran.code, KEY in ran.out + ran.err) == (2, False)


@pytest.mark.parametrize(
    "arguments",
    ["install", "install notepad", "install cursor --file x --project y", "uninstall cursor --with-key"],
)
def test_wrong_usage_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: tikhub-mcp")


@pytest.mark.parametrize("path", ["/proc/mcp.json", "no/such/mcp.json"])
def test_what_cannot_be_written_is_said_in_a_sentence(run: Run, path: str) -> None:
    ran = run("install", "cursor", "--file", path, "--yes")
    assert (ran.code, ran.err.startswith("error: not_writable: "), ran.err.count("\n")) == (1, True, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "answers", "code", "env"),
    [
        ("cursor", [f'Bearer "{KEY}"', "Yes"], 0, {"TIKHUB_API_KEY": KEY}),
        ("cursor", ["\x04", "y"], 0, None),
        ("cursor", ["", "\x04"], 2, None),
        ("cursor", ["YOUR_API_KEY"], 2, None),
        ("claude-code --project .", ["y"], 0, None),
    ],
)
def test_on_a_terminal_it_asks_for_a_missing_key_and_before_it_writes(
    home: Path, arguments: str, answers: list[str], code: int, env: object
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tikhub_mcp", "install", *arguments.split()]
    # A session without a controlling terminal, so that the key is read from this one.
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown = b""
        prompts = [b"(hidden; empty: none): "] * (arguments == "cursor") + [b"[y/N] "]
        for answer, prompt in zip(answers, prompts, strict=False):
            while prompt not in shown:
                shown += os.read(ours, 4096)
            assert not files(home)
            os.write(ours, f"{answer}\n".encode().replace(b"\x04\n", b"\x04"))  # Ctrl-D ends the input
        assert process.wait(timeout=30) == code
    shown += os.read(ours, 65536)
    os.close(ours)
    assert KEY.encode() not in shown
    written = [json.loads(path.read_bytes()) for path in files(home)]
    servers = [file["mcpServers"]["tikhub"] for file in written]
    assert [server.get("env") for server in servers] == [env] * (code == 0)


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_the_entry_says_starts_the_server(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", KEY)
    [path] = find_files("claude-code")
    assert run("install", "claude-code", "--with-key", "--yes").code == 0
    ours = entry(path)
    environment = {"HOME": str(home), "PATH": os.defpath, **ours["env"]}
    parameters = StdioServerParameters(command=ours["command"], args=[], env=environment, cwd=path.anchor)
    with (home / "log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(parameters, log)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools == ["download_video", "batch_download", "summarize_raw"]
