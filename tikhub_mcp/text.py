"""Other people's text, made safe to carry."""

import re
import unicodedata

_SURROGATES = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"  # format characters that words and emoji families need
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control and bidirectional characters, surrogates, private use


def clean(text: str, limit: int = 300) -> str:
    """Text on one line, without anything invisible that could act, at most `limit` characters long.

    What is dropped becomes a blank, so that words stay apart; runs of white space become one blank.
    """
    # Four times the limit bounds the work on text of any size, and leaves room for what is dropped.
    line = " ".join("".join(map(_visible, text[: 4 * limit])).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def writable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD; all else as it was."""
    return _SURROGATES.sub("\ufffd", text)


def _visible(char: str) -> str:
    hidden = unicodedata.category(char) in _DROPPED or "\U000e0000" <= char <= "\U000e0fff"
    return " " if hidden and char not in _JOINERS else char
