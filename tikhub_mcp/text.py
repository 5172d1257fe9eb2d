"""Other people's text, made safe to carry, alone and in JSON values."""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"  # format characters that words and emoji families need
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control and bidirectional characters, surrogates, private use


def clean(text: str, limit: int = 300) -> str:
    """Text on one line, without anything invisible that could act, at most `limit` characters long.

    What is dropped becomes a blank, so that words stay apart; runs of white space become one blank.
    """
    # Four times the limit bounds the work on text of any size, and leaves room for what is dropped.
    line = " ".join("".join(map(_visible, text[: 4 * limit])).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip(_JOINERS) + "…"


def shortened(text: str, most: int) -> str:
    """As much of a text, made like that, as so many bytes of JSON can hold."""
    short = clean(text, most)
    while json_size(short) - len('""') > most:
        short = clean(short, len(short) - 1)
    return short


def json_size(value: Any) -> int:  # noqa: ANN401 - JSON of any kind
    """How many bytes a value takes as compact JSON, once it can be sent."""
    return len(json.dumps(sendable(value), ensure_ascii=False, separators=(",", ":")).encode())


def writable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD; all else as it was."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def sendable(value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    """The value with every text in it `writable`: one lone surrogate on the wire would end the server."""
    return map_json(value, writable)


def map_json(
    value: Any,  # noqa: ANN401 - JSON of any kind
    text: Callable[[str], str],
    member: Callable[[str, Any], Any] | None = None,
) -> Any:  # noqa: ANN401
    """A copy of a JSON value with every text in it, names of members included, replaced by `text` of it.

    Args:
        value: What to copy.
        text: Gives the new text.
        member: Gives what to copy in the place of a member's value, by its name and that value; None for the value.

    Raises:
        RecursionError: It is nested too deeply.
    """
    match value:
        case str():
            return text(value)
        case list():
            return [map_json(item, text, member) for item in value]
        case dict():
            items = value.items() if member is None else ((key, member(key, item)) for key, item in value.items())
            return {text(key): map_json(item, text, member) for key, item in items}
    return value


def _visible(char: str) -> str:
    hidden = unicodedata.category(char) in _DROPPED or "\U000e0000" <= char <= "\U000e0fff"
    return " " if hidden and char not in _JOINERS else char
