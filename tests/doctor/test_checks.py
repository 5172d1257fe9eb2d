"""doctor: what it finds on real folders and files, and that what it prints can be pasted anywhere."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.doctor.conftest import CANARY
from tests.support import forked
from tikhub_mcp.cli.main import main
from tikhub_mcp.doctor import checks, connectivity, findings
from tikhub_mcp.doctor.findings import Finding
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.settings.environment import NON_SECRET_VARIABLES, load_settings
from tikhub_mcp.settings.program import shell_command

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

DESKTOP = "home/.config/Claude/claude_desktop_config.json"
PASSWORD = "s3cr3t/p@ss"
ALWAYS = [
    "versions",
    "key",
    "clients",
    "settings",
    "videos",
    "photos",
    "raw",
    "reports",
    "disk",
    "proxy",
    "connection",
    "sandbox",
]


# The whole


def test_a_sound_installation_has_no_problem_and_nothing_is_left_or_sent_with_the_key(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temp"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "tikhub_mcp", "doctor"]
    ran = forked.run(command, env=environment, cwd=tmp_path, encoding="utf-8")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[1] for line in ran.stdout.splitlines() if line.startswith(("ok", "warn"))] == ALWAYS
    assert ran.stdout.endswith("\nProblems: 0. Warnings: 0.\n")
    assert "from TIKHUB_API_KEY: 22 characters" in ran.stdout
    assert re.search(r"server, protocol and one post in \d+\.\d s", ran.stdout)
    assert "~/out/videos (will be made when needed)" in ran.stdout
    for secret in (CANARY, str(tmp_path / "home")):
        assert secret not in ran.stdout
    assert [path.name for path in (*(tmp_path / "home").iterdir(), *(tmp_path / "temp").iterdir())] == []
    assert sandbox.calls == []


def test_a_round_trip_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call() -> str:
        return "failed"

    monkeypatch.setattr(checks, "_one_call", call)
    [found] = checks._round_trip()
    assert (found.state, found.found) == ("problem", "the call came back as failed")
    assert "tikhub-mcp demo" in found.advice


@pytest.mark.usefixtures("quick")
def test_json_holds_the_same_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@h.example:8080")
    monkeypatch.setenv("all_proxy", "me:p@ss@h.example:8080")
    monkeypatch.setenv("NO_PROXY", f"intranet.example, {PASSWORD}")
    assert main(["doctor", "--json", "--online"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert [finding["check"] for finding in found] == [*ALWAYS, "demo", "account"]
    assert {finding["state"] for finding in found} == {"ok"}
    assert {tuple(finding) for finding in found} == {("check", "state", "found", "advice")}
    assert "HTTPS_PROXY=<not shown; expected: http://HOST:PORT>" in text
    assert "all_proxy=h.example:8080" in text
    assert "NO_PROXY=<2 hosts>" in text
    for secret in (CANARY, "s3cr3t", "p@ss", "ss@", "intranet", os.environ["HOME"]):
        assert secret not in text
    assert [(call.path, call.authorization) for call in sandbox.calls] == [
        (path, f"Bearer {CANARY}") for path in (connectivity.DEMO_PATH, connectivity.ACCOUNT_PATH)
    ]


@pytest.mark.usefixtures("quick")
def test_a_problem_ends_with_1_and_a_warning_with_0(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIKHUB_APIKEY", "misplaced-canary")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "warning  settings" in said
    assert "-> Nothing reads TIKHUB_APIKEY: misspelt?" in said
    assert "misplaced-canary" not in said
    monkeypatch.setenv("TIKHUB_API_KEY", "YOUR_API_KEY")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("\nProblems: 1. Warnings: 1.\n")


@pytest.mark.usefixtures("quick")
def test_people_are_spoken_to_in_chinese_where_the_locale_says_so(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main(["doctor", "--online"]) == 0
    said = capsys.readouterr().out
    for line in ("正常     密钥         来自 TIKHUB_API_KEY：22 个字符", "余额 1.0", "问题：0。警告：0。"):
        assert line in said
    monkeypatch.setenv("TIKHUB_API_KEY", "YOUR_API_KEY")
    monkeypatch.setenv("TIKHUB_BASE_URL", "http://127.0.0.1:9")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    for part in ("问题     密钥         没有可用的密钥", "只是占位符", "请在 https://tikhub.io/ 申请", "不可达"):
        assert part in said


@pytest.mark.usefixtures("quick")
def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    def broken() -> Iterator[Finding]:
        raise ValueError(f"{CANARY} and a password")

    def many() -> Iterator[Finding]:
        raise ExceptionGroup("a password", [FileNotFoundError(2, f"{CANARY}", "a password")])

    monkeypatch.setattr(checks, "_versions", broken)
    monkeypatch.setattr(checks, "_clients", many)
    found = {finding.check: finding for finding in checks.examine(online=False)}
    assert [found[name].state for name in ("versions", "clients", "sandbox")] == ["problem", "problem", "ok"]
    assert re.fullmatch(r"this check broke off: ValueError \(test_checks\.py:\d+\)", found["versions"].found)
    assert found["clients"].found == "this check broke off: FileNotFoundError: No such file or directory"


@pytest.mark.usefixtures("quick")
def test_without_a_home_nothing_breaks(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    def home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", home)
    assert {found.state for found in checks.examine(online=False)} == {"ok"}


# This machine


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "xlsxwriter":
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(checks, "version", version)
    [found] = checks._versions()
    assert found.found.endswith("msgspec 1.0, xlsxwriter is not installed, vl-convert-python 1.0")


@pytest.mark.parametrize(
    ("locale", "key", "reason"),
    [
        ("C", "", "nothing there"),
        ("C", "YOUR_API_KEY", "holds a placeholder"),
        ("C", f"{CANARY} {CANARY}", "contains white space, control or non-ASCII characters"),
        ("C", CANARY[:11], "is too short for a key"),
        ("zh_CN", CANARY * 100, "太长，不可能是密钥"),
    ],
)
def test_a_key_that_is_none_is_a_problem_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, locale: str, key: str, reason: str
) -> None:
    monkeypatch.setenv("LANG", locale)
    monkeypatch.setenv("TIKHUB_API_KEY", key)
    [found] = checks._key()
    assert found.state == "problem"
    package = str(tmp_path / "package" / "SKILL.md")
    assert f"TIKHUB_API_KEY ({reason}), {package} (" in found.found
    assert CANARY not in str(found)
    assert package in found.advice


def test_where_the_key_comes_from_is_said_and_where_another_one_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    skill = tmp_path / "home" / "SKILL.md"
    monkeypatch.setenv("TIKHUB_SKILL_FILE", "~/SKILL.md")
    monkeypatch.setenv("TIKHUB_API_KEY", "<your-key>")
    for path in (skill, tmp_path / "package" / "SKILL.md"):
        path.write_text(f"## API_KEY\n{CANARY}\n")
    [found] = map(findings.redact_finding, checks._key())
    assert found.state == "ok"
    assert found.found.startswith("from ~/SKILL.md: 22 characters; looked at: TIKHUB_API_KEY (holds a placeholder)")
    assert "~/SKILL.md (used)" in found.found
    assert "package/SKILL.md (a key too, not used)" in found.found


@pytest.mark.parametrize(
    ("name", "value", "says", "shown"),
    [
        ("BASE_URL", f"https://me:{PASSWORD}@api.example", "must look like", "<not shown; expected: https://HOST>"),
        ("OUTPUT_DIR", "/s3cr3t/${workspaceFolder}", "holds a placeholder", "<not expanded>"),
        ("CALL_SECONDS", "${env:SECONDS}", "holds a placeholder", "<not expanded>"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_settings_that_cannot_be_used_are_a_problem_and_what_needs_them_is_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str, shown: str
) -> None:
    monkeypatch.setenv(f"TIKHUB_{name}", value)
    found = list(checks.examine(online=True))
    assert [each.check for each in found] == ["versions", "key", "clients", "settings", "sandbox"]
    assert found[3].state == "problem"
    assert f"TIKHUB_{name} {says}" in found[3].found
    assert f"TIKHUB_{name}={shown}" in found[3].found
    assert "neither folders nor network are checked" in found[3].advice
    assert "s3cr3t" not in findings.as_json(found)


def test_only_values_that_are_no_secrets_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_LOG_LEVEL", "debug")
    [found] = checks._settings("")
    assert found.state == "ok"
    assert "TIKHUB_LOG_LEVEL=debug" in found.found
    assert re.search(r"TIKHUB_API_KEY(,|$)", found.found)
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    assert [each.found for each in checks._settings("")] == ["no TIKHUB_ variable is set"]


@pytest.mark.parametrize("name", sorted({*NON_SECRET_VARIABLES, "HTTPS_PROXY", "SSL_CERT_FILE"}))
@pytest.mark.parametrize("key", ["made+up/key==", "https://made:up-key@api.example/made-up"])
@pytest.mark.usefixtures("quick")
def test_a_key_in_the_wrong_variable_is_not_shown_and_what_is_expected_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, key: str
) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", "")
    monkeypatch.setenv(name, key)
    main(["doctor", "--json"])
    told = capsys.readouterr()
    assert not re.search("made.?up", told.out + told.err)
    assert f"{name}=<not shown; expected: " in told.out or f"{name}=https://api.example" in told.out


def test_folders_are_tried_without_being_made(tmp_path: Path) -> None:
    (tmp_path / "home" / "out" / "raw").mkdir(parents=True)
    for name in ("photos", "reports"):
        (tmp_path / "home" / "out" / name).write_text("a file in the way")
    found = {each.check: each for each in checks._folders(load_settings())}
    assert [found[name].state for name in ("videos", "photos", "raw", "reports", "disk")] == [
        "ok",
        "problem",
        "ok",
        "problem",
        "ok",
    ]
    assert found["reports"].found.endswith("reports cannot be written: Not a directory")
    assert found["raw"].found == str(tmp_path / "home" / "out" / "raw")
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == ["out", "photos", "raw", "reports"]


def test_a_folder_whose_name_is_too_long_is_a_problem_and_breaks_no_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / ("x" * 300)))
    assert {each.state for each in checks._folders(load_settings())} == {"problem"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is writable to root")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_is_not_ones_own_is_a_problem(tmp_path: Path, mode: int) -> None:
    (tmp_path / "home").chmod(mode)
    try:
        found = next(checks._folders(load_settings()))
    finally:
        (tmp_path / "home").chmod(0o755)
    assert found.state == "problem"
    assert "Permission denied" in found.found


def test_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**29))
    *_, disk = checks._folders(load_settings())
    assert (disk.check, disk.state, disk.found[:12]) == ("disk", "warning", "0.5 GiB free")
    assert disk.advice


# Clients


def entry(home: Path, **entry: Json) -> Path:
    """Give Cursor an entry; its file."""
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"mcpServers": {"tikhub": entry}}), encoding="utf-8")
    return path


def test_a_key_in_an_entry_of_a_client_is_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKHUB_API_KEY")
    [none] = checks._clients()
    assert (none.state, shell_command("install", "claude-desktop") in none.found) == ("ok", True)
    entry(tmp_path / "home", command=sys.executable, env={"TIKHUB_API_KEY": "made-up-key-of-a-client"})
    [key] = checks._key()
    assert (key.state, key.found.partition(";")[0]) == ("ok", "in a client's entry, not in this shell")


@pytest.mark.parametrize(
    ("command", "key", "state", "says"),
    [
        (sys.executable, "made-up-key-of-a-client", "ok", f"Cursor: {sys.executable}, with a key"),
        (sys.executable, "${input:tikhub-key}", "ok", f"Cursor: {sys.executable}, with a key"),
        (sys.executable, "", "warning", "Cursor: no usable key in its entry ("),
        (sys.executable, "YOUR_API_KEY", "warning", "Cursor: no usable key in its entry ("),
        ("/nowhere/tikhub-mcp", "made-up-key-0", "problem", "Cursor: /nowhere/tikhub-mcp is not there ("),
        ("TIKHUB_API_KEY=made-up uvx tikhub-mcp", "", "problem", "Cursor: its command is not there ("),
    ],
)
def test_what_a_client_starts_and_with_which_key_is_told(
    tmp_path: Path, command: str, key: str, state: str, says: str
) -> None:
    entry(tmp_path / "home", command=command, env={"TIKHUB_API_KEY": key})
    [found] = checks._clients()
    assert found.state == state
    assert found.found.startswith(says)
    assert (f"`{shell_command('install', 'cursor')}`" in found.advice) == (state != "ok")


def test_claude_desktop_fills_no_key_in(tmp_path: Path) -> None:
    path = entry(tmp_path / "home", command=sys.executable, env={"TIKHUB_API_KEY": "${TIKHUB_API_KEY}"})
    (tmp_path / DESKTOP).parent.mkdir(parents=True)
    path.rename(tmp_path / DESKTOP)
    [found] = checks._clients()
    assert (found.state, found.found[:44]) == ("warning", "Claude Desktop: no usable key in its entry (")


def test_an_entry_of_the_same_name_for_a_remote_server_is_none_of_ours(tmp_path: Path) -> None:
    entry(tmp_path / "home", type="http", url="https://mcp.example/")
    [found] = checks._clients()
    assert (found.state, found.found[:22]) == ("ok", "no client has an entry")


BROKEN = '{\n  "mcpServers": {\n    "a" {}\n  }\n}'


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (".cursor/mcp.json", BROKEN, "Cursor: FILE: it is not plain JSON (line 3, column 9: "),
        (".claude.json", BROKEN, "Claude Code: FILE: it is not plain JSON (line 3, column 9: "),
        (
            ".claude.json",
            '{\n// mine\n"mcpServers": {}}',
            "Claude Code: FILE: it is not plain JSON (line 2, column 1: ",
        ),
        (
            ".config/Code/User/mcp.json",
            '{"servers": [/* , */\n}',
            "VS Code: FILE: it is not plain JSON (line 2, column 1: ",
        ),
        (".cursor/mcp.json", '{"mcpServers": []}', 'Cursor: FILE: "mcpServers" in it is not an object in braces'),
        (".cursor/mcp.json", '{"é": "x"}'.encode("latin-1"), "Cursor: FILE: it is not in UTF-8"),
        (".cursor/mcp.json", '{"a": 1, "a": 2}', "Cursor: FILE: it has one name twice in the same object"),
    ],
)
def test_a_clients_settings_that_do_not_parse_are_a_problem_with_line_and_column(
    tmp_path: Path, file: str, content: str | bytes, says: str
) -> None:
    path = tmp_path / "home" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    [found] = checks._clients()
    assert found.state == "problem"
    assert found.found.startswith(says.replace("FILE", str(path)))
    assert found.advice == "Repair the file: its client may fail to read it too."


def test_settings_with_comments_are_read_where_the_client_reads_them(tmp_path: Path) -> None:
    path = entry(
        tmp_path / "home",
        command=sys.executable,
        env={"TIKHUB_API_KEY": "made-up-key-of-a-client", "X": "http://a, //]"},
    )
    text = path.read_text(encoding="utf-8").replace("{", "{ // one\n/* two, */ ").replace("}", ", /* three */ }")
    path.write_text(text, encoding="utf-8")
    [found] = checks._clients()
    assert (found.state, found.found) == ("ok", f"Cursor: {sys.executable}, with a key")
