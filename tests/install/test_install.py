"""install/clients.py and edits.py: our entry in other programs' files, of which every other byte stays as it was."""

import errno
import json
import os
import pty
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import SecretStr

from tikhub_mcp.cli import main as cli_main
from tikhub_mcp.cli.main import main
from tikhub_mcp.errors import InvalidInput, NotWritable, TikHubMCPError
from tikhub_mcp.install import clients, edits
from tikhub_mcp.install.changes import Change
from tikhub_mcp.storage.atomic import Part

KEY = "a-key-that-nobody-may-see"
COMMAND = ["/opt/tikhub/bin/tikhub-mcp"]
NOW = datetime(2026, 11, 26, 10, 15, tzinfo=UTC)
BACKUP = "backup-20261126-101500"
SCRIPT = str(Path(sys.executable).with_name("tikhub-mcp"))
DESKTOP = """{
    "theme": "dark",
    "mcpServers": {
        "日记": { "command": "x", "env": {"A": "\\u00e9é"} }
    },
    "last": 1e2
}
"""
WITH_US = """{
    "theme": "dark",
    "mcpServers": {
        "日记": { "command": "x", "env": {"A": "\\u00e9é"} },
        "tikhub": {
            "command": "/opt/tikhub/bin/tikhub-mcp"
        }
    },
    "last": 1e2
}
"""


