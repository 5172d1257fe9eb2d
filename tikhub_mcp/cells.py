"""Values → a line of CSV that opens in a spreadsheet as it is, and of which nothing can run there."""

import json
import re
from collections.abc import Iterable

from msgspec import Raw
from msgspec.json import encode
from msgspec.json import format as formatted

from tikhub_mcp.answer import Json

LONGEST_CELL = 32_767  # UTF-16 units: what Excel has beyond that, it takes for cells of their own

_NOTHING = Raw(b"")
_PLAIN = frozenset((str, int, float, bool))
# What spreadsheets run: their triggers, also behind blanks and quotes that they may strip, and DDE calls.
_FIRST = frozenset({*'"=+-@＝＋－＠', *filter(str.isspace, map(chr, range(0x3001)))})
_FORMULA = re.compile(r"[\t\r\n]|[\s\"]*[=+\-@＝＋－＠]|\w+\|'.*'!")
# A text that may be one, in JSON's list: its first byte, or what a wide sign or blank begins with.
_RISKY = re.compile(rb',"(?:[=+\-@ \\]|\xc2|\xe1\x9a|\xe2[\x80\x81]|\xe3\x80\x80|\xef\xbc)')
_ESCAPE = re.compile(rb"\\(?:u....|.)")


def line(values: Iterable[Json]) -> bytes:
    """The values as RFC 4180 has them, without the line's end: texts in quotes, what is missing as nothing.

    A list of JSON is such a line but for its escapes, and made in a third of the time that csv.writer takes.
    """
    cells = [value if type(value) in _PLAIN else _plain(value) for value in values]
    text = encode([_NOTHING, *cells])  # so that a comma stands before every value
    if _RISKY.search(text) or len(text) > LONGEST_CELL // 2 or (b"|" in text and (b"|'" in text or b"\\u0000" in text)):
        text = encode([_NOTHING, *(safe(cell) if type(cell) is str else cell for cell in cells)])
    return (_ESCAPE.sub(_unescaped, text) if b"\\" in text else text)[2:-1]


def safe(text: str) -> str:
    """A text that spreadsheets would not run, without NUL, at which some stop reading, and as long as a cell can be."""
    if text[:1] in _FIRST or "|'" in text or "\0" in text:  # a tenth of the time of looking closely at each
        text = text.replace("\0", "")
        text = f"'{text}" if _FORMULA.match(text) else text
    return fitting(text)


def fitting(text: str) -> str:
    """A text as far as a cell can hold it."""
    if len(text) <= LONGEST_CELL // 2:
        return text
    return text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST_CELL].decode("utf-16-le", "ignore")


def _plain(value: Json) -> str | Raw:
    """Nothing, or a nested value as JSON."""
    return _NOTHING if value is None else formatted(encode(value), indent=0).decode()


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """What JSON's escape stands for; of a quote two, as CSV writes it, and of NUL nothing."""
    match escape[0]:
        case b'\\"':
            return b'""'
        case b"\\u0000":
            return b""
        case sequence:
            return str(json.loads(b'"%s"' % sequence)).encode()
