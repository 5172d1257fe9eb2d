"""Cleans untrusted text, and JSON values that contain it, before they are sent to a client."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

MIN_SECRET_LENGTH = 12  # characters; a shorter text may be a word of anybody's, so it cannot be removed reliably
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_TAGS = "\U000e0000", "\U000e0fff"  # invisible tags and variation selectors, from the first to the last
_JOINERS = "\u200c\u200d"  # format characters that some scripts and composed emoji need
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control and bidirectional characters, surrogates, private use


def clean(text: str, limit: int = 300) -> str:
    """Return the text on one line, without control and invisible characters.

    Each removed character becomes a space, so that words stay separate. Runs of white space become one space.

    Args:
        text: Untrusted text of any length.
        limit: The maximum length of the result in characters; a longer text ends with an ellipsis.
    """
    # Reading four times the limit bounds the work, and allows for characters that are removed.
    text_read = text[: 4 * limit]
    # Most texts have nothing that is removed: of what is printable for Python, only variation selectors are.
    if not text_read.isprintable() or max(text_read, default="") >= _TAGS[0]:
        text_read = "".join(map(_visible, text_read))
    line = " ".join(text_read.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip(_JOINERS) + "…"


def printable(text: str) -> str:
    """Return the text with a space for each control or format character, except joiners.

    Bytes of a path that are not UTF-8 stay.
    """
    return _UNPRINTABLE.sub(" ", text)


def shortened(text: str, most: int) -> str:
    """Return the text as `clean` does, shortened to at most `most` bytes as a JSON string without its quotes."""
    short = clean(text, most)
    while (excess := json_size(short) - len('""') - most) > 0:
        short = clean(short, len(short) - max(1, excess // 4))  # a character has at most four bytes
    return short


def first_few(items: Sequence[str], most: int) -> str:
    """Return the first items, at most `most`, separated by commas; an ellipsis stands for the others."""
    return ", ".join([*items[:most], *["…"] * (len(items) > most)])


def to_json(value: Any) -> str:  # noqa: ANN401 - JSON of any kind
    """Return a value as compact JSON that can be sent: one lone surrogate in a message ends the server.

    Raises:
        ValueError: A number is infinite or not a number.
    """
    return writable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def json_size(value: Any) -> int:  # noqa: ANN401 - JSON of any kind
    """Return the size in bytes of a value as `to_json` writes it, in UTF-8."""
    return len(to_json(value).encode())


def writable(text: str) -> str:
    """Return the text with each lone surrogate, which UTF-8 cannot encode, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def sendable(value: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return a copy of the value with `writable` applied to every string, the names of object members included."""
    return json.loads(to_json(value))


def map_json(
    value: Any,  # noqa: ANN401 - JSON of any kind
    text: Callable[[str], str],
    replaced: Mapping[str, Any] = MappingProxyType({}),
) -> Any:  # noqa: ANN401
    """Return a copy of a JSON value with every string in it replaced, the names of object members included.

    Args:
        value: The value to copy.
        text: Returns the replacement of a string.
        replaced: Replacements for members whose value is an object or a list, by the member's name in lower case.

    Raises:
        RecursionError: The value is nested too deeply.
    """
    match value:
        case str():
            return text(value)
        case list():
            return [map_json(item, text, replaced) for item in value]
        case dict():
            return {
                text(key): replaced[key.lower()]
                if replaced and isinstance(item, dict | list) and key.lower() in replaced
                else map_json(item, text, replaced)
                for key, item in value.items()
            }
    return value


@lru_cache(maxsize=4096)
def _visible(char: str) -> str:
    hidden = unicodedata.category(char) in _DROPPED or _TAGS[0] <= char <= _TAGS[1]
    return " " if hidden and char not in _JOINERS else char
