"""The server's entry in the settings of MCP clients: adding, updating and removing it.

The formats of the files: https://code.claude.com/docs/en/mcp, https://cursor.com/docs/context/mcp and
https://code.visualstudio.com/docs/copilot/reference/mcp-configuration.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import SecretStr

from tikhub_mcp.errors import InvalidInput, KeyMissing
from tikhub_mcp.install.clients import CLIENTS, ClientProgram, find_files
from tikhub_mcp.install.files import Change, Members, edit, parse, read_file
from tikhub_mcp.messages import said, translate
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.settings.api_key import find_key, skill_files, why_unusable
from tikhub_mcp.settings.program import shell_command

NAME = "tikhub"
KEY = "TIKHUB_API_KEY"
_INPUT = {"type": "promptString", "id": "tikhub-key", "description": "TikHub API key", "password": True}
_PROMPTED = "${input:tikhub-key}"


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
    client, secret, before = CLIENTS[name], key.get_secret_value() if key else "", read_file(path)
    try:
        old, new, after = edit(before, lambda members: _with_entry(client, path, members, command, secret))
    except InvalidInput as error:
        entry = {**_wanted(client, command), "env": {KEY: _PROMPTED if client.asks else "YOUR_API_KEY"}}
        whole = ({"inputs": [_INPUT]} if client.asks else {}) | {client.servers: {NAME: entry}}
        by_hand = json.dumps(whole, ensure_ascii=False, indent=2)
        raise InvalidInput(
            f"{path} is left as it is: {error.message}. Put this in by hand, next to what is there:\n{by_hand}"
        ) from None
    question = _question(client, path, old, new) + (translate("install.with_key") if secret else "")
    entry = new[client.servers][NAME]
    lacks_key = not has_key(client, entry)
    about_the_key = _about_the_key(client, path, _environment_in(entry), lacks_key=lacks_key)
    if after == before:
        notes = translate("install.already", name=NAME, path=path), about_the_key
    else:
        notes = about_the_key, translate(f"install.next_{name}")
    return Change(path, before, after, question, notes, lacks_key, bool(secret))


def uninstall(name: str, path: Path) -> Change:
    """Plan the change that removes the server's entry, and the prompt for its key, from a settings file.

    The object of servers stays, even if it is empty then.

    Args:
        name: A key of CLIENTS.
        path: The settings file.

    Raises:
        InvalidInput: The file has an unexpected form, or cannot be read.
    """
    client, before = CLIENTS[name], read_file(path)
    try:
        old, new, after = edit(before, lambda members: _without_entry(client, members))
    except InvalidInput as error:
        raise InvalidInput(f'{path} is left as it is: {error.message}. Take "{NAME}" out by hand.') from None
    if after == before:
        nothing = translate("install.no_entry", name=NAME, path=path)
        return Change(path, before, before, nothing, (nothing,))
    note = translate("install.restart", client=client.title)
    return Change(path, before, after, _question(client, path, old, new), (note,))


def client_entries() -> Iterator[tuple[ClientProgram, Path, dict[str, Any]]]:
    """Find the server's entries in the user's settings files of all clients; an unreadable file is ignored.

    An entry for something else, such as a server that the client reaches over HTTP, is ignored too.

    Yields:
        The client, the settings file, and the entry.
    """
    for client, path, found in _read_entries():
        if _is_ours(found):
            yield client, path, found


def unreadable_settings() -> Iterator[tuple[str, Path, str]]:
    """Find the user's settings files of all clients that do not parse, or cannot be read.

    Yields:
        The client's title, the settings file, and the reason, with line and column where they are known.
    """
    for client, path, found in _read_entries():
        if isinstance(found, InvalidInput):
            yield client.title, path, found.message


def _read_entries() -> Iterator[tuple[ClientProgram, Path, Json | InvalidInput]]:
    for name, client in CLIENTS.items():
        with suppress(InvalidInput):  # the client is not there, or there is no home directory
            for path in find_files(name):
                yield client, path, _read_entry(client, path)


def _read_entry(client: ClientProgram, path: Path) -> Json | InvalidInput:
    """The server's entry in a settings file, None if there is none, or why the file cannot be read."""
    try:
        return _servers(client, parse(read_file(path), comments=client.comments)).get(NAME)
    except InvalidInput as error:
        return error


def has_key(client: ClientProgram, entry: Members) -> bool:
    """Whether the server of an entry finds a key, or its client fills one in."""
    env = _environment_in(entry)
    try:
        find_key(env)
    except KeyMissing:
        return client.expands and "${" in env.get(KEY, "")
    return True


