"""What people give on the command line: paths, and links, also in files and pipes."""

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.tools.batch import Given
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.text import clean


def absolute(path: Path | None) -> Path | None:
    """Return a path from the command line, made absolute against the current directory.

    Raises:
        InvalidInput: It has an unknown home directory, or symbolic links in a loop.
    """
    try:
        return path.expanduser().resolve() if path else None
    except (OSError, RuntimeError) as error:  # an unknown home directory, or a loop of symbolic links
        raise InvalidInput(f"The path {clean(str(path))} leads nowhere: {str(error).rstrip('.')}.") from None


def read_links(given: list[str]) -> "Given":
    """Return the links that a command was given, in their order: links, share texts, and lists of any size.

    Args:
        given: Links and share texts; names of files and pipes with lists; and `-` for standard input.

    Raises:
        InvalidInput: There is one that is neither, or a list that cannot be read or has no link.
    """
    from tikhub_mcp.tools.batch import Given

    return sum(map(_read, given), Given([]))


def _read(given: str) -> "Given":
    from tikhub_mcp.posts.finding import find
    from tikhub_mcp.tools.batch import list_entries, parse_entries, read_list
    from tikhub_mcp.tools.list_text import decode_list

    if not given.strip():
        raise InvalidInput("One of the links or files is empty. Give links, files of links, or `-`.")
    mode = _mode(given)
    if not mode and find(given):
        return parse_entries([given])
    if given in ("-", "/dev/stdin"):
        name, content = "standard input", sys.stdin.buffer.read() if sys.stdin else b""
    elif stat.S_ISFIFO(mode):
        name, content = "the pipe", Path(given).read_bytes()
    elif not mode:
        raise InvalidInput(f"{clean(given, 80)} is neither a link nor a file. Put a share text into quotes.")
    else:
        return read_list(Path(given), largest=None)
    return list_entries(decode_list(content, name), name)


def _mode(name: str) -> int:
    """The type and permissions of a file; 0 where there is none."""
    try:
        return Path(name).stat().st_mode
    except (OSError, ValueError):  # also a name that no file can have
        return 0
