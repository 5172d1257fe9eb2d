"""Finds the API key, and recognises values that cannot be one, such as placeholders."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from tikhub_mcp.errors import KeyMissing
from tikhub_mcp.messages import IN_ENGLISH, translate
from tikhub_mcp.settings.environment import value_of
from tikhub_mcp.settings.program import shell_command
from tikhub_mcp.settings.skill_text import KEY_HEADING, front_matter, split_skill
from tikhub_mcp.text import MIN_SECRET_LENGTH

KEY_HEADER = "X-TikHub-Api-Key"  # of a request over HTTP
MAX_KEY_LENGTH = 1000  # characters; TikHub's keys have well under 200
MAX_SKILL_BYTES = 2**20  # of a SKILL.md; larger files are not read
_PACKAGE = Path(__file__).resolve().parents[1]
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


def find_key(environ: Mapping[str, str] | None = None) -> SecretStr:
    """Return the API key from TIKHUB_API_KEY, or else from the first SKILL.md that contains one.

    Every call reads the files again, so that a key filled in later is found without a restart.

    Args:
        environ: The environment to read; by default this process's.

    Raises:
        KeyMissing: There is no usable key; the message is the stop-and-notify instruction for an agent.
    """
    env = os.environ if environ is None else environ
    for _, key in key_places(env):
        if not why_unusable(key.get_secret_value()):
            return key
    raise _key_missing(env)


def key_of_request(header: str, environ: Mapping[str, str] | None = None) -> SecretStr:
    """Return the API key that pays for a call over HTTP: that of its header, or else that of the server.

    A key in the header that cannot be one is refused. Otherwise the server would pay for whoever mistyped it.

    Args:
        header: The value of KEY_HEADER, or "".
        environ: The environment of the server's own key; by default this process's.

    Raises:
        KeyMissing: There is no usable key.
    """
    key = _unwrap(header)
    problem = why_unusable(key) if key else ""
    if key and not problem:
        return SecretStr(key)
    if not key:
        with suppress(KeyMissing):
            return find_key(environ)
    raise _no_key_in_request(problem, os.environ if environ is None else environ)


def key_places(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, SecretStr]]:
    """Yield the places of the key in search order, the variable first, each with the value found there (or "").

    A file is read when its place is asked for, so none is where the variable has the key.
    """
    env = os.environ if environ is None else environ
    yield "TIKHUB_API_KEY", SecretStr(_unwrap(env.get("TIKHUB_API_KEY", "")))
    for path in dict.fromkeys(skill_files(env)):
        yield str(path), SecretStr(_unwrap(_key_in_skill(path)))


def skill_files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the SKILL.md files that may contain the key, in search order; there is always at least one."""
    env = os.environ if environ is None else environ
    files = []
    with suppress(OSError, RuntimeError, ValueError):  # no home directory, no working directory, or a NUL in the path
        named = Path(value_of(env, "TIKHUB_SKILL_FILE")).expanduser()
        if _may_be_skill(named):  # else it may be the key, and messages show this path
            files.append(named.absolute())
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        files.append(_PACKAGE.parent / "SKILL.md")
    return [*files, _PACKAGE / "SKILL.md"]


def _may_be_skill(path: Path) -> bool:
    """Whether a path is that of a file of ordinary size, or names a SKILL.md that is not there yet."""
    try:
        status = path.stat()
    except OSError:
        return path.suffix.lower() == ".md"
    return stat.S_ISREG(status.st_mode) and status.st_size <= MAX_SKILL_BYTES


def why_unusable(key: str) -> str:
    """Return why a value cannot be a key, without repeating the value; "" when it can be one."""
    if not key:
        return "is empty"
    if len(key) > MAX_KEY_LENGTH:
        return "is far too long for a key"
    if not key.isascii() or not key.isprintable() or " " in key:
        return "contains white space, control or non-ASCII characters"
    if _PLACEHOLDER.fullmatch(key):
        return "holds a placeholder"
    if len(key) < MIN_SECRET_LENGTH:
        return "is too short for a key"
    return ""


