"""Reads the environment variables into one frozen value, `Settings`."""

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
DEFAULT_ROOT = "~/Downloads/tikhub_mcp"  # where the Downloads folder has its usual name
DEFAULT_REUSE_SECONDS = 3600.0
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
NON_SECRET_VARIABLES = {  # every TIKHUB_ variable that is read, except the key: their values may be shown
    "TIKHUB_BASE_URL",
    "TIKHUB_OUTPUT_DIR",
    "TIKHUB_ALLOWED_DIRS",
    "TIKHUB_SKILL_FILE",
    "TIKHUB_LOG_LEVEL",
    "TIKHUB_MAX_BYTES",
    *("TIKHUB_CALL_SECONDS", "TIKHUB_REUSE_SECONDS", "TIKHUB_DOWNLOAD_SECONDS"),
}

_PLACEHOLDER = re.compile(r"\$\{[^{}]*\}")
_OF_THE_NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings except the key, which is searched for at every call.

    Attributes:
        base_url: The base URL of TikHub's API, without a trailing slash.
        root: The folder that contains `videos/`, `photos/`, `raw/` and `reports/`: absolute, links resolved.
        allowed: Further folders that tools may use.
        call_seconds: The maximum time before a tool call is answered, in seconds.
        reuse_seconds: How long a stored answer is used instead of a new paid request, in seconds.
        download_seconds: The maximum time for one file, in seconds.
        max_bytes: The maximum size of a file, in bytes.
        log_level: One of LOG_LEVELS.
        confined: Whether tools may use nothing outside the root, on a server for several people.
    """

    base_url: str
    root: Path
    allowed: tuple[Path, ...] = ()
    call_seconds: float = 40.0
    reuse_seconds: float = DEFAULT_REUSE_SECONDS
    download_seconds: float = 1800.0
    max_bytes: int = 4 * 2**30
    log_level: str = "WARNING"
    confined: bool = False

    @property
    def videos(self) -> Path:
        """The default folder for videos."""
        return self.root / "videos"

    @property
    def photos(self) -> Path:
        """The default folder for photo posts, each of which has a folder in it."""
        return self.root / "photos"

    @property
    def raw(self) -> Path:
        """The folder for raw answers."""
        return self.root / "raw"

    @property
    def reports(self) -> Path:
        """The default folder for summaries."""
        return self.root / "reports"

    @property
    def selection(self) -> Path:
        """The default folder for summaries of some posts only, which replace none of all posts."""
        return self.reports / "selection"

    @property
    def on_loopback(self) -> bool:
        """Whether the API is a test server on this machine; only then may media come from this machine too."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; a variable that is unset or empty has its default value.

    Args:
        environ: The environment to read; by default this process's.

    Raises:
        InvalidInput: A variable has an invalid value, or is unexpanded; the message names the variable.
    """
    env = os.environ if environ is None else environ
    for name in sorted(NON_SECRET_VARIABLES):
        if is_unexpanded(env.get(name, "")):
            raise InvalidInput(
                f"The environment variable {name} holds a placeholder, ${{…}}, which the MCP client did not replace. "
                "Put the value itself into the client's settings, or take the variable out."
            )
    root = _folder("TIKHUB_OUTPUT_DIR", value_of(env, "TIKHUB_OUTPUT_DIR") or _default_root())
    allowed = (part.strip() for part in value_of(env, "TIKHUB_ALLOWED_DIRS").split(os.pathsep))
    return Settings(
        base_url=_base_url(value_of(env, "TIKHUB_BASE_URL") or DEFAULT_BASE_URL),
        root=root,
        allowed=tuple(_folder("TIKHUB_ALLOWED_DIRS", part) for part in allowed if part),
        call_seconds=_number(env, "TIKHUB_CALL_SECONDS", 40, at_least=1),
        reuse_seconds=_reuse_seconds(env),
        download_seconds=_number(env, "TIKHUB_DOWNLOAD_SECONDS", 1800, at_least=1),
        max_bytes=int(_number(env, "TIKHUB_MAX_BYTES", 4 * 2**30, at_least=1)),
        log_level=log_level(env),
    )


def log_level(environ: Mapping[str, str] | None = None) -> str:
    """Return the level in TIKHUB_LOG_LEVEL; an unknown level gives WARNING, so that the server still starts."""
    level = value_of(os.environ if environ is None else environ, "TIKHUB_LOG_LEVEL").upper()
    return level if level in LOG_LEVELS else "WARNING"


def reuse_seconds(environ: Mapping[str, str] | None = None) -> float:
    """Return TIKHUB_REUSE_SECONDS; an invalid value gives the default, so that the server still starts."""
    try:
        return _reuse_seconds(os.environ if environ is None else environ)
    except InvalidInput:
        return DEFAULT_REUSE_SECONDS


def process_environment() -> Mapping[str, str]:
    """Return all variables of this process, for code that locates files of other programs."""
    return os.environ


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the variables that affect this program, by name; a value that may be the key is replaced by None.

    A TIKHUB_… variable that is not read is included without its value, because it may be the key under a misspelt name.
    The value of a proxy variable is included, and may contain a password.
    """
    env = os.environ if environ is None else environ
    own = {
        name: env[name] if name in NON_SECRET_VARIABLES else None for name in sorted(env) if name.startswith("TIKHUB_")
    }
    return own | {name: env[name] for name in sorted(env) if name.upper() in _OF_THE_NETWORK and env[name]}