class Ran(NamedTuple):  # what a run came to
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, and an environment that names no key."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_")] + ["XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIKHUB_SKILL_FILE", str(tmp_path / "no-SKILL.md"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: Ran(main([str(argument) for argument in arguments]), *capsys.readouterr())


def file(folder: Path, content: str | bytes, name: str = "settings.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def done(change: Change) -> Path | None:
    return change.write(NOW)


def entry(path: Path, servers: str = "mcpServers") -> Any:  # noqa: ANN401 - any JSON
    return json.loads(path.read_bytes())[servers]["tikhub"]


# --- what is written


def test_the_entry_goes_behind_the_others_and_nothing_else_changes_by_a_byte(tmp_path: Path) -> None:
    path = file(tmp_path, DESKTOP)
    done(clients.install("claude-desktop", path, COMMAND))
    assert path.read_text() == WITH_US
    assert done(clients.uninstall("claude-desktop", path))
    assert path.read_text() == DESKTOP


@pytest.mark.parametrize("indent", ["  ", "\t", "     "])
def test_the_indentation_is_that_of_the_file(tmp_path: Path, indent: str) -> None:
    path = file(tmp_path, WITH_US.replace("    ", indent).replace("tikhub", "other"))
    done(clients.install("claude-desktop", path, COMMAND))
    lines = path.read_text().splitlines()
    assert f'{indent * 2}"tikhub": {{' in lines
    assert f'{indent * 3}"command": "{COMMAND[0]}"' in lines


@pytest.mark.parametrize("text", ['{"mcpServers":{"a":{}}}', '{"x": 1, "mcpServers": {}}', '{"x": [1]}'])
def test_a_file_on_one_line_stays_on_one_line(tmp_path: Path, text: str) -> None:
    path = file(tmp_path, text)
    done(clients.install("cursor", path, COMMAND))
    assert path.read_text().count("\n") == 0
    assert path.read_text().startswith(text.rstrip("}"))
    assert entry(path) == {"command": COMMAND[0]}


def test_a_byte_order_mark_and_the_ends_of_lines_stay(tmp_path: Path) -> None:
    path = file(tmp_path, "\ufeff" + DESKTOP.replace("\n", "\r\n"))
    done(clients.install("claude-desktop", path, COMMAND))
    assert path.read_bytes() == ("\ufeff" + WITH_US.replace("\n", "\r\n")).encode()


@pytest.mark.parametrize("content", [None, b"", b" \n", b"{}", b"{ }\n", b"\xef\xbb\xbf"])
def test_a_file_that_is_missing_or_empty_is_made_for_its_owner_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "new" / "folder" / "mcp.json"
    if content is not None:
        path.parent.mkdir(parents=True)
        file(path.parent, content, path.name).chmod(0o640)
    backup = done(clients.install("claude-code", path, COMMAND))
    assert edits.decoded(path.read_bytes()).splitlines()[:3] == ["{", '  "mcpServers": {', '    "tikhub": {']
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if content is None else 0o640)
    assert bool(backup) == bool(content)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == (content == b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-desktop", {"mcpServers": {"tikhub": {"command": "/p", "args": ["-m", "tikhub_mcp"]}}}),
        ("cursor", {"mcpServers": {"tikhub": {"command": "/p", "args": ["-m", "tikhub_mcp"]}}}),
        ("claude-code", {"mcpServers": {"tikhub": {"type": "stdio", "command": "/p", "args": ["-m", "tikhub_mcp"]}}}),
        (
            "vscode",
            {
                "servers": {
                    "tikhub": {
                        "type": "stdio",
                        "command": "/p",
                        "args": ["-m", "tikhub_mcp"],
                        "env": {"TIKHUB_API_KEY": "${input:tikhub-key}"},
                    }
                },
                "inputs": [
                    {"type": "promptString", "id": "tikhub-key", "description": "TikHub API key", "password": True}
                ],
            },
        ),
    ],
)
def test_each_host_gets_the_entry_that_it_understands(tmp_path: Path, name: str, expected: object) -> None:
    path = tmp_path / "new.json"
    done(clients.install(name, path, ["/p", "-m", "tikhub_mcp"]))
    assert json.loads(path.read_bytes()) == expected
    assert done(clients.uninstall(name, path))
    assert {tuple(value) for value in json.loads(path.read_bytes()).values()} == {()}


def test_what_the_user_put_into_the_entry_is_kept(tmp_path: Path) -> None:
    mine = """{"mcpServers": {"tikhub": {"disabled": true, "command": "/old", "args": ["-m", "x"],
  "env": {"TIKHUB_OUTPUT_DIR": "/v", "TIKHUB_API_KEY": "mine"}, "timeout": 60.0}, "b": {}}}"""
    path = file(tmp_path, mine)
    done(clients.install("claude-desktop", path, COMMAND))
    assert path.read_text() == mine.replace("/old", COMMAND[0]).replace(', "args": ["-m", "x"]', "")
    done(clients.install("claude-desktop", path, ["/p", "-m", "tikhub_mcp"], SecretStr(KEY)))
    assert entry(path)["env"] == {"TIKHUB_OUTPUT_DIR": "/v", "TIKHUB_API_KEY": KEY}
    assert (entry(path)["args"], entry(path)["timeout"]) == (["-m", "tikhub_mcp"], 60)


def test_the_question_for_the_key_is_there_exactly_while_something_uses_it(tmp_path: Path) -> None:
    path = file(tmp_path, '{"inputs": [{"id": "a"}, "odd"], "servers": {}}')
    done(clients.install("vscode", path, COMMAND))
    assert [item["id"] for item in json.loads(path.read_bytes())["inputs"] if item != "odd"] == ["a", "tikhub-key"]
    done(clients.install("vscode", path, COMMAND, SecretStr(KEY)))
    assert json.loads(path.read_bytes())["inputs"] == [{"id": "a"}, "odd"]
    both = {"tikhub": {"command": "x"}, "other": {"env": {"K": "${input:tikhub-key}"}}}
    path = file(tmp_path, json.dumps({"inputs": [{"id": "tikhub-key"}], "servers": both}))
    done(clients.uninstall("vscode", path))
    assert json.loads(path.read_bytes()) == {
        "inputs": [{"id": "tikhub-key"}],
        "servers": {"other": {"env": {"K": "${input:tikhub-key}"}}},
    }


@pytest.mark.parametrize("name", list(clients.CLIENTS))
@pytest.mark.parametrize("key", [None, SecretStr(KEY)])
def test_the_same_once_more_is_no_change(tmp_path: Path, name: str, key: SecretStr | None) -> None:
    path = file(tmp_path, '{"a": "é"}')
    done(clients.install(name, path, COMMAND, key))
    again = clients.install(name, path, COMMAND, key)
    assert not again.needed
    assert "already" in again.note
    assert not clients.install(name, path, COMMAND).needed  # and a key that is there stays


def test_the_first_middle_and_last_entry_can_be_taken_out() -> None:
    for text, without in (
        ('{"a": {"t": 1, "b": 2}}', '{"a": {"b": 2}}'),
        ('{"a": {"b": 2,\n "t": 1 , "c": 3}}', '{"a": {"b": 2 , "c": 3}}'),
        ('{"a": {"b": 2, "t": 1}}', '{"a": {"b": 2}}'),
        ('{"a": { "t": [1, {"t": 2}] } }', '{"a": {} }'),
        ('{"a": {}}', '{"a": {}}'),
        ("{}", "{}"),
    ):
        assert edits.take(text, ("a", "t")) == without


def test_what_utf_8_cannot_hold_is_written_as_an_escape(tmp_path: Path) -> None:
    path = file(tmp_path, '{"mcpServers": {"\\ud800": "\\udfff"}}')
    done(clients.install("cursor", path, ["/odd\udce9/tikhub-mcp"]))
    assert entry(path)["command"] == "/odd\udce9/tikhub-mcp"
    assert '"\\ud800": "\\udfff"' in path.read_text()


# --- for any file

Layout = tuple[int | str | None, tuple[str, str], bool, bool, bool]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
OTHERS = st.dictionaries(st.text(max_size=8).filter(lambda name: name != "tikhub"), VALUES, max_size=4)
TOPS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("mcpServers", "servers", "inputs")), VALUES, max_size=4
)
LAYOUTS = st.tuples(
    st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,  ", " :\t")]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def laid_out(value: object, layout: Layout) -> bytes:
    indent, separators, escaped, crlf, bom = layout
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=escaped)
    return (("\ufeff" if bom else "") + (text.replace("\n", "\r\n") if crlf else text)).encode()


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(list(clients.CLIENTS)),
    top=TOPS,
    others=st.none() | OTHERS,
    inputs=st.none() | st.lists(VALUES, max_size=2),
    first=st.booleans(),
    layout=LAYOUTS,
    key=st.sampled_from([None, SecretStr(KEY), SecretStr('q"u\\o')]),
)
def test_install_and_then_uninstall_gives_back_what_was_there(
    name: str,
    top: dict[str, Any],
    others: dict[str, Any] | None,
    inputs: list[Any] | None,
    first: bool,
    layout: Layout,
    key: SecretStr | None,
) -> None:
    servers = clients.CLIENTS[name].servers
    ours = ({} if others is None else {servers: others}) | ({} if inputs is None else {"inputs": inputs})
    before = ours | top if first else top | ours
    with tempfile.TemporaryDirectory() as folder:
        path = file(Path(folder), laid_out(before, layout))
        content = path.read_bytes()
        done(clients.install(name, path, COMMAND, key))
        installed = json.loads(edits.decoded(path.read_bytes()))
        done(clients.uninstall(name, path))
        after = path.read_bytes()
    assert installed[servers].pop("tikhub")["command"] == COMMAND[0]
    assert installed[servers] == (others or {})
    assert {other: installed[other] for other in top} == top
    asked = name == "vscode" and key is None
    if asked:
        assert installed["inputs"].pop()["id"] == "tikhub-key"
    assert installed.get("inputs") == (inputs if inputs is not None or not asked else [])
    if others is not None and (inputs is not None or not asked):
        assert after == content
    else:  # the lists that were made stay, and are empty
        assert json.loads(edits.decoded(after)) == {servers: {}} | ({"inputs": []} if asked else {}) | before


