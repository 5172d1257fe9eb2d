"""The server's entry in the settings of the programs that start it: put in, brought up to date, taken out again.

What their files look like: https://code.claude.com/docs/en/mcp, https://cursor.com/docs/context/mcp and
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
_ASKED_FOR = "${input:tikhub-key}"


class _Taken(Exception):
    """Where the entry belongs, there is something else."""


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """A program that starts MCP servers.

    Attributes:
        title: Its name.
        servers: The name in its file under which the servers are.
        typed: Whether its entries say that they are for stdio.
        asks: Whether it can ask for a key, and keep that itself.
        below: The folder of the user that its file is in.
        file: Its file there.
        project: Its file in a project; empty when it has none.
    """

    title: str
    servers: str
    typed: bool
    asks: bool
    below: str
    file: str
    project: str


CLIENTS = {
    "claude-desktop": ClientProgram(
        "Claude Desktop", "mcpServers", False, False, "config", "Claude/claude_desktop_config.json", ""
    ),
    "claude-code": ClientProgram("Claude Code", "mcpServers", True, False, "home", ".claude.json", ".mcp.json"),
    "cursor": ClientProgram("Cursor", "mcpServers", False, False, "home", ".cursor/mcp.json", ".cursor/mcp.json"),
    "vscode": ClientProgram("VS Code", "servers", True, True, "config", "Code/User/mcp.json", ".vscode/mcp.json"),
}


def server_command(python: str = sys.executable, platform: str = sys.platform) -> list[str]:
    """How the server of this installation is started, from any folder: its script, or Python with its module.

    Raises:
        InvalidInput: Python does not know where it is itself.
    """
    if not python:
        raise InvalidInput("Python does not know its own path: run this by the path of its script, …/bin/tikhub-mcp.")
    # Not resolved: it is by the link in a virtual environment that Python finds the environment.
    here = Path(python).absolute()
    script = here.with_name("tikhub-mcp.exe" if platform == "win32" else "tikhub-mcp")
    # -P keeps the folder out where the client starts it, -E what PYTHONPATH adds; -I would also drop what is installed
    # for the user alone, where there is no script beside Python.
    return [str(script)] if script.is_file() else [str(here), "-E", "-P", "-m", "tikhub_mcp"]


def find_file(
    name: str,
    project: Path | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> Path:
    """The file of a host: the one that is named, else the project's where one is named, else the user's.

    Raises:
        InvalidInput: There is no such file for this host, no such project, or no home directory.
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
    """What puts the entry into a host's file, or brings it up to date; what else the entry has is kept.

    Raises:
        InvalidInput: The file is not as such files are; the message has the entry, to be put in by hand.
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
        entry = {**_wanted(client, command), "env": {KEY: _ASKED_FOR if client.asks else "YOUR_API_KEY"}}
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
    """What takes the entry out of a host's file, with the question for its key; an emptied list of servers stays.

    Raises:
        InvalidInput: The file is not as such files are.
    """
    client, before = CLIENTS[name], read_file(target(path))
    nothing = Change(path, before, before, ({}, {}), f'There is no entry "{NAME}" in {path}: nothing to take out.')
    try:
        text = edits.checked(before)
        if not before or not edits.has(text, (client.servers, NAME)):
            return nothing
        text = edits.take(text, (client.servers, NAME))
        text = _settled(text) if client.asks else text
    except InvalidInput as error:
        raise InvalidInput(f'{path} is left as it is: {error.message}. Take "{NAME}" out by hand.') from None
    views = _view(client, edits.decoded(before)), _view(client, text)
    return Change(path, before, edits.encoded(text, before), views, f"Restart {client.title} to be rid of it.")


def client_entries() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """The entries in the user's files of all hosts: whose, where, what; files that cannot be read are passed over."""
    for name, client in CLIENTS.items():
        with suppress(InvalidInput):
            path = find_file(name)
            entry = edits.get(edits.checked(read_file(target(path))), (client.servers, NAME))
            if isinstance(entry, dict):
                yield client.title, path, entry


def environment_in(env: Json) -> dict[str, str]:
    """What the server of an entry gets as its environment, by the entry's `env`: its texts, where it is an object."""
    return {name: value for name, value in env.items() if isinstance(value, str)} if isinstance(env, dict) else {}


def _view(client: ClientProgram, text: str) -> dict[str, Any]:
    """What of a file is ours."""
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
        key = secret or (_ASKED_FOR if client.asks else "")
        env = {KEY: key} if key else {}
        if locale := said("", "zh_CN.UTF-8"):  # hosts do not hand theirs on
            env["LANG"] = locale
        text = edits.put(text, place, wanted | ({"env": env} if env else {}))
        return _settled(text) if client.asks else text
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
    return _settled(text) if client.asks else text


def _settled(text: str) -> str:
    """With the question for the key where something uses it, and without it where nothing does."""
    value = json.loads(text)
    used = _ASKED_FOR in json.dumps(value, ensure_ascii=False)
    inputs = value.get("inputs")
    inputs = inputs if isinstance(inputs, list) else []  # anything else is refused where something is put in
    found = [number for number, item in enumerate(inputs) if isinstance(item, dict) and item.get("id") == _INPUT["id"]]
    if used and not found:
        return edits.append(text, ("inputs",), _INPUT)
    for number in reversed(found if not used else []):
        text = edits.take(text, ("inputs",), number)
    return text


def _about_the_key(client: ClientProgram, path: Path, text: str) -> str:
    """Where the server will find its key once the host starts it, or where to put one."""
    env = environment_in(edits.get(text, (client.servers, NAME, "env")))
    given = env.get(KEY, "")
    if "${" in given:
        return f"{client.title} asks for the key once." if given == _ASKED_FOR else f"The key is to come from {given}."
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
    """The home directory, and the folder in which programs keep what a user has set."""
    windows = platform == "win32"
    try:
        home = Path(env.get("USERPROFILE" if windows else "HOME", "") or Path.home())
    except RuntimeError:  # an account without one
        home = Path()
    if not home.is_absolute():
        raise InvalidInput("There is no home directory to find the file in: name the file with --file.")
    if platform == "darwin":
        return home, home / "Library" / "Application Support"
    config = Path(env.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    # A relative one does not count, says the XDG Base Directory Specification.
    return home, config if config.is_absolute() else home / ("AppData/Roaming" if windows else ".config")


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except (OSError, RuntimeError) as error:  # nobody's home, or the current folder is gone
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere: {error}.") from None