def value_of(env: Mapping[str, str], name: str) -> str:
    """Return the value of a variable without surrounding white space; "" when it is unset or unexpanded."""
    value = env.get(name, "").strip()
    return "" if is_unexpanded(value) else value


def is_unexpanded(value: str) -> bool:
    """Return whether a value still holds a placeholder, `${…}`, because a client did not expand its configuration."""
    return _PLACEHOLDER.search(value) is not None


def _reuse_seconds(env: Mapping[str, str]) -> float:
    return _number(env, "TIKHUB_REUSE_SECONDS", DEFAULT_REUSE_SECONDS, at_least=0)


def _number(env: Mapping[str, str], name: str, default: float, at_least: float) -> float:
    try:
        number = float(value_of(env, name) or default)
    except ValueError:
        number = float("nan")
    if not at_least <= number < 2**53:  # false for NaN as well
        raise InvalidInput(f"The environment variable {name} must be a number, at least {at_least:g}.")
    return number


def _default_root() -> str:
    """Return `tikhub_mcp` in the user's Downloads folder; an existing DEFAULT_ROOT stays in use."""
    if os.path.isdir(os.path.expanduser(DEFAULT_ROOT)):  # noqa: PTH111, PTH112 - they raise no exception
        return DEFAULT_ROOT
    import platformdirs  # 10 ms that the start of the server can do without

    with suppress(RuntimeError):  # no home directory, which `_folder` reports
        return str(platformdirs.user_downloads_path() / Path(DEFAULT_ROOT).name)
    return DEFAULT_ROOT


def _folder(name: str, text: str) -> Path:
    with suppress(OSError, RuntimeError, ValueError):  # a loop of links, no home directory, or an invalid name
        path = Path(text).expanduser()
        if path.is_absolute():
            return resolved_path(path)
    raise InvalidInput(f"The environment variable {name} must hold usable absolute paths (they may start with ~/).")


def resolved_path(path: Path) -> Path:
    """Return the path with all symbolic links resolved.

    Raises:
        OSError, RuntimeError: The path contains a loop of links.
    """
    resolved = path.resolve()
    try:
        resolved.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:  # since Python 3.13, `resolve` does not raise for loops
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
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidInput("TIKHUB_BASE_URL must start with https:// (http is for a loopback address only).")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback interface, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
