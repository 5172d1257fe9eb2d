"""The MCP clients: the form of their settings, and where their settings files are."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.settings.environment import process_environment
from tikhub_mcp.text import clean


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """An MCP client, and the form of its settings.

    Attributes:
        name: Its name on the command line.
        title: Its name, as users know it.
        servers: The member of the settings object that holds the servers.
        typed: Whether its entries have `"type": "stdio"`.
        asks: Whether it can ask the user for a key and store it itself.
        expands: Whether it replaces `${…}` in the values of `env`.
        comments: Whether it reads settings with comments and trailing commas.
        project: The settings file of a project, relative to the project; empty if the client has none.
    """

    name: str
    title: str
    servers: str = "mcpServers"
    typed: bool = False
    asks: bool = False
    expands: bool = True
    comments: bool = False
    project: str = ""


# `CLIENT_NAMES` in cli/parser.py repeats the names, so that `--help` need not import this module; a test compares them.
CLIENTS = {
    client.name: client
    for client in (
        ClientProgram("claude-desktop", "Claude Desktop", expands=False),
        ClientProgram("claude-code", "Claude Code", typed=True, project=".mcp.json"),
        ClientProgram("cursor", "Cursor", comments=True, project=".cursor/mcp.json"),
        ClientProgram("vscode", "VS Code", "servers", typed=True, asks=True, comments=True, project=".vscode/mcp.json"),
    )
}


def find_files(
    name: str,
    project: Path | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> list[Path]:
    """The settings files of a client: `file` if given, else that of the project if given, else the user's.

    VS Code and VS Code Insiders have one each.

    Args:
        name: A key of CLIENTS.
        project: The folder of a project.
        file: The settings file.
        environ: The environment. Defaults to that of the process.
        platform: As `sys.platform`.

    Raises:
        InvalidInput: The client is not there, or has no settings for projects; or the project or the home directory
            does not exist.
    """
    client = CLIENTS[name]
    if file:
        return [_absolute(file)]
    if project:
        if not client.project:
            raise InvalidInput(f"{client.title} has no settings of single projects: leave --project out.")
        if not os.path.isdir(folder := _absolute(project)):  # noqa: PTH112 - unlike Path.is_dir it raises nothing
            raise InvalidInput(f"There is no folder {clean(str(folder))}.")
        return [folder / client.project]
    places = _places(name, process_environment() if environ is None else environ, platform)
    if found := [path for folder, path in places if os.access(folder, os.F_OK) or os.access(path, os.F_OK)]:
        return found
    missing = " or ".join(clean(str(folder)) for folder, _ in places)
    raise InvalidInput(
        f"{client.title} was not found: there is no folder {missing}. Nothing was written. Start {client.title} once "
        "before this, or name its settings file with --file."
    )


def _places(name: str, env: Mapping[str, str], platform: str) -> list[tuple[Path, Path]]:
    """The user's settings files of a client, each with the folder that is there if the client is."""
    home, config = _folders(env, platform)
    own = env.get("CLAUDE_CONFIG_DIR", "") if name == "claude-code" else ""
    if own:
        return [(folder := _absolute(Path(own)), folder / ".claude.json")]
    # As an MSIX package, Claude Desktop reads no other file, though its button "Edit Config" may open the other one.
    local = Path(env.get("LOCALAPPDATA", "") or home / "AppData/Local")
    packages = sorted(local.glob("Packages/Claude_*")) if platform == "win32" else []
    desktop = [package / "LocalCache/Roaming/Claude" for package in packages] or [config / "Claude"]
    return {
        "claude-desktop": [(folder, folder / "claude_desktop_config.json") for folder in desktop],
        "claude-code": [(home / ".claude", home / ".claude.json")],
        "cursor": [(folder := home / ".cursor", folder / "mcp.json")],
        "vscode": [(folder := config / code / "User", folder / "mcp.json") for code in ("Code", "Code - Insiders")],
    }[name]


def _folders(env: Mapping[str, str], platform: str) -> tuple[Path, Path]:
    """The home directory, and the folder of the user's application settings."""
    windows = platform == "win32"
    try:
        home = Path(env.get("USERPROFILE" if windows else "HOME", "") or Path.home())
    except RuntimeError:  # the account has none
        home = Path()
    if not home.is_absolute():
        raise InvalidInput("There is no home directory to find the file in: name the file with --file.")
    if platform == "darwin":
        return home, home / "Library" / "Application Support"
    config = Path(env.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    # The XDG Base Directory Specification says to ignore a relative path.
    return home, config if config.is_absolute() else home / ("AppData/Roaming" if windows else ".config")


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except (OSError, RuntimeError) as error:  # an unknown home directory, or the working directory was removed
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere: {str(error).rstrip('.')}.") from None