# --- what is refused

UNFIT: dict[str, tuple[str | bytes, str]] = {
    "a comment": ('{\n  // mine\n  "mcpServers": {}\n}', "line 2, column 3"),
    "a comma too many": ('{"mcpServers": {},}', "plain JSON"),
    "no JSON": ("theme: dark", "plain JSON"),
    "NaN": ('{"a": NaN}', "plain JSON"),
    "deep": ("[" * 100_000, "plain JSON"),
    "long": ('{"a": ' + "1" * 5000 + "}", "plain JSON"),
    "a list": ("[]", "an object in braces"),
    "no servers": ('{"mcpServers": []}', '"mcpServers" in it is not an object'),
    "twice": ('{"mcpServers": {}, "mcpServers": {}}', '"mcpServers" twice'),
    "us twice": ('{"mcpServers": {"tikhub": {}, "tikhub": {}}}', '"tikhub" twice'),
    "not UTF-8": (b'{"a": "\xe9"}', "UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "UTF-8"),
}


@pytest.mark.parametrize("case", list(UNFIT))
def test_a_file_that_is_not_as_it_should_be_is_left_as_it_is_and_the_entry_is_shown(run: Run, case: str) -> None:
    content, reason = UNFIT[case]
    path = file(Path.cwd(), content)
    before = path.read_bytes()
    ran = run("install", "claude-desktop", "--file", path, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err
    by_hand = json.loads(ran.err[ran.err.index("\n{") :])
    assert by_hand["mcpServers"]["tikhub"]["command"] == SCRIPT
    ran = run("uninstall", "claude-desktop", "--file", path, "--yes")
    assert (ran.code, ran.out, reason in ran.err, "by hand" in ran.err) == (2, "", True, True)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cursor", '{"mcpServers": {"tikhub": {"url": "https://x.example"}}}'),
        ("cursor", '{"mcpServers": {"tikhub": {"type": "http"}}}'),
        ("cursor", '{"mcpServers": {"tikhub": null}}'),
        ("cursor", '{"mcpServers": {"tikhub": {"env": []}}}'),
        ("vscode", '{"servers": {}, "inputs": {}}'),
    ],
)
def test_an_entry_of_another_kind_is_not_mixed_with_ours(tmp_path: Path, name: str, text: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(InvalidInput, match="is left as it is"):
        clients.install(name, path, COMMAND, None if name == "vscode" else SecretStr(KEY))
    done(clients.uninstall(name, path))
    assert "tikhub" not in path.read_text()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "folder", tmp_path / "circle", tmp_path / "pipe", file(tmp_path, "{}") / "mcp.json"):
        with pytest.raises(InvalidInput, match=r"cannot be read|leads nowhere"):
            clients.install("cursor", path, COMMAND)


