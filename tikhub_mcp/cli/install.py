"""The commands `install` and `uninstall`."""

from datetime import datetime
from getpass import getpass
from pathlib import Path

from pydantic import SecretStr

from tikhub_mcp.cli.output import agreed, is_terminal, print_lines
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.install import entries
from tikhub_mcp.install.clients import find_files
from tikhub_mcp.messages import translate
from tikhub_mcp.settings.api_key import find_key, key_places, why_unusable
from tikhub_mcp.settings.program import server_command


def run(name: str, project: Path | None, file: Path | None, *, adds: bool, with_key: bool, yes: bool) -> int:
    """Change the settings of a client after asking, print what the user should know, and return the exit code.

    Without a key, it asks for one on a terminal, except for the file of a project, which others may read.

    Args:
        name: The client, a key of CLIENTS.
        project: The folder of a project, whose settings are changed instead of the user's.
        file: The settings file, if it is another one.
        adds: Whether to add the server's entry, or else to remove it.
        with_key: Whether the entry gets the key that is found now.
        yes: Whether the user has confirmed the change already; then nothing is asked.
    """
    key = find_key() if with_key else None
    asks = is_terminal() and not (yes or project)
    for path in find_files(name, project, file):
        if adds:
            change = entries.install(name, path, server_command(), key)
            if change.lacks_key and asks and (key := _ask_for_key()):
                change = entries.install(name, path, server_command(), key)
        else:
            change = entries.uninstall(name, path)
        if change.needed:
            if not agreed(change.question, yes):
                return 2
            copy = change.write(datetime.now().astimezone())
            print_lines(translate("install.written", path=path))
            if copy:
                print_lines(translate("install.copy", path=copy))
        print_lines(*change.notes)
    return 0


def _ask_for_key() -> SecretStr | None:
    """Read the API key without showing it; None if the user enters nothing.

    Raises:
        InvalidInput: It cannot be a key, such as a placeholder.
    """
    try:
        text = getpass(translate("install.ask_for_key"))
    except EOFError:
        return None
    if not text.strip():
        return None
    _, key = next(key_places({"TIKHUB_API_KEY": text}))
    if reason := why_unusable(key.get_secret_value()):
        raise InvalidInput(f"What you entered {reason}: it is not a TikHub API key. Nothing was written; try again.")
    return key
