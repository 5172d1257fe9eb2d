"""Writing to a terminal, a pipe or a file.

Lines fit the width of a terminal, whatever the width of their characters; names keep their own direction. Results go to
standard output; errors, warnings and notes to standard error.
"""

import json
import os
import re
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pydantic import BaseModel
from tikhub_mcp.errors import NotWritable
from tikhub_mcp.messages import for_person, translate
from tikhub_mcp.text import printable

# A CJK character, or other text without blanks, each with the punctuation that stays at it; or blanks.
_WORD = re.compile("(?:[（「“《]*[\u2e80-\uffef]|[^\\s\u2e80-\uffef]+)[，。：；、）」”》？！]*|\\s+")
_ESCAPED = re.compile("[\ud800-\udfff\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = ("R", "AL", "RLE", "RLO", "RLI")


def is_seen(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; it is None if it was closed before Python started."""
    return stream is not None and stream.isatty()


def is_pipe(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe, whose reader may write to the terminal too."""
    try:
        return stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it has no file, or is closed
        return False


def fitted(line: str) -> str:
    """Return a line that a terminal need not wrap: cut to the width of standard output if that is one."""
    if not is_seen(sys.stdout):
        return line
    from rich.text import Text

    text = Text(line)
    text.truncate(_columns(), overflow="ellipsis")
    return text.plain


def isolated(text: str) -> str:
    """Return a name that has letters written from right to left so that a terminal moves nothing beside it."""
    is_needed = is_seen(sys.stdout) and any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)
    return f"\u2068{text}\u2069" if is_needed else text


def padded(text: str, width: int) -> str:
    """Return a text with blanks up to a width in columns."""
    return text + " " * (width - columns_of(text))


def paragraph(text: str, indent: int = 0, *, stream: TextIO | None) -> str:
    """Return a text wrapped for a terminal; unchanged if the stream is none.

    Args:
        text: The text, without line ends.
        indent: Blanks before each line but the first one, whose blanks the caller prints.
        stream: Where the text goes.
    """
    if not is_seen(stream):
        return text
    return f"\n{' ' * indent}".join(wrapped(text, _columns() - indent))


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` columns; a longer word, such as a path, has a line of its own."""
    lines, line, used = list[str](), "", 0
    for word in _WORD.findall(text.strip()):
        size = columns_of(word)
        if line and used + size > width:
            lines.append(line.rstrip())
            line, used = "", 0
        if line or not word.isspace():
            line, used = line + word, used + size
    return [*lines, line.rstrip()]


def columns_of(text: str) -> int:
    """Return how many columns a text takes; rich is not asked, because importing it would slow down `--help`."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def _columns() -> int:
    return max(20, shutil.get_terminal_size().columns)


@contextmanager
def _to_stdout() -> Iterator[None]:
    """Handle what writing to standard output may raise; what could not be written is dropped.

    Raises:
        BrokenPipeError: The reader, such as `head`, has closed the pipe.
        NotWritable: Any other error of the system.
    """
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        if isinstance(error, BrokenPipeError):
            raise
        raise NotWritable(f"Standard output cannot be written: {error.strerror}.") from None


def put(text: str, end: str = "\n", *, flush: bool = False) -> None:
    """Write a text to standard output as it is.

    Args:
        text: The text, without control characters of other people.
        end: What comes after it.
        flush: Whether a pipe gets it at once.

    Raises:
        BrokenPipeError, NotWritable: It cannot be written.
    """
    with _to_stdout():
        print(text, end=end, flush=flush)


def flush_output() -> None:
    """Write what waits to be written to standard output.

    Raises:
        BrokenPipeError, NotWritable: It cannot be written.
    """
    with _to_stdout():
        if sys.stdout:  # None if it was closed before Python started
            sys.stdout.flush()


def remark(kind: str, text: str) -> None:
    """Print an error, a warning or a note on standard error."""
    print(paragraph(printable(f"{kind}{text}"), stream=sys.stderr), file=sys.stderr)


def print_error(code: str, message: str) -> None:
    """Print an error, in the words for a person at a terminal."""
    flush_output()  # what was printed before stands before it
    remark(f"{translate('cli.error')}{code}: ", for_person(message))


def print_note(note: str | None) -> None:
    """Print a note, unless it is empty."""
    if note:
        remark(translate("cli.note"), for_person(note))


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings."""
    for warning in warnings:
        remark(translate("cli.warning"), for_person(warning))


def print_json(reply: "BaseModel") -> None:
    """Print a reply as JSON, encoded in pieces; direction characters, and bytes that are not UTF-8, are escapes."""
    # model_dump_json fails on a path whose bytes are not UTF-8. The reply for 10,000 links has 15 million characters;
    # as one string it needs four bytes for each if one of them is an emoji.
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(reply.model_dump()):
        put(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", piece), end="")
    put("")
