"""What people give on the command line: paths, and lists of links in files and pipes."""

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


def read_links(names: list[str], command: str = "batch") -> "Given":
    """Read the list of links that a command was given: a file of any size, a pipe, or `-` for standard input.

    Args:
        names: The file; more than one is an error that says what to do instead.
        command: What errors call the command.

    Raises:
        InvalidInput: It is no list of links, cannot be read, or is not the only one.
    """
    from tikhub_mcp.posts.finding import find
    from tikhub_mcp.tools.batch import list_entries, read_list
    from tikhub_mcp.tools.list_text import decode_list

    if any(find(name) and not _mode(name) for name in names):
        other = "For one link run `tikhub-mcp one URL`. " if command == "batch" else ""
        raise InvalidInput(
            f"`{command}` takes a file of links, and this is a link. {other}Hand links to `tikhub-mcp {command} -` on "
            "standard input, one a line."
        )
    if len(names) > 1:
        raise InvalidInput(
            f"`{command}` takes one file. Hand several to it with `cat FILE FILE | tikhub-mcp {command} -`."
        )
    if not names[0].strip():
        raise InvalidInput(f"`{command}` takes a file of links, and the name that was given is empty.")
    path = Path(names[0])
    if names[0] in ("-", "/dev/stdin"):
        name, content = "standard input", sys.stdin.buffer.read() if sys.stdin else b""
    elif stat.S_ISFIFO(_mode(names[0])):
        name, content = "the pipe", path.read_bytes()
    else:
        return read_list(path, largest=None)
    return list_entries(decode_list(content, name), name)


def _mode(name: str) -> int:
    """The type and permissions of a file; 0 where there is none."""
    try:
        return Path(name).stat().st_mode
    except (OSError, ValueError):  # also a name that no file can have
        return 0
