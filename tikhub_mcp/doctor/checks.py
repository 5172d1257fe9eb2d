"""The checks of an installation: versions, API key, clients, settings, folders, network, and one call of the server.

The API key is sent only by the checks that `--online` turns on.
"""

import asyncio
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import starmap
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from pydantic import SecretStr

from tikhub_mcp import __version__, isolation
from tikhub_mcp.doctor.connectivity import check_network, check_online
from tikhub_mcp.doctor.findings import Finding, State, finding, redact_finding
from tikhub_mcp.errors import InvalidInput, KeyMissing
from tikhub_mcp.install.clients import ClientProgram
from tikhub_mcp.install.entries import client_entries, has_key, unreadable_settings
from tikhub_mcp.messages import translate
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.settings import shown
from tikhub_mcp.settings.api_key import find_key, key_places, skill_files, why_unusable
from tikhub_mcp.settings.environment import NON_SECRET_VARIABLES, Settings, load_settings, variables
from tikhub_mcp.settings.program import shell_command
from tikhub_mcp.settings.serving import HTTP_VARIABLES
from tikhub_mcp.storage.temporary import temporary_folder

ROUND_TRIP_SECONDS = 30.0  # includes the start of Python and the imports
MIN_FREE_BYTES = 2**30
_LIBRARIES = ("mcp", "httpx", "pydantic", "msgspec", "xlsxwriter", "vl-convert-python")  # the last two are extras


def examine(*, online: bool) -> Iterator[Finding]:
    """Run all checks, and yield each finding as soon as it is known.

    An exception in a check becomes a finding, and the other checks still run. Findings are redacted.

    Args:
        online: Whether to ask TikHub about the API key. These requests are free; no other check sends the key.
    """
    settings, wrong = None, ""
    try:
        settings = load_settings()
    except InvalidInput as error:
        wrong = error.message
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "versions": _versions,
        "key": _key,
        "clients": _clients,
        "settings": partial(_settings, wrong),
    }
    if settings:
        checks |= {"videos": partial(_folders, settings), "connection": partial(check_network, settings.base_url)}
    checks["sandbox"] = _round_trip
    if settings and online:
        checks["account"] = partial(check_online, settings.base_url, _usable_key())
    for name, check in checks.items():
        try:
            yield from map(redact_finding, check())
        except Exception as error:  # noqa: BLE001 - the boundary of one check: the others still run
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            yield redact_finding(finding(name, "problem", "broke_off", reason=shown.failure(cause)))


def _versions() -> Iterator[Finding]:
    # `platform.platform` is not used: it runs `uname` from PATH.
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    found = [f"tikhub-mcp {__version__}", f"Python {platform.python_version()}", system]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(translate("doctor.not_installed", name=name))
    yield Finding("versions", "ok", ", ".join(found))


def _key() -> Iterator[Finding]:
    used, length, states = "", 0, []
    for name, secret in key_places():
        key = secret.get_secret_value()
        if not key:
            state = translate("doctor.place_empty")
        elif reason := why_unusable(key):
            state = translate(f"unusable_key.{reason}")
        elif used:
            state = translate("doctor.place_not_used")
        else:
            used, length, state = name, len(key), translate("doctor.place_used")
        states.append(f"{name} ({state})")
    places = ", ".join(states)
    if used:
        yield finding("key", "ok", "key_used", used=used, length=length, places=places)
    elif any(has_key(client, entry) for client, _, entry in client_entries()):
        yield finding("key", "ok", "key_in_entry", places=places)
    else:
        yield finding("key", "problem", "key_missing", places=places, skill=skill_files()[0])


def _usable_key() -> SecretStr | None:
    try:
        return find_key()
    except KeyMissing:
        return None


def _imports_from_project(entry: Mapping[str, Any]) -> bool:
    """Whether an entry runs `python -m tikhub_mcp` without -I or -P.

    Python then imports modules from the working directory.
    """
    given = entry.get("args")
    args = [str(arg) for arg in given] if isinstance(given, list) else []
    options = args[: args.index("tikhub_mcp")] if "tikhub_mcp" in args else []
    return "-m" in options and not any(re.fullmatch("-[a-zA-Z]*[IP][a-zA-Z]*", option) for option in options)


