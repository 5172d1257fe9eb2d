"""The environment, read into one frozen value."""

import errno
import ipaddress
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tikhub_mcp.errors import InvalidInput

DEFAULT_BASE_URL = "https://api.tikhub.io"
DEFAULT_ROOT = "~/Downloads/tikhub_mcp"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TELLABLE = {  # all that is read but the key
    "TIKHUB_BASE_URL",
    "TIKHUB_OUTPUT_DIR",
    "TIKHUB_ALLOWED_DIRS",
    "TIKHUB_SKILL_FILE",
    "TIKHUB_LOG_LEVEL",
    "TIKHUB_MAX_BYTES",
    *("TIKHUB_CALL_SECONDS", "TIKHUB_REUSE_SECONDS", "TIKHUB_DOWNLOAD_SECONDS"),
}

_OF_THE_NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, except the key, which is looked for at every call.

    Attributes:
        base_url: Where TikHub is, without a slash at the end.
        root: The folder of `videos/`, `raw/` and `reports/`, absolute and resolved.
        allowed: Further folders that tools may use.
        call_seconds: How long a tool call may take to answer.
        reuse_seconds: How long an answer is used again instead of being paid for again.
        download_seconds: The longest that one file may take.
        max_bytes: The largest file.
        log_level: One of LOG_LEVELS.
    """

    base_url: str
    root: Path
    allowed: tuple[Path, ...] = ()
    call_seconds: float = 40.0
    reuse_seconds: float = 3600.0
    download_seconds: float = 1800.0
    max_bytes: int = 4 * 2**30
    log_level: str = "WARNING"

    @property
    def videos(self) -> Path:
        """Where videos go unless the call says otherwise."""
        return self.root / "videos"

    @property
    def raw(self) -> Path:
        """Where raw answers go."""
        return self.root / "raw"

    @property
    def reports(self) -> Path:
        """Where summaries go unless the call says otherwise."""
        return self.root / "reports"

    @property
    def on_loopback(self) -> bool:
        """Whether the API is a stand-in on this machine; only then may media come from this machine too."""
        return _is_loopback(urlsplit(self.base_url).hostname or "")


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; unset, empty and unexpanded (`${…}`) variables give the defaults.

    Raises:
        InvalidInput: A variable cannot be used; the message names it.
    """
    env = os.environ if environ is None else environ
    root = _folder("TIKHUB_OUTPUT_DIR", value_of(env, "TIKHUB_OUTPUT_DIR") or DEFAULT_ROOT)
    allowed = (part.strip() for part in value_of(env, "TIKHUB_ALLOWED_DIRS").split(os.pathsep))
    return Settings(
        base_url=_base_url(value_of(env, "TIKHUB_BASE_URL") or DEFAULT_BASE_URL),
        root=root,
        allowed=tuple(_folder("TIKHUB_ALLOWED_DIRS", part) for part in allowed if part),
        call_seconds=_number(env, "TIKHUB_CALL_SECONDS", 40, at_least=1),
        reuse_seconds=_number(env, "TIKHUB_REUSE_SECONDS", 3600, at_least=0),
        download_seconds=_number(env, "TIKHUB_DOWNLOAD_SECONDS", 1800, at_least=1),
        max_bytes=int(_number(env, "TIKHUB_MAX_BYTES", 4 * 2**30, at_least=1)),
        log_level=log_level(env),
    )


def log_level(environ: Mapping[str, str] | None = None) -> str:
    """The level of TIKHUB_LOG_LEVEL, or WARNING where it names none: a server must not die of its log."""
    level = value_of(os.environ if environ is None else environ, "TIKHUB_LOG_LEVEL").upper()
    return level if level in LOG_LEVELS else "WARNING"


def process_environment() -> Mapping[str, str]:
    """Every variable, to find the files of other programs by."""
    return os.environ


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables that decide how this runs, by name; None in place of a value that may be a key.

    A TIKHUB_… that nothing reads is there as well, without its value: it may be the key under a misspelt name. The
    address of a proxy may hold a password.
    """
    env = os.environ if environ is None else environ
    ours = {name: env[name] if name in TELLABLE else None for name in sorted(env) if name.startswith("TIKHUB_")}
    return ours | {name: env[name] for name in sorted(env) if name.upper() in _OF_THE_NETWORK and env[name]}


def value_of(env: Mapping[str, str], name: str) -> str:
    """The value of a variable; empty where it is unset, or was not expanded."""
    value = env.get(name, "").strip()
    return "" if value.startswith("${") else value  # a host that did not expand its own variable


def _number(env: Mapping[str, str], name: str, default: float, at_least: float) -> float:
    try:
        number = float(value_of(env, name) or default)
    except ValueError:
        number = float("nan")
    if not at_least <= number < 2**53:  # false for NaN as well
        raise InvalidInput(f"The environment variable {name} must be a number, at least {at_least:g}.")
    return number


def _folder(name: str, text: str) -> Path:
    with suppress(OSError, RuntimeError, ValueError):  # a loop of links, no home, or no name on this file system
        path = Path(text).expanduser()
        if path.is_absolute():
            return resolved_path(path)
    raise InvalidInput(f"The environment variable {name} must hold usable absolute paths (they may start with ~/).")


def resolved_path(path: Path) -> Path:
    """The path without links.

    Raises:
        OSError, RuntimeError: There is a loop of links in it.
    """
    resolved = path.resolve()
    try:
        resolved.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:  # from Python 3.13 on, `resolve` is silent about loops
            raise
    return resolved


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("https", "http") or re.search(r"[\s?#@\\]", text):
        raise InvalidInput("The environment variable TIKHUB_BASE_URL must look like https://api.tikhub.io.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidInput("TIKHUB_BASE_URL must start with https:// (http is for a loopback address only).")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