def test_what_another_program_wrote_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = file(tmp_path, DESKTOP)
    changes = clients.install("cursor", path, COMMAND), clients.install("cursor", tmp_path / "new.json", COMMAND)
    path.write_text("{}")
    file(tmp_path, "{}", "new.json")
    for change in changes:
        with pytest.raises(NotWritable, match="by another program meanwhile"):
            done(change)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {path.name: "{}", "new.json": "{}"}


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder of an ordinary user, while that is who we are: nothing is read-only to an administrator."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        if not user:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        yield folder
    finally:
        folder.chmod(0o700)
        if not user:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", ["file", "folder", "folder of a new file", "folder of a new folder"])
def test_what_is_read_only_stays_as_it_is(read_only: str) -> None:
    with without_rights() as folder:
        path = folder / "new" / "x.json" if read_only.endswith("new folder") else folder / "x.json"
        if "new" not in read_only:
            file(folder, DESKTOP, "x.json").chmod(0o400 if read_only == "file" else 0o600)
        folder.chmod(0o700 if read_only == "file" else 0o500)
        change = clients.install("cursor", path, COMMAND)
        with pytest.raises(NotWritable, match=r"read-only|could not be written to"):
            done(change)
        assert [entry.read_text() for entry in folder.iterdir()] == [DESKTOP] * ("new" not in read_only)