def _environment_in(entry: Members) -> dict[str, str]:
    """The environment variables of an entry; members that are not strings are ignored."""
    env = entry.get("env")
    return {name: value for name, value in env.items() if isinstance(value, str)} if isinstance(env, dict) else {}


def _is_ours(entry: Json) -> TypeGuard[Members]:
    """Whether an entry starts a program, as this server's does."""
    return isinstance(entry, dict) and "url" not in entry and entry.get("type", "stdio") == "stdio"


def _servers(client: ClientProgram, members: Members) -> Members:
    servers = members.get(client.servers, {})
    if not isinstance(servers, dict):
        raise InvalidInput(f'"{client.servers}" in it is not an object in braces')
    return servers


def _wanted(client: ClientProgram, command: Sequence[str]) -> Members:
    entry: Members = {"type": "stdio"} if client.typed else {}
    return entry | {"command": command[0]} | ({"args": list(command[1:])} if command[1:] else {})


def _with_entry(client: ClientProgram, path: Path, old: Members, command: Sequence[str], secret: str) -> Members:
    servers, wanted = _servers(client, old), _wanted(client, command)
    if NAME in servers:
        if not _is_ours(old_entry := servers[NAME]):
            remedy = shell_command("uninstall", client.name, "--file", str(path))
            raise InvalidInput(f'its entry "{NAME}" is for something else; `{remedy}` takes that out')
        entry = _updated(old_entry, wanted, secret)
    else:
        key = secret or (_PROMPTED if client.asks else "")
        locale = said("", "zh_CN.UTF-8")  # clients do not pass their own locale on
        env = {name: value for name, value in ((KEY, key), ("LANG", locale)) if value}
        entry = wanted | ({"env": env} if env else {})
    new = old | {client.servers: servers | {NAME: entry}}
    return _with_prompt_if_used(new) if client.asks else new


def _without_entry(client: ClientProgram, old: Members) -> Members:
    if NAME not in (servers := _servers(client, old)):
        return old
    new = old | {client.servers: {name: entry for name, entry in servers.items() if name != NAME}}
    return _with_prompt_if_used(new) if client.asks else new


def _updated(entry: Members, wanted: Members, secret: str) -> Members:
    new = entry | wanted
    if entry.get("args") and "args" not in wanted:
        del new["args"]
    if secret:
        if not isinstance(env := entry.get("env", {}), dict):
            raise InvalidInput(f'"env" of its entry "{NAME}" is not an object in braces')
        new["env"] = env | {KEY: secret}
    return new


def _with_prompt_if_used(members: Members) -> Members:
    """Add the prompt for the key if an entry refers to it, and remove it otherwise."""
    used, inputs = _PROMPTED in json.dumps(members), members.get("inputs", [])
    if not isinstance(inputs, list):
        if used:
            raise InvalidInput('"inputs" in it is not a list')
        return members
    others = [item for item in inputs if not (isinstance(item, dict) and item.get("id") == _INPUT["id"])]
    if used == (others != inputs):
        return members
    return members | {"inputs": [*inputs, _INPUT] if used else others}


def _question(client: ClientProgram, path: Path, old: Members, new: Members) -> str:
    """What the change from `old` to `new` does, in a sentence without secrets."""
    before, after = _servers(client, old), _servers(client, new)
    if NAME not in after:
        what = translate("install.removes", name=NAME)
    elif NAME not in before:
        command = " ".join([after[NAME]["command"], *after[NAME].get("args", [])])
        what = translate("install.adds", name=NAME, command=command)
    else:
        was, becomes = (
            members[NAME] | {"inputs": whole.get("inputs")} for members, whole in ((before, old), (after, new))
        )
        changed = ", ".join(name for name in was | becomes if was.get(name) != becomes.get(name))
        what = translate("install.changes", name=NAME, members=changed)
    servers = _counted("server", len(before.keys() - {NAME}))
    settings = _counted("setting", sum(old[name] == new[name] for name in old.keys() - {client.servers}))
    return translate("install.question", path=path, what=what, servers=servers, settings=settings)


def _counted(what: str, count: int) -> str:
    return translate(f"install_kept.{what if count == 1 else f'{what}s'}", count=count)


def _about_the_key(client: ClientProgram, path: Path, env: Mapping[str, str], *, lacks_key: bool) -> str:
    """A sentence for the user: where the server will find its key, or where to put one."""
    given = env.get(KEY, "")
    if lacks_key:
        return translate("install.lacks_key", path=path, variable=KEY, skill=skill_files(env)[0])
    if client.expands and "${" in given:
        return translate("install.key_filled_in", client=client.title, key=given)
    if why_unusable(given):
        return translate("install.key_in_skill")
    return translate("install.key_in_file", path=path)
