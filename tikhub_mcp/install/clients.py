"""The server's entry in the settings of MCP clients: adding, updating and removing it.

The formats of the files: https://code.claude.com/docs/en/mcp, https://cursor.com/docs/context/mcp and
https://code.visualstudio.com/docs/copilot/reference/mcp-configuration.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tikhub_mcp.errors import InvalidInput, KeyMissing
from tikhub_mcp.install import edits
from tikhub_mcp.install.changes import KEY, Change, read_file, target
from tikhub_mcp.messages import said
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.settings.api_key import find_key, skill_files, why_unusable
from tikhub_mcp.settings.environment import process_environment
from tikhub_mcp.text import clean

NAME = "tikhub"
_INPUT = {"type": "promptString", "id": "tikhub-key", "description": "TikHub API key", "password": True}
_PROMPTED = "${input:tikhub-key}"


class _Taken(Exception):
    """The name of the entry is used for something that is not a stdio server."""


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """An MCP client, and the form of its settings.

    Attributes:
        title: Its name, as users know it.
        servers: The member of the settings object that holds the servers.
        typed: Whether its entries have `"type": "stdio"`.
        asks: Whether it can ask the user for a key and store it itself.
        comments: Whether it reads settings with comments and trailing commas.
        below: The folder that `file` is relative to: "home" or "config".
        file: The user's settings file.
        project: The settings file of a project, relative to the project; empty if the client has none.
    """

    title: str
    servers: str
    typed: bool
    asks: bool
    comments: bool
    below: str
    file: str
    project: str


# `CLIENT_NAMES` in cli/main.py repeats the names, so that `--help` need not import this module; a test compares them.
CLIENTS = {
    "claude-desktop": ClientProgram(
        "Claude Desktop", "mcpServers", False, False, False, "config", "Claude/claude_desktop_config.json", ""
    ),
    "claude-code": ClientProgram("Claude Code", "mcpServers", True, False, False, "home", ".claude.json", ".mcp.json"),
    "cursor": ClientProgram("Cursor", "mcpServers", False, False, True, "home", ".cursor/mcp.json", ".cursor/mcp.json"),
    "vscode": ClientProgram("VS Code", "servers", True, True, True, "config", "Code/User/mcp.json", ".vscode/mcp.json"),
}


def server_command(python: str = sys.executable, platform: str = sys.platform) -> list[str]:
    """The command that starts the server of this installation from any working directory.

    It is the script `tikhub-mcp` beside Python; without one, Python with the module.

    Args:
        python: The path of the interpreter.
        platform: As `sys.platform`.

    Raises:
        InvalidInput: The path of the interpreter is unknown.
    """
    if not python:
        raise InvalidInput("Python does not know its own path: run this by the path of its script, …/bin/tikhub-mcp.")
    # Symbolic links stay: Python finds a virtual environment by the link inside it.
    interpreter = Path(python).absolute()
    script = interpreter.with_name("tikhub-mcp.exe" if platform == "win32" else "tikhub-mcp")
    # -P excludes the working directory from the import path, -E excludes PYTHONPATH. -I would also exclude the user's
    # site-packages, where an installation without a script beside Python may be.
    return [str(script)] if script.is_file() else [str(interpreter), "-E", "-P", "-m", "tikhub_mcp"]


def find_file(
    name: str,
    project: Path | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> Path:
    """The settings file of a client: `file` if given, else that of the project if given, else the user's.

    Args:
        name: A key of CLIENTS.
        project: The folder of a project.
        file: The settings file.
        environ: The environment. Defaults to that of the process.
        platform: As `sys.platform`.

    Raises:
        InvalidInput: The client has no settings for projects, or the project or the home directory does not exist.
    """
    client = CLIENTS[name]
    if file:
        return _absolute(file)
    if not project:
        home, config = _folders(process_environment() if environ is None else environ, platform)
        return (home if client.below == "home" else config) / client.file
    if not client.project:
        raise InvalidInput(f"{client.title} has no settings of single projects: leave --project out.")
    if not (folder := _absolute(project)).is_dir():
        raise InvalidInput(f"There is no folder {clean(str(folder))}.")
    return folder / client.project


def install(name: str, path: Path, command: Sequence[str], key: SecretStr | None = None) -> Change:
    """Plan the change that adds the server's entry to a settings file, or updates it.

    Other members of an existing entry stay.

    Args:
        name: A key of CLIENTS.
        path: The settings file.
        command: The command that starts the server.
        key: The API key to write into the entry. Without one, VS Code asks the user; the others get none.

    Raises:
        InvalidInput: The file has an unexpected form, or cannot be read. For the first, the message has the entry, for
            the user to insert.
    """
    client, secret = CLIENTS[name], key.get_secret_value() if key else ""
    before = read_file(target(path))
    try:
        text = _entered(client, edits.checked(before), command, secret)
        note = _about_the_key(client, path, text)
    except _Taken:
        raise InvalidInput(
            f'{path} is left as it is: its entry "{NAME}" is for something else; `tikhub-mcp uninstall` takes that out.'
        ) from None
    except InvalidInput as error:
        entry = {**_wanted(client, command), "env": {KEY: _PROMPTED if client.asks else "YOUR_API_KEY"}}
        whole = ({"inputs": [_INPUT]} if client.asks else {}) | {client.servers: {NAME: entry}}
        by_hand = json.dumps(whole, ensure_ascii=False, indent=2)
        raise InvalidInput(
            f"{path} is left as it is: {error.message}. Put this in by hand, next to what is there:\n{by_hand}"
        ) from None
    after = edits.encoded(text, before)
    known = f'"{NAME}" is in {path} already, and as it should be.\n' if after == before else ""
    again = "" if known else f"\nRestart {client.title} to have it."
    views = _view(client, edits.decoded(before)), _view(client, text)
    return Change(path, before, after, views, f"{known}{note}{again}", secret)


def uninstall(name: str, path: Path) -> Change:
    """Plan the change that removes the server's entry, and the prompt for its key, from a settings file.

    The object of servers stays, even if it is empty then.

    Args:
        name: A key of CLIENTS.
        path: The settings file.

    Raises:
        InvalidInput: The file has an unexpected form, or cannot be read.
    """
    client, before = CLIENTS[name], read_file(target(path))
    nothing = Change(path, before, before, ({}, {}), f'There is no entry "{NAME}" in {path}: nothing to take out.')
    try:
        text = edits.checked(before)
        if not before or not edits.has(text, (client.servers, NAME)):
            return nothing
        text = edits.take(text, (client.servers, NAME))
        text = _with_prompt_if_used(text) if client.asks else text
    except InvalidInput as error:
        raise InvalidInput(f'{path} is left as it is: {error.message}. Take "{NAME}" out by hand.') from None
    views = _view(client, edits.decoded(before)), _view(client, text)
    return Change(path, before, edits.encoded(text, before), views, f"Restart {client.title} to be rid of it.")


def client_entries() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Find the server's entries in the user's settings files of all clients; an unreadable file is ignored.

    Yields:
        The client's title, the settings file, and the entry.
    """
    for title, path, found in _read_entries():
        if isinstance(found, dict):
            yield title, path, found


