"""Lines for a terminal: as wide as it is whatever their characters, and with names in their own direction."""

import os
import re
import shutil
import stat
import sys
import unicodedata
from typing import TextIO

# A CJK character, or other text without blanks, each with the punctuation that stays at it; or blanks.
_WORD = re.compile("(?:[（「“《]*[\u2e80-\uffef]|[^\\s\u2e80-\uffef]+)[，。：；、）」”》？！]*|\\s+")
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
    """Return a text wrapped for a terminal; unchanged, after the indent, if the stream is none.

    Args:
        text: The text, without line ends.
        indent: Blanks before each line but the first one, and before that if it is given so.
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
    """Return how many columns a text takes."""
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
