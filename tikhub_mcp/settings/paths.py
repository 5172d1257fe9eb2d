"""Restricts where tools may read and write."""

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from tikhub_mcp.errors import PathNotAllowed
from tikhub_mcp.settings.environment import Settings, resolved_path


def allowed_path(settings: Settings, given: str, default: Path) -> Path:
    """Return the absolute path, all links resolved, that a path argument of a tool names.

    The path must be in the root, the home directory, the temporary directory or an allowed folder, and have no hidden
    folder below that. With `settings.confined` it must be in the root.

    Args:
        settings: The settings with the root and the allowed folders.
        given: The argument. `~` is the home directory; a relative path is relative to the root.
        default: The result for an empty argument.

    Raises:
        PathNotAllowed: The path is anywhere else, or invalid; nothing was created.
    """
    text = given.strip()
    if not text:
        return default
    if (reason := _why_no_path(text)) is not None:
        raise PathNotAllowed(f"That path cannot be used: {reason}. {_where_allowed(settings)}")
    try:
        named = settings.root / Path(text).expanduser()
        if settings.confined and not Path(os.path.normpath(named)).is_relative_to(settings.root):
            raise _outside(settings)  # before the disk is asked, which would tell what is there
        path = resolved_path(named)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no home directory, or no name here
        raise PathNotAllowed(f"That path cannot be resolved. {_where_allowed(settings)}") from error
    if not any(_is_below(path, base) for base in _bases(settings)):
        raise _outside(settings)
    return path


def _outside(settings: Settings) -> PathNotAllowed:
    return PathNotAllowed(f"That path is outside the folders that tools may use. {_where_allowed(settings)}")


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
    if settings.confined:
        return [settings.root]
    bases = [settings.root, *settings.allowed]
    for find in (tempfile.gettempdir, Path.home):
        with suppress(OSError, RuntimeError):  # the folder may not exist
            folder = Path(find())
            # The home directory of a service account can be `/`, or a relative path. Neither may be allowed.
            if folder.is_absolute() and folder.resolve() != Path(folder.anchor):
                bases.append(folder.resolve())
    return bases


def _is_below(path: Path, base: Path) -> bool:
    return path.is_relative_to(base) and not any(part.startswith(".") for part in path.relative_to(base).parts)


def _where_allowed(settings: Settings) -> str:
    if settings.confined:
        return f"Allowed is {settings.root}, without hidden folders; a relative path is below it."
    return (
        f"Allowed are {settings.root}, the home directory, the temporary directory and the folders in "
        "TIKHUB_ALLOWED_DIRS, without hidden folders."
    )