def unreadable_settings() -> Iterator[tuple[str, Path, str]]:
    """Find the user's settings files of all clients that do not parse, or cannot be read.

    Yields:
        The client's title, the settings file, and the reason, with line and column where they are known.
    """
    for title, path, found in _read_entries():
        if isinstance(found, InvalidInput):
            yield title, path, found.message


def _read_entries() -> Iterator[tuple[str, Path, Json | InvalidInput]]:
    for name, client in CLIENTS.items():
        with suppress(InvalidInput):  # there is no home directory
            path = find_file(name)
            yield client.title, path, _read_entry(client, path)


def _read_entry(client: ClientProgram, path: Path) -> Json | InvalidInput:
    """The server's entry in a settings file, None if there is none, or why the file cannot be read."""
    try:
        text = edits.checked(read_file(target(path)), comments=client.comments)
        return edits.get(text, (client.servers, NAME))
    except InvalidInput as error:
        return error


def environment_in(env: Json) -> dict[str, str]:
    """The environment variables in the `env` of an entry; members that are not strings are ignored."""
    return {name: value for name, value in env.items() if isinstance(value, str)} if isinstance(env, dict) else {}


def _view(client: ClientProgram, text: str) -> dict[str, Any]:
    """The parts of a settings file that belong to the server: its entry, and the prompt for its key."""
    if not text.strip():
        return {}
    entry = edits.get(text, (client.servers, NAME))
    asked = edits.get(text, ("inputs",)) if client.asks else None
    asked = asked if isinstance(asked, list) else []
    inputs = [item for item in asked if isinstance(item, dict) and item.get("id") == _INPUT["id"]]
    return ({"inputs": inputs} if inputs else {}) | ({client.servers: {NAME: entry}} if entry is not None else {})