def _unwrap(text: str) -> str:
    """Return the key without what is pasted around it: spaces, quotes, backticks, the variable's name, `Bearer `."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("\ufeff\"'`“”‘’").removeprefix("TIKHUB_API_KEY=")
        text = re.sub(r"^bearer(\s+|$)", "", text, flags=re.IGNORECASE)
    return text


def published_skill() -> str:
    """Return this installation's SKILL.md without its section for the key; "" when there is none with a description."""
    texts = (split_skill(_read_skill(path))[0] for path in skill_files({}))
    return next((text for text in texts if {"name", "description"} <= front_matter(text).keys()), "")


def _read_skill(path: Path) -> str:
    """Return the text of a SKILL.md; "" when there is no such file."""
    try:
        if not _may_be_skill(path):  # reading a pipe would block
            return ""
        with path.open("rb") as file:
            return file.read(MAX_SKILL_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def _key_in_skill(path: Path) -> str:
    """Return the first non-empty line under `## API_KEY`; "" when there is no such line or file."""
    inside = False
    for line in split_skill(_read_skill(path))[1].splitlines():
        if line.startswith("#"):
            inside = line.strip() == KEY_HEADING
        elif inside and line.strip() and not line.strip().startswith("```"):
            return line
    return ""


def _why_missing(env: Mapping[str, str], language: Mapping[str, str]) -> str:
    """Return sentences about what was found in the places of the key and is none, in the language of an environment."""
    sentences = []
    for place, key in key_places(env):
        problem = why_unusable(key.get_secret_value())
        if place == "TIKHUB_API_KEY" and env.get(place, "").strip():
            reason = translate(f"unusable_key.{problem}", language)
            sentences.append(translate("key.unusable_in_variable", language, reason=reason))
        elif key.get_secret_value():
            reason = translate(f"unusable_key.{problem}", language)
            sentences.append(translate("key.unusable_in_file", language, place=place, reason=reason))
    if value_of(env, "TIKHUB_SKILL_FILE") and skill_files(env) == skill_files({}):
        sentences.append(translate("key.no_skill", language))
    return "".join(sentences)


def _key_missing(env: Mapping[str, str]) -> KeyMissing:
    skill = skill_files(env)[0]
    error = KeyMissing(
        "Stop this task now: no TikHub API key is configured. Tell the human user that they need to apply for their "
        "own paid personal API key at https://tikhub.io/ and fill it into the environment variable TIKHUB_API_KEY, or "
        f"into the section '## API_KEY' of the SKILL.md at {skill}. Until then do not continue with download, data "
        f"fetching, retries, workarounds or made-up output.{_why_missing(env, IN_ENGLISH)}"
    )
    demo = shell_command("demo", anywhere=True)
    error.tell_human = translate("key.tell_human", env, skill=skill, demo=demo, found=_why_missing(env, env))
    return error


def _no_key_in_request(problem: str, env: Mapping[str, str]) -> KeyMissing:
    def found(language: Mapping[str, str]) -> str:
        reason = translate(f"unusable_key.{problem}", language) if problem else ""
        return translate("key.unusable_in_header", language, header=KEY_HEADER, reason=reason) if problem else ""

    error = KeyMissing(
        "Stop this task now: no TikHub API key came with this call. Tell the human user that they need to apply for "
        f"their own paid personal API key at https://tikhub.io/ and fill it into the header {KEY_HEADER}, in the "
        "settings of their MCP client; or that whoever runs this server fills one for all into its environment "
        "variable TIKHUB_API_KEY. Until then do not continue with download, data fetching, retries, workarounds or "
        f"made-up output.{found(IN_ENGLISH)}"
    )
    error.tell_human = translate("key.tell_human_over_http", env, header=KEY_HEADER, found=found(env))
    return error