# --- how it is written


def test_the_backup_is_what_was_there_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = file(tmp_path, DESKTOP)
    path.chmod(0o644)
    backup = done(clients.install("claude-desktop", path, COMMAND))
    assert backup == tmp_path / f"settings.json.{BACKUP}"
    assert (backup.read_text(), stat.S_IMODE(backup.stat().st_mode)) == (DESKTOP, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    second = done(clients.uninstall("claude-desktop", path))  # in the same second
    assert second == backup.with_name(f"settings.json.backup-{NOW + timedelta(seconds=1):%Y%m%d-%H%M%S}")
    assert (backup.read_text(), second.read_text()) == (DESKTOP, WITH_US)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "dotfiles").mkdir()
    target, path = tmp_path / "dotfiles" / "real.json", tmp_path / "link.json"
    if there:
        file(target.parent, DESKTOP, target.name)
    path.symlink_to(Path("dotfiles") / "real.json")
    done(clients.install("claude-desktop", path, COMMAND))
    assert path.readlink() == Path("dotfiles") / "real.json"
    assert entry(target) == {"command": COMMAND[0]}
    assert (
        sorted(entry.name for entry in tmp_path.iterdir())
        == ["dotfiles", "link.json"] + [f"link.json.{BACKUP}"] * there
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can give files away")
def test_an_administrator_does_not_take_the_file_away_from_its_owner(tmp_path: Path) -> None:
    path = file(tmp_path, DESKTOP)
    os.chown(path, 65534, 65534)
    done(clients.install("cursor", path, COMMAND))
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


# --- where it is written


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/h"}, ["/h/.config/Claude/claude_desktop_config.json", "/h/.config/Code/User/mcp.json"]),
        (
            "linux",
            {"HOME": "/h", "XDG_CONFIG_HOME": "/c"},
            ["/c/Claude/claude_desktop_config.json", "/c/Code/User/mcp.json"],
        ),
        (
            "linux",
            {"HOME": "/h", "XDG_CONFIG_HOME": "not/absolute"},
            ["/h/.config/Claude/claude_desktop_config.json", "/h/.config/Code/User/mcp.json"],
        ),
        (
            "darwin",
            {"HOME": "/h", "XDG_CONFIG_HOME": "/c"},
            [
                "/h/Library/Application Support/Claude/claude_desktop_config.json",
                "/h/Library/Application Support/Code/User/mcp.json",
            ],
        ),
        (
            "win32",
            {"USERPROFILE": "/h", "HOME": "/x", "APPDATA": "/roaming"},
            ["/roaming/Claude/claude_desktop_config.json", "/roaming/Code/User/mcp.json"],
        ),
        (
            "win32",
            {"USERPROFILE": "/h"},
            ["/h/AppData/Roaming/Claude/claude_desktop_config.json", "/h/AppData/Roaming/Code/User/mcp.json"],
        ),
    ],
)
def test_each_system_keeps_the_files_in_its_own_place(
    platform: str, environ: dict[str, str], expected: list[str]
) -> None:
    found = [clients.find_file(name, environ=environ, platform=platform) for name in clients.CLIENTS]
    assert [str(path) for path in found] == [expected[0], "/h/.claude.json", "/h/.cursor/mcp.json", expected[1]]


def test_a_project_and_a_file_have_the_last_word(home: Path) -> None:
    (home / "p").mkdir()
    found = [clients.find_file(name, Path("p")) for name in ("claude-code", "cursor", "vscode")]
    assert found == [home / "p" / name for name in (".mcp.json", ".cursor/mcp.json", ".vscode/mcp.json")]
    assert {clients.find_file(name, file=Path("~/x.json")) for name in clients.CLIENTS} == {home / "x.json"}