def _wanted(client: ClientProgram, command: Sequence[str]) -> dict[str, object]:
    entry: dict[str, object] = {"type": "stdio"} if client.typed else {}
    entry |= {"command": command[0]}
    return entry | ({"args": list(command[1:])} if command[1:] else {})


def _entered(client: ClientProgram, text: str, command: Sequence[str], secret: str) -> str:
    place, wanted = (client.servers, NAME), _wanted(client, command)
    if not edits.has(text, place):
        key = secret or (_PROMPTED if client.asks else "")
        env = {KEY: key} if key else {}
        if locale := said("", "zh_CN.UTF-8"):  # clients do not pass their own locale on
            env["LANG"] = locale
        text = edits.put(text, place, wanted | ({"env": env} if env else {}))
        return _with_prompt_if_used(text) if client.asks else text
    have = edits.get(text, place)
    if not isinstance(have, dict) or "url" in have or have.get("type", "stdio") != "stdio":
        raise _Taken
    for name, value in wanted.items():
        if have.get(name) != value:
            text = edits.put(text, (*place, name), value)
    if "args" not in wanted and have.get("args"):
        text = edits.take(text, (*place, "args"))
    if secret and edits.get(text, (*place, "env", KEY)) != secret:
        text = edits.put(text, (*place, "env", KEY), secret)
    return _with_prompt_if_used(text) if client.asks else text


def _with_prompt_if_used(text: str) -> str:
    """Add the prompt for the key if an entry refers to it, and remove it otherwise."""
    value = json.loads(text)
    used = _PROMPTED in json.dumps(value, ensure_ascii=False)
    inputs = value.get("inputs")
    inputs = inputs if isinstance(inputs, list) else []  # `edits.append` refuses anything else
    found = [number for number, item in enumerate(inputs) if isinstance(item, dict) and item.get("id") == _INPUT["id"]]
    if used and not found:
        return edits.append(text, ("inputs",), _INPUT)
    for number in reversed(found if not used else []):
        text = edits.take(text, ("inputs",), number)
    return text


def _about_the_key(client: ClientProgram, path: Path, text: str) -> str:
    """A sentence for the user: where the server will find its key, or where to put one."""
    env = environment_in(edits.get(text, (client.servers, NAME, "env")))
    given = env.get(KEY, "")
    if "${" in given:
        return f"{client.title} asks for the key once." if given == _PROMPTED else f"The key is to come from {given}."
    skill = skill_files(env)[0]
    try:
        find_key(env)
    except KeyMissing:
        return (
            f'The server has no key yet. Put it into {path}, as "env": {{"{KEY}": "…"}} of the entry, or under '
            f"## API_KEY in {skill}; --with-key copies the one of {KEY} in this shell, where there is one."
        )
    if why_unusable(given):
        return "The server finds its key in SKILL.md."
    return f"The key stands in {path}: keep that file to yourself, and out of version control."


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
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere: {error}.") from None
