"""The environment and SKILL.md, read into one frozen value; and where tools may read and write."""

import errno
import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from tikhub_mcp.errors import InvalidInput, KeyMissing, PathNotAllowed

DEFAULT_BASE_URL = "https://api.tikhub.io"
DEFAULT_ROOT = "~/Downloads/tikhub_mcp"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LONGEST_KEY = 1000  # characters; TikHub's keys have well under 200
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
_PACKAGE = Path(__file__).resolve().parent
_PLACEHOLDER = re.compile(
    r"""(your|insert|enter|paste|put|replace|add|fill)
        ([ _-]?(with|your|the|real|actual|secret|private|personal|own|tikhub))*
        [ _-]?(api)?[ _-]?(key|token|me)(here)?(?![a-z0-9]).*
    | (my|private|personal|tikhub)([ _-]?(my|private|personal|tikhub))*[ _-]?(api)?[ _-]?(key|token)
    | api[ _-]?(key|token)([ _-]?here)? | none | null | undefined | todo | tbd | placeholder | change[ _-]?me
    | ([a-z]{1,6}[-_])?x{3,}[x.-]* | .*\.{3}.* | [*._-]+
    | <.*> | \[.*\] | \{.*\} | .*\$\{.*\}.* | \$[\w:]+ | %\w+%""",
    re.IGNORECASE | re.VERBOSE,
)


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


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; unset, empty and unexpanded (`${…}`) variables give the defaults.

    Raises:
        InvalidInput: A variable cannot be used; the message names it.
    """
    env = os.environ if environ is None else environ
    root = _folder("TIKHUB_OUTPUT_DIR", _value(env, "TIKHUB_OUTPUT_DIR") or DEFAULT_ROOT)
    allowed = (part.strip() for part in _value(env, "TIKHUB_ALLOWED_DIRS").split(os.pathsep))
    return Settings(
        base_url=_base_url(_value(env, "TIKHUB_BASE_URL") or DEFAULT_BASE_URL),
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
    level = _value(os.environ if environ is None else environ, "TIKHUB_LOG_LEVEL").upper()
    return level if level in LOG_LEVELS else "WARNING"


def said(english: str, in_chinese: str, environ: Mapping[str, str] | None = None) -> str:
    """What people read, in their language: Chinese where the locale says so, else English. Agents get English.

    The locale is the first of LC_ALL, LC_MESSAGES and LANG that is set.
    """
    env = os.environ if environ is None else environ
    locale = next(filter(None, (env.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return in_chinese if locale.lower().startswith("zh") else english


def environment() -> Mapping[str, str]:
    """Every variable, to find the files of other programs by."""
    return os.environ


def find_key(environ: Mapping[str, str] | None = None) -> SecretStr:
    """The API key: from TIKHUB_API_KEY, else from the first SKILL.md that holds one.

    Looks again at every call, so that a key filled in later is found without a restart.

    Raises:
        KeyMissing: There is none; its message is the stop-and-notify instruction for an agent.
    """
    env = os.environ if environ is None else environ
    for _, key in key_places(env):
        if not why_unusable(key.get_secret_value()):
            return key
    found = env.get("TIKHUB_API_KEY", "")
    raise _key_missing(env, why_unusable(_unwrap(found)) if found.strip() else "")


def key_places(environ: Mapping[str, str] | None = None) -> list[tuple[str, SecretStr]]:
    """Where the key is looked for, in that order: the variable and the files, each with what stands there for a key."""
    env = os.environ if environ is None else environ
    texts = {"TIKHUB_API_KEY": env.get("TIKHUB_API_KEY", "")}
    texts |= {str(path): _key_in_skill(path) for path in skill_files(env)}
    return [(name, SecretStr(_unwrap(text))) for name, text in texts.items()]


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables that decide how this runs, by name; None in place of a value that may be a key.

    A TIKHUB_… that nothing reads is there as well, without its value: it may be the key under a misspelt name. The
    address of a proxy may hold a password.
    """
    env = os.environ if environ is None else environ
    ours = {name: env[name] if name in TELLABLE else None for name in sorted(env) if name.startswith("TIKHUB_")}
    return ours | {name: env[name] for name in sorted(env) if name.upper() in _OF_THE_NETWORK and env[name]}


def skill_files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """The SKILL.md files that may hold the key, in the order in which they are read; at least one."""
    env = os.environ if environ is None else environ
    files = []
    with suppress(OSError, RuntimeError, ValueError):  # no such home, no folder to be relative to, a NUL in it
        named = Path(_value(env, "TIKHUB_SKILL_FILE")).expanduser()
        if named.suffix.lower() == ".md" or named.is_file():  # else it may be the key, which messages would repeat
            files.append(named.absolute())
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        files.append(_PACKAGE.parent / "SKILL.md")
    return [*files, _PACKAGE / "SKILL.md"]


def why_unusable(key: str) -> str:
    """Why this cannot be a key, in a few words that do not repeat it; empty when it can be one."""
    if not key:
        return "is empty"
    if len(key) > LONGEST_KEY:
        return "is far too long for a key"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "contains white space, control or non-ASCII characters"
    if _PLACEHOLDER.fullmatch(key):
        return "holds a placeholder"
    return ""