def _clients() -> list[Finding]:
    """Check the settings files of clients, and each entry for the server: its command and its API key."""
    unreadable = [
        finding("clients", "problem", "unreadable", client=client, path=path, reason=reason)
        for client, path, reason in unreadable_settings()
    ]
    return [*unreadable, *starmap(_entry, client_entries())] or [
        finding("clients", "ok", "no_entry", install=shell_command("install", "claude-desktop"))
    ]


def _entry(client: ClientProgram, path: Path, entry: dict[str, Any]) -> Finding:
    command, who = str(entry.get("command", "")), client.title
    install = shell_command("install", client.name)
    # A relative path is resolved against this process's working directory; the client's is another one.
    if not Path(shutil.which(command) or "").is_absolute():
        safe = shown.command(command)
        return finding("clients", "problem", "command_missing", client=who, command=safe, path=path, install=install)
    if _imports_from_project(entry):
        return finding("clients", "warning", "imports_from_project", client=who, path=path, install=install)
    if not has_key(client, entry):  # a client does not pass this shell's environment on
        return finding("clients", "warning", "entry_without_key", client=who, path=path, install=install)
    return finding("clients", "ok", "entry_works", client=who, command=command)


def _settings(wrong: str) -> Iterator[Finding]:
    ours = {name: value for name, value in variables().items() if name.startswith("TIKHUB_")}
    found = ", ".join(shown.setting(name, value) for name, value in ours.items()) or translate("doctor.no_variable")
    if wrong:
        yield Finding("settings", "problem", f"{wrong} ({found})", translate("doctor.settings_unusable_advice"))
        return
    unread = [name for name in ours if name not in {*NON_SECRET_VARIABLES, *HTTP_VARIABLES, "TIKHUB_API_KEY"}]
    advice = [translate("doctor.unread_variables", names=", ".join(unread))] if unread else []
    if not all(value is None or shown.has_form(name, value) for name, value in ours.items()):
        advice.append(translate("doctor.malformed_variable"))
    yield Finding("settings", "warning" if advice else "ok", found, " ".join(advice))


def _folders(settings: Settings) -> Iterator[Finding]:
    for name in ("videos", "photos", "raw", "reports"):
        folder: Path = getattr(settings, name)
        try:
            parent = _existing(folder)
            with tempfile.TemporaryFile(dir=parent):  # the folder itself is created only when it is needed
                pass
        except OSError as error:
            yield finding(name, "problem", "not_writable", folder=folder, reason=error.strerror)
        else:
            later = finding(name, "ok", "folder_later", folder=folder)
            yield Finding(name, "ok", str(folder)) if parent == folder else later
    with suppress(OSError):  # which the findings about the folders tell
        free = shutil.disk_usage(_existing(settings.root)).free
        state: State = "ok" if free >= MIN_FREE_BYTES else "warning"
        yield finding("disk", state, "free_space", gib=free / 2**30, folder=settings.root)


def _existing(folder: Path) -> Path:
    try:  # unlike Path.exists in some versions of Python, this tells a name that is too long from a missing folder
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _existing(folder.parent)
    return folder


def _round_trip() -> Iterator[Finding]:
    began = time.monotonic()
    status = asyncio.run(_one_call())
    if status == "ok":
        yield finding("sandbox", "ok", "round_trip", seconds=time.monotonic() - began)
    else:
        yield finding("sandbox", "problem", "round_trip_failed", status=status, demo=shell_command("demo"))


async def _one_call() -> str:
    """The status that the real server returns over stdio for one call against the sandbox."""
    with temporary_folder() as folder, Sandbox() as sandbox:
        environment = {
            "TIKHUB_API_KEY": "doctors-key-of-the-sandbox",
            "TIKHUB_BASE_URL": sandbox.base_url,
            "TIKHUB_OUTPUT_DIR": str(folder),
        }
        command, *args = isolation.isolated_server_command()
        server = StdioServerParameters(command=command, args=args, env=environment, cwd=isolation.PACKAGE_FOLDER)
        async with asyncio.timeout(ROUND_TRIP_SECONDS), Client(server) as client:
            result = await client.call_tool("download_video", {"url": link("tiktok"), "metrics_only": True})
            return str((result.structured_content or {}).get("status"))