@pytest.mark.parametrize(
    ("name", "project", "says"),
    [
        ("claude-desktop", ".", "no settings of single projects"),
        ("cursor", "gone", "There is no folder"),
        ("cursor", "~nobody-of-that-name", "leads nowhere"),
    ],
)
def test_a_project_that_cannot_be_is_refused(run: Run, name: str, project: str, says: str) -> None:
    ran = run("install", name, "--project", project, "--yes")
    assert (ran.code, ran.out, says in ran.err) == (2, "", True)
    assert not list(Path.cwd().iterdir())


def test_without_a_home_directory_the_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="--file"):
        clients.find_file("cursor", environ={"HOME": "relative"})

    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InvalidInput, match="--file"):
        clients.find_file("cursor", environ={})


def test_the_command_is_the_script_beside_python_or_python_itself_by_its_link(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    python = tmp_path / "python"
    python.symlink_to("real")
    by_module = [str(python), "-E", "-P", "-m", "tikhub_mcp"]
    assert clients.server_command(str(python)) == by_module
    file(tmp_path, "", "tikhub-mcp.exe")
    assert clients.server_command(str(python), "linux") == by_module
    assert clients.server_command(str(python), "win32") == [str(tmp_path / "tikhub-mcp.exe")]
    assert clients.server_command() == [SCRIPT]


# --- what is shown


def test_the_diff_shows_the_change_and_no_secret(tmp_path: Path) -> None:
    servers = {"a": {"args": [KEY], "env": {"SOME_TOKEN": "hidden", "REF": "${input:api-key}"}}}
    path = file(tmp_path, json.dumps({"mcpServers": servers}, indent=2))
    first = clients.install("cursor", path, COMMAND, SecretStr(KEY))
    shown = "\n".join(first.diff())
    assert '+        "TIKHUB_API_KEY": "***"' in shown
    done(first)
    second = clients.install("cursor", path, COMMAND, SecretStr("another-key"))
    assert [line for line in second.diff() if line[0] in "+-"][2:] == [
        '-        "TIKHUB_API_KEY": "*** (another)"',
        '+        "TIKHUB_API_KEY": "***"',
    ]
    last = "\n".join(clients.uninstall("cursor", path).diff())
    assert '-        "TIKHUB_API_KEY": "***"' in last
    for secret in (KEY, "another-key", "hidden"):
        assert secret not in shown + last + "\n".join(second.diff())
        assert secret not in repr((first, second))


def test_the_diff_of_one_line_is_over_several_and_nothing_in_it_acts_on_a_terminal(tmp_path: Path) -> None:
    path = file(tmp_path, '{"mcpServers":{"a":{"TOKEN":"hidden","x":"\x9b31m\u202e' + "y" * 1000 + '"}}}')
    shown = clients.install("cursor", path, COMMAND).diff()
    assert '+    "tikhub": {' in shown
    assert max(map(len, shown)) < 320
    assert not {"\x9b", "\u202e"} & set("".join(shown))
    assert "hidden" not in "".join(shown)


@pytest.mark.parametrize(
    ("name", "env", "says"),
    [
        ("cursor", {}, '"env": {"TIKHUB_API_KEY": "…"}'),
        ("cursor", {"TIKHUB_API_KEY": "YOUR_API_KEY"}, "## API_KEY in "),
        ("cursor", {"TIKHUB_API_KEY": KEY, "n": 1}, "keep that file to yourself"),
        ("cursor", {"TIKHUB_API_KEY": "${env:MY_KEY}"}, "The key is to come from ${env:MY_KEY}"),
        ("vscode", {"TIKHUB_API_KEY": "${input:tikhub-key}"}, "VS Code asks for the key once"),
        ("cursor", {"TIKHUB_SKILL_FILE": "filled"}, "finds its key in SKILL.md"),
    ],
)
def test_the_note_says_where_the_key_is_or_belongs(home: Path, name: str, env: dict[str, Any], says: str) -> None:
    skill = file(home, f"## API_KEY\n{KEY}\n", "filled")
    env = {key: str(skill) if value == "filled" else value for key, value in env.items()}
    servers = {clients.CLIENTS[name].servers: {"tikhub": {"env": env}}}
    change = clients.install(name, file(home, json.dumps(servers)), COMMAND)
    assert says in change.note
    assert KEY not in change.note


# --- the commands


def test_the_command_line_knows_the_hosts() -> None:
    assert list(clients.CLIENTS) == list(cli_main.CLIENT_NAMES)


def test_without_a_terminal_and_without_yes_the_change_is_only_shown(run: Run, home: Path) -> None:
    ran = run("install", "cursor")
    assert (ran.code, list(home.iterdir())) == (2, [])
    assert '+    "tikhub": {' in ran.out.splitlines()
    assert "--yes" in ran.err


@pytest.mark.parametrize("host", clients.CLIENTS)
def test_it_goes_in_and_out_again(run: Run, home: Path, host: str) -> None:
    ran = run("install", host, "--yes")
    [path] = [path for path in home.rglob("*") if path.is_file()]
    assert (ran.code, ran.err) == (0, "")
    assert f"Written: {path}" in ran.out
    assert f"Restart {clients.CLIENTS[host].title}" in ran.out
    assert entry(path, clients.CLIENTS[host].servers)["command"] == SCRIPT
    ran = run("install", host)
    assert (ran.code, "already" in ran.out, "@@" in ran.out) == (0, True, False)
    ran = run("uninstall", host)
    assert (ran.code, '-    "tikhub": {' in ran.out) == (2, True)
    ran = run("uninstall", host, "--yes")
    [backup] = path.parent.glob(f"{path.name}.backup-*")
    assert (ran.code, f"As it was before: {backup}" in ran.out) == (0, True)
    ran = run("uninstall", host, "--yes")
    assert (ran.code, "nothing to take out" in ran.out, ran.out.count("\n")) == (0, True, 1)


def test_nothing_to_remove_makes_no_file(run: Run, home: Path) -> None:
    ran = run("uninstall", "vscode")
    assert (ran.code, "nothing to take out" in ran.out, list(home.iterdir())) == (0, True, [])


def test_the_key_goes_in_only_where_that_is_said(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("install", "cursor", "--with-key", "--yes")
    assert (ran.code, list(home.iterdir())) == (3, [])
    assert ran.err.startswith("error: api_key_missing: ")
    monkeypatch.setenv("TIKHUB_API_KEY", f"Bearer {KEY}")
    path = home / ".cursor" / "mcp.json"
    assert run("install", "cursor", "--yes").code == 0
    assert KEY not in path.read_text()
    ran = run("install", "cursor", "--with-key", "--yes")
    assert (ran.code, KEY in ran.out + ran.err) == (0, False)
    assert entry(path)["env"] == {"TIKHUB_API_KEY": KEY}
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


def test_what_cannot_be_written_is_said_in_a_sentence(run: Run) -> None:
    ran = run("install", "cursor", "--file", "/proc/mcp.json", "--yes")
    assert (ran.code, ran.err.startswith("error: not_writable: ")) == (1, True)
    assert issubclass(NotWritable, TikHubMCPError)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 2), ("no\n", 2), ("\x04", 2)])