def allowed_path(settings: Settings, given: str, default: Path) -> Path:
    """Where a tool's path argument leads, if it may: an absolute path with all links resolved.

    `~` is the home directory, a relative path is under the root, an empty one gives the default. The result lies in
    the root, the home directory, the temporary directory or an allowed folder, with no hidden folder below that.

    Raises:
        PathNotAllowed: Anything else; nothing was created.
    """
    text = given.strip()
    if not text:
        return default
    if (reason := _why_no_path(text)) is not None:
        raise PathNotAllowed(f"That path cannot be used: {reason}. {_where_allowed(settings)}")
    try:
        path = _resolved(settings.root / Path(text).expanduser())
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no home, or no name on this file system
        raise PathNotAllowed(f"That path cannot be resolved. {_where_allowed(settings)}") from error
    if not any(_is_below(path, base) for base in _bases(settings)):
        raise PathNotAllowed(f"That path is outside the folders that tools may use. {_where_allowed(settings)}")
    return path


def _value(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    return "" if value.startswith("${") else value  # a host that did not expand its own variable


def _number(env: Mapping[str, str], name: str, default: float, at_least: float) -> float:
    try:
        number = float(_value(env, name) or default)
    except ValueError:
        number = float("nan")
    if not at_least <= number < 2**53:  # false for NaN as well
        raise InvalidInput(f"The environment variable {name} must be a number, at least {at_least:g}.")
    return number


def _folder(name: str, text: str) -> Path:
    with suppress(OSError, RuntimeError, ValueError):  # a loop of links, no home, or no name on this file system
        path = Path(text).expanduser()
        if path.is_absolute():
            return _resolved(path)
    raise InvalidInput(f"The environment variable {name} must hold usable absolute paths (they may start with ~/).")


def _resolved(path: Path) -> Path:
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


def _unwrap(text: str) -> str:
    """The key without what people paste around it: blanks, quotes, back-ticks, the variable's name, `Bearer `."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("\ufeff\"'`“”‘’").removeprefix("TIKHUB_API_KEY=")
        text = re.sub(r"^bearer(\s+|$)", "", text, flags=re.IGNORECASE)
    return text


def _key_in_skill(path: Path) -> str:
    """The first non-empty line under `## API_KEY`; empty when there is none, or no such file."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return ""
    inside = False
    for line in re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL).splitlines():
        if line.startswith("#"):
            inside = line.strip() == "## API_KEY"
        elif inside and line.strip() and not line.strip().startswith("```"):
            return line
    return ""


def _key_missing(env: Mapping[str, str], reason: str) -> KeyMissing:
    skill = skill_files(env)[0]
    found = f" (The environment variable TIKHUB_API_KEY is set, but {reason}.)" if reason else ""
    error = KeyMissing(
        "Stop this task now: no TikHub API key is configured. Tell the human user that they need to apply for their "
        "own paid personal API key at https://tikhub.io/ and fill it into the environment variable TIKHUB_API_KEY, or "
        f"into the section '## API_KEY' of the SKILL.md at {skill}. Until then do not continue with download, data "
        f"fetching, retries, workarounds or made-up output.{found}"
    )
    error.tell_human = said(
        "You need to apply for your own paid personal API key at https://tikhub.io/ and fill it into the environment "
        f"variable TIKHUB_API_KEY, or into the section '## API_KEY' of {skill}.",
        "您需要在 https://tikhub.io/ 申请自己的付费个人 API 密钥，然后填入环境变量 TIKHUB_API_KEY，"
        f"或填入 {skill} 的“## API_KEY”一节。",
        env,
    )
    return error


def _why_no_path(text: str) -> str | None:
    if re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", text):
        return "it contains control characters"
    if len(text.encode()) > 3000 or any(len(part.encode()) > 240 for part in re.split(r"[/\\]", text)):
        return "it is too long"
    if "://" in text or text.startswith(("-", "file:")):
        return "it is not a path"
    if re.search(r"[$%]", text):
        return "it contains an unexpanded variable or escape"
    if os.name != "nt" and ("\\" in text or re.match(r"[A-Za-z]:", text)):
        return "it is a Windows path, and this is not Windows"
    if text.startswith("~") and not re.match(r"~([/\\]|$)", text):
        return "it names another user's home directory"
    return None


def _bases(settings: Settings) -> list[Path]:
    bases = [settings.root, *settings.allowed]
    for find in (tempfile.gettempdir, Path.home):
        with suppress(OSError, RuntimeError):  # there may be none
            folder = Path(find())
            # A service account's home can be the whole disk, or relative to where it started; that is no permission.
            if folder.is_absolute() and folder.resolve() != Path(folder.anchor):
                bases.append(folder.resolve())
    return bases


def _is_below(path: Path, base: Path) -> bool:
    return path.is_relative_to(base) and not any(part.startswith(".") for part in path.relative_to(base).parts)


def _where_allowed(settings: Settings) -> str:
    return (
        f"Allowed are {settings.root}, the home directory, the temporary directory and the folders in "
        "TIKHUB_ALLOWED_DIRS, without hidden folders."
    )
