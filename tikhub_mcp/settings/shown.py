"""Formats the values of settings for display, without secrets.

A value is shown only when it has the form that its variable requires, and without user names and passwords. Any other
value may be the key in the wrong variable: then a description of the required form is shown instead.
"""

import ipaddress
import os
import re
import sys
import traceback
from pathlib import Path

from tikhub_mcp.errors import InvalidInput, TikHubMCPError
from tikhub_mcp.messages import translate
from tikhub_mcp.settings.api_key import skill_files
from tikhub_mcp.settings.environment import LOG_LEVELS, is_unexpanded, load_settings

_SCHEMES = "https|http|socks5h|socks5|socks4a|socks4|socks|ftp"
# An @ in the path or query is not matched: that text may be the second half of a password with an unescaped slash.
_ADDRESS = re.compile(
    rf"(?:(?P<scheme>{_SCHEMES})://)?(?:(?P<user>[^/?#]*)@)?(?P<host>[\w.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?:[/?#][^@]*)?",
    re.IGNORECASE | re.DOTALL,
)
_HOST_AND_PORT = re.compile(r"[\w.-]+:[0-9]+")


def setting(name: str, value: str | None) -> str:
    """Return `NAME=value` for display.

    Args:
        name: The name of the variable.
        value: Its value; one of the wrong form is replaced by what is expected. None when it may be the key: then only
            the name is returned.
    """
    if value is None:
        return name
    if not has_form(name, value):
        return translate("settings.not_shown", name=name, expected=_expected(name))
    if is_unexpanded(value):
        return translate("settings.not_expanded", name=name)
    if name.upper() == "NO_PROXY":
        return translate("settings.hosts", name=name, count=len(value.replace(",", " ").split()))
    visible = (address(value) or "") if _is_address(name) else value.strip()
    if name == "TIKHUB_BASE_URL" and len(visible) < len(value.strip().rstrip("/")):  # the rest may be the mistake
        visible += translate("settings.rest_not_shown")
    return f"{name}={visible}"


def has_form(name: str, value: str) -> bool:
    """Return whether a value has the form that its variable requires; an empty or unexpanded value has."""
    if not value.strip() or name.upper() == "NO_PROXY" or (name.startswith("TIKHUB_") and is_unexpanded(value)):
        return True
    if name == "TIKHUB_BASE_URL":
        return (address(value) or "").startswith(("https://", "http://"))
    if name == "TIKHUB_LOG_LEVEL":
        return value.strip().upper() in LOG_LEVELS
    if name == "TIKHUB_SKILL_FILE":
        return skill_files({name: value}) != skill_files({})
    if not name.startswith("TIKHUB_"):
        return address(value) is not None if _is_address(name) else Path(value.strip()).is_absolute()
    try:  # any output folder will do here; the default one would need a home directory
        load_settings({"TIKHUB_OUTPUT_DIR": sys.prefix, name: value})
    except InvalidInput:
        return False
    return True


def address(text: str) -> str | None:
    """Return the scheme, host and port of an address, as far as present; None when the address is ambiguous."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        return None
    scheme, user, host, port = (found[name] or "" for name in ("scheme", "user", "host", "port"))
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
    elif not re.fullmatch(r"\w(?:[\w-]{0,61}\w)?(?:\.\w(?:[\w-]{0,61}\w)?)*\.?", host):
        return None
    elif _HOST_AND_PORT.fullmatch(user) and ("." in user or "." not in host):
        return None  # possibly `host:port@user:password`, in the wrong order
    elif not port and "." not in host and host.lower() != "localhost":
        return None  # a single word is not recognisable as a host; it may be a secret
    return f"{scheme.lower()}{'://' if scheme else ''}{host}{':' if port else ''}{port}"


def proxy(text: str) -> str:
    """Return the address of a proxy without its user name and password."""
    return address(text) or translate("settings.unreadable_address")


def command(text: str) -> str:
    """Return a command from another program's settings if it is only a path or a name; it may contain secrets else."""
    is_path = Path(text).is_absolute() and "=" not in text and " -" not in text
    is_name = re.fullmatch(r"[\w.-]{1,40}", text)
    return text if is_path or is_name else translate("settings.its_command")


def failure(error: BaseException) -> str:
    """Return the type and the origin of an exception; its text only when that is known to contain no secrets."""
    where = traceback.extract_tb(error.__traceback__)[-1:]
    words = f"{type(error).__name__}{''.join(f' ({Path(frame.filename).name}:{frame.lineno})' for frame in where)}"
    if isinstance(error, TikHubMCPError):
        return f"{words}: {error.message}"
    code = error.errno if isinstance(error, OSError) else None
    return f"{words}: {os.strerror(code)}" if code and code > 0 else words


def _is_address(name: str) -> bool:
    return name == "TIKHUB_BASE_URL" or name.upper().endswith("_PROXY")


def _expected(name: str) -> str:
    if _is_address(name):
        return "https://HOST" if name == "TIKHUB_BASE_URL" else "http://HOST:PORT"
    if name == "TIKHUB_LOG_LEVEL":
        return ", ".join(LOG_LEVELS)
    if name == "TIKHUB_SKILL_FILE":
        return translate("settings.skill_path")
    if name.endswith("_DIRS"):
        return translate("settings.absolute_paths")
    if name.endswith(("_DIR", "_FILE")):
        return translate("settings.absolute_path")
    return translate("settings.number", least=0 if name == "TIKHUB_REUSE_SECONDS" else 1)