def test_on_a_terminal_it_asks(home: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tikhub_mcp", "install", "cursor"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        assert b'"tikhub": {' in shown
        assert not list(home.iterdir())
        os.write(ours, answer.encode())
        assert process.wait(timeout=30) == code
    os.close(ours)
    assert (home / ".cursor" / "mcp.json").exists() == (code == 0)


# --- and it works


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["claude-desktop", "claude-code"])
async def test_what_the_entry_says_starts_the_server(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", KEY)
    path = home / "settings.json"
    assert run("install", host, "--file", path, "--with-key", "--yes").code == 0
    ours = entry(path)
    assert ours["env"] == {"TIKHUB_API_KEY": KEY}
    assert Path(ours["command"]).is_absolute()
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    environment = {**measured, "HOME": str(home), "PATH": os.defpath, **ours["env"]}
    parameters = StdioServerParameters(
        command=ours["command"], args=ours.get("args", []), env=environment, cwd=path.anchor
    )
    with (home / "log").open("w", encoding="utf-8") as log:
        async with Client(stdio_client(parameters, log)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools == ["download_video", "batch_download", "summarize_raw"]


# --- what a look at it with fresh eyes found


def test_the_diff_shows_nothing_of_other_servers(tmp_path: Path) -> None:
    other = {"url": "https://x.example/mcp?api_key=hidden-1", "env": {"A_PAT": "hidden-2"}}
    path = file(tmp_path, json.dumps({"mcpServers": {"other": other}}, indent=2))
    shown = "\n".join(clients.install("cursor", path, COMMAND).diff())
    assert '"tikhub": {' in shown
    assert "hidden" not in shown


def test_a_file_with_long_texts_is_shown_at_once(tmp_path: Path) -> None:
    pasted = 'my key is a token: "secret" ' * 100_000
    path = file(tmp_path, json.dumps({"history": [pasted], "mcpServers": {}}))
    began = time.monotonic()
    assert any('"tikhub"' in line for line in clients.install("claude-code", path, COMMAND).diff())
    assert time.monotonic() - began < 5  # by the square of its length it took hours


@pytest.mark.skipif(os.name == "nt", reason="modes as POSIX has them")
def test_a_file_that_gets_the_key_is_the_users_alone_and_its_copy_is_said_to_hold_one(tmp_path: Path) -> None:
    path = file(tmp_path, "{}")
    path.chmod(0o644)
    done(clients.install("cursor", path, COMMAND))
    assert path.stat().st_mode & 0o777 == 0o644
    with_key = clients.install("cursor", path, COMMAND, SecretStr(KEY))
    assert not with_key.backup_holds_key
    done(with_key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert clients.uninstall("cursor", path).backup_holds_key


def test_the_copy_stays_when_the_file_is_replaced_and_only_then_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, '{"a": 1}')
    change = clients.install("cursor", path, COMMAND)
    commit = Part.commit

    def fail(part: Part) -> None:
        commit(part)
        if part.target == path:
            raise OSError(errno.EIO, "the disk is dying")

    monkeypatch.setattr(Part, "commit", fail)
    with pytest.raises(NotWritable):
        done(change)
    copies = list(tmp_path.rglob("*.backup-*"))
    assert [copy.read_text(encoding="utf-8") for copy in copies] == ['{"a": 1}']


@pytest.mark.parametrize("env", ["[1]", '"text"', "5", "null", "true"])
def test_an_entry_with_an_odd_env_breaks_nothing(tmp_path: Path, env: str) -> None:
    path = file(tmp_path, f'{{"mcpServers": {{"tikhub": {{"command": "x", "env": {env}}}}}}}')
    assert clients.install("cursor", path, COMMAND).needed
    assert clients.uninstall("cursor", path).needed


@pytest.mark.parametrize("inputs", ["null", "5", "true", "1.5", '"text"', "{}"])
def test_questions_that_are_no_list_break_nothing(tmp_path: Path, inputs: str) -> None:
    path = file(tmp_path, f'{{"inputs": {inputs}, "servers": {{"tikhub": {{"command": "x"}}}}}}')
    assert clients.uninstall("vscode", path).needed
    path.write_text(f'{{"inputs": {inputs}}}', encoding="utf-8")
    with pytest.raises(InvalidInput, match="is left as it is"):
        clients.install("vscode", path, COMMAND)


def test_for_a_chinese_reader_the_entry_hands_the_locale_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, "{}")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    done(clients.install("cursor", path, COMMAND))
    assert json.loads(path.read_bytes())["mcpServers"]["tikhub"]["env"] == {"LANG": "zh_CN.UTF-8"}
