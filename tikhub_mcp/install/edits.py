"""Edits of JSON text that preserve everything else, including white space and the order of members. Pure functions.

`checked` decodes and checks the content of a file; `encoded` makes the content to write.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from tikhub_mcp.errors import InvalidInput

_BLANK = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\n([ \t]+)\S")
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_SURROGATE = re.compile("[\ud800-\udfff]")
_DECODER = json.JSONDecoder()
_LF = "\n"
_BOM = "\ufeff"

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    """The position of an object's member or an array's item, as offsets into the text.

    Attributes:
        before: The start of the white space before it.
        begin: The start of its name, or of its value in an array.
        value: The start of its value.
        end: The end of its value.
        name: Its name; None in an array.
    """

    before: int
    begin: int
    value: int
    end: int
    name: str | None


def decoded(content: bytes | None) -> str:
    """The text of a file, without a byte order mark; empty for None.

    Raises:
        UnicodeDecodeError: The content is not UTF-8.
    """
    return (content or b"").decode().removeprefix(_BOM)


def encoded(text: str, like: bytes | None) -> bytes:
    """The text in UTF-8, with a byte order mark if `like`, the content before, has one."""
    return f"{_BOM if (like or b'').startswith(_BOM.encode()) else ''}{text}".encode()


def checked(content: bytes | None, *, comments: bool = False) -> str:
    """The text of a file that holds a JSON object in strict syntax; an empty file counts as an empty object.

    Args:
        content: The content of the file.
        comments: Whether comments and trailing commas are allowed. They are then blanks in the text that is returned.

    Raises:
        InvalidInput: The text is not strict JSON (it has a comment, a trailing comma or NaN), or not an object. The
            message begins with "it" and repeats nothing of the text, which may hold secrets.
    """
    try:
        text = decoded(content)
        for extra in (_COMMENT, _LAST_COMMA) if comments else ():
            text = extra.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
        if not text.strip():
            return "{}\n"
        value = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise InvalidInput("it is not in UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"it is not plain JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (ValueError, RecursionError):  # NaN, an integer over the digit limit, or too deep nesting
        raise InvalidInput("it is not plain JSON that can be read here") from None
    if not isinstance(value, dict):
        raise InvalidInput("it does not hold an object in braces")
    return text


def get(text: str, path: Path) -> Any:  # noqa: ANN401 - JSON of any kind
    """The value at a path of member names; None if there is none.

    Raises:
        InvalidInput: A value on the path is not an object, or has two members of one name.
    """
    at = _find(text, path)
    return None if at is None else _DECODER.raw_decode(text, at)[0]


def has(text: str, path: Path) -> bool:
    """Whether there is a value at this path.

    Raises:
        InvalidInput: As `get`.
    """
    return _find(text, path) is not None


def put(text: str, path: Path, value: object) -> str:
    """Set the value at this path; a new member goes after the last one of its object.

    Raises:
        InvalidInput: As `get`.
    """
    *above, name = path
    parent = _find(text, tuple(above))
    if parent is None:
        return put(text, tuple(above), {name: value})
    items, _ = _inside(text, _braces(text, parent, tuple(above)))
    for item in items:
        if item.name == name and has(text, path):  # `has` refuses a duplicate name
            base = _base(text, item.begin)
            return text[: item.value] + _written(text, value, base, text[item.value : item.end]) + text[item.end :]
    return _added(text, parent, f"{_dumped(name)}: ", value)


def append(text: str, path: Path, value: object) -> str:
    """Append a value to the array at this path, which is created if there is none.

    Raises:
        InvalidInput: As `get`, or the value there is not an array.
    """
    at = _find(text, path)
    if at is None:
        return put(text, path, [value])
    if text[at] != "[":
        raise InvalidInput(f'"{path[-1]}" in it is not a list')
    return _added(text, at, "", value)


def take(text: str, path: Path, index: int | None = None) -> str:
    """Remove the value at this path, or with `index` one item of the array there; a missing path is ignored.

    Raises:
        InvalidInput: As `get`.
    """
    parent = _find(text, path if index is not None else path[:-1])
    if parent is None or not has(text, path):
        return text
    items, end = _inside(text, parent)
    number = index if index is not None else [item.name for item in items].index(path[-1])
    if len(items) == 1:
        return text[: parent + 1] + text[end:]
    if number:
        return text[: items[number - 1].end] + text[items[number].end :]
    return text[: items[0].begin] + text[items[1].begin :]


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _find(text: str, path: Path) -> int | None:
    at = _skip(text, 0)
    for number, name in enumerate(path):
        found = [item for item in _inside(text, _braces(text, at, path[:number]))[0] if item.name == name]
        if len(found) > 1:  # JSON parsers differ in which of them they use
            raise InvalidInput(f'it has the name "{name}" twice in one place')
        if not found:
            return None
        at = found[0].value
    return at


def _braces(text: str, at: int, path: Path) -> int:
    if text[at] != "{":
        raise InvalidInput(f'"{path[-1]}" in it is not an object in braces')
    return at


def _inside(text: str, start: int) -> tuple[list[_Item], int]:
    """The items of the object or array that starts here, and the offset of its closing bracket."""
    items: list[_Item] = []
    before, named = start + 1, text[start] == "{"
    while (begin := _skip(text, before)) < len(text) and text[begin] not in "]}":
        name, value = None, begin
        if named:
            name, colon = _DECODER.raw_decode(text, begin)
            value = _skip(text, _skip(text, colon) + 1)
        end = _DECODER.raw_decode(text, value)[1]
        items.append(_Item(before, begin, value, end, name))
        before = _skip(text, end)
        if text[before] != ",":
            return items, before
        before += 1
    return items, begin


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _added(text: str, start: int, lead: str, value: object) -> str:
    items, end = _inside(text, start)
    if items:
        last = items[-1]
        gap = text[last.before : last.begin]
        gap = gap if "\n" in gap else " "
        return f"{text[: last.end]},{gap}{lead}{_written(text, value, gap.rpartition(_LF)[2], gap)}{text[last.end :]}"
    gap = tail = ""
    if "\n" in text.strip() or not "".join(text.split()).strip("{}"):
        base = _base(text, start)
        gap, tail = f"{_newline(text)}{base}{_unit(text)}", f"{_newline(text)}{base}"
    return text[: start + 1] + gap + lead + _written(text, value, gap.rpartition(_LF)[2], gap) + tail + text[end:]


def _written(text: str, value: object, base: str, model: str) -> str:
    """The value as JSON text: over several lines if `model` is, and then indented relative to `base`."""
    if "\n" not in model:
        return _dumped(value)
    return _dumped(value, _unit(text)).replace("\n", f"{_newline(text)}{base}")


def _dumped(value: object, indent: str | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # UTF-8 cannot encode lone surrogates


def _base(text: str, at: int) -> str:
    """The indentation of the line at this offset."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
