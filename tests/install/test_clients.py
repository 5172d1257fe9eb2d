"""install/clients.py: the settings files that each client really reads."""

from pathlib import Path

import pytest

from tikhub_mcp.cli import parser
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.install.clients import CLIENTS, find_files

DESKTOP, MCP, STATE = "claude_desktop_config.json", "mcp.json", ".claude.json"
MAC = "Library/Application Support"
PACKAGE = "AppData/Local/Packages/Claude_abc/LocalCache/Roaming/Claude"


def test_the_command_line_knows_the_clients() -> None:
    assert tuple(CLIENTS) == parser.CLIENT_NAMES


@pytest.mark.parametrize(
    ("name", "platform", "environ", "there", "files"),
    [
        ("claude-desktop", "linux", "", ".config/Claude", [f".config/Claude/{DESKTOP}"]),
        ("claude-desktop", "linux", "XDG_CONFIG_HOME=HOME/c", "c/Claude", [f"c/Claude/{DESKTOP}"]),
        ("claude-desktop", "linux", "XDG_CONFIG_HOME=c", ".config/Claude", [f".config/Claude/{DESKTOP}"]),
        ("claude-desktop", "darwin", "XDG_CONFIG_HOME=HOME/c", f"{MAC}/Claude", [f"{MAC}/Claude/{DESKTOP}"]),
        ("claude-desktop", "win32", "APPDATA=HOME/r", "r/Claude", [f"r/Claude/{DESKTOP}"]),
        ("claude-desktop", "win32", "", "AppData/Roaming/Claude", [f"AppData/Roaming/Claude/{DESKTOP}"]),
        ("claude-desktop", "win32", "", PACKAGE, [f"{PACKAGE}/{DESKTOP}"]),
        ("claude-desktop", "win32", "", f"{PACKAGE},AppData/Roaming/Claude", [f"{PACKAGE}/{DESKTOP}"]),
        ("claude-desktop", "win32", "LOCALAPPDATA=HOME/l", f"l/{PACKAGE[14:]}", [f"l/{PACKAGE[14:]}/{DESKTOP}"]),
        ("claude-desktop", "win32", "", "AppData/Local/Packages/Claude_abc,AppData/Roaming/Claude", []),
        ("claude-code", "linux", "", ".claude", [STATE]),
        ("claude-code", "linux", "", STATE, [STATE]),
        ("claude-code", "win32", "", ".claude", [STATE]),
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR=HOME/work", "work,.claude", [f"work/{STATE}"]),
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR=HOME/work", ".claude", []),
        ("cursor", "linux", "", ".cursor", [f".cursor/{MCP}"]),
        ("cursor", "linux", "CLAUDE_CONFIG_DIR=HOME/work", "work", []),
        ("vscode", "linux", "", ".config/Code/User", [f".config/Code/User/{MCP}"]),
        ("vscode", "darwin", "", f"{MAC}/Code - Insiders/User", [f"{MAC}/Code - Insiders/User/{MCP}"]),
        (
            "vscode",
            "win32",
            "APPDATA=HOME/r",
            "r/Code/User,r/Code - Insiders/User",
            [f"r/Code/User/{MCP}", f"r/Code - Insiders/User/{MCP}"],
        ),
        ("vscode", "linux", "", ".config/Code", []),
    ],
)
def test_each_client_has_its_files_where_it_reads_them(
    tmp_path: Path, name: str, platform: str, environ: str, there: str, files: list[str]
) -> None:
    for folder in there.split(","):
        (tmp_path / folder).mkdir(parents=True)
    variable, _, value = environ.partition("=")
    env = {"USERPROFILE" if platform == "win32" else "HOME": str(tmp_path)}
    env |= {variable: value.replace("HOME", str(tmp_path))} if variable else {}
    before = sorted(tmp_path.rglob("*"))
    if files:
        assert find_files(name, environ=env, platform=platform) == [tmp_path / file for file in files]
    else:
        with pytest.raises(
            InvalidInput, match=rf"^{CLIENTS[name].title} was not found: there is no folder {tmp_path}/"
        ):
            find_files(name, environ=env, platform=platform)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_project_and_a_file_have_the_last_word(home: Path) -> None:
    (home / "p").mkdir()
    found = [find_files(name, Path("p")) for name in ("claude-code", "cursor", "vscode")]
    assert found == [[home / "p" / name] for name in (".mcp.json", ".cursor/mcp.json", ".vscode/mcp.json")]
    assert [find_files(name, file=Path("~/x.json")) for name in CLIENTS] == [[home / "x.json"]] * len(CLIENTS)


@pytest.mark.parametrize(
    ("name", "project", "says"),
    [
        ("claude-desktop", ".", "no settings of single projects"),
        ("cursor", "gone", "There is no folder"),
        ("cursor", "~nobody-of-that-name", "leads nowhere"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_project_that_cannot_be_is_refused(name: str, project: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        find_files(name, Path(project))


def test_without_a_home_directory_the_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="--file"):
        find_files("cursor", environ={"HOME": "relative"})

    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InvalidInput, match="--file"):
        find_files("cursor", environ={})
