"""Messages for people, in the language of the locale.

`messages.json` has each in English and Chinese, by section and name. Messages for agents are in English, and are not in
that file. Where a person reads one, on a terminal, `sentences.json` has other words for it: by its English form, with
placeholders, a Chinese one, or an English and a Chinese one.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

IN_ENGLISH: Mapping[str, str] = {}  # an environment that names no language
_CHINESE = 0x04  # the primary language of Windows' language identifiers
_SENTENCE_END = re.compile(r"(?<=[.?!)…]) ")
_NAMES = {"path", "folder", "link", "links"}  # placeholders whose values are nobody's sentences, whatever they say
_ANY, _IN_SENTENCE = ".+", r"(?:(?!\. [A-Z]).)+?"  # what the value of a placeholder may be


def _read(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


_TABLE: dict[str, dict[str, list[str]]] = _read("messages.json")


def translate(name: str, environ: Mapping[str, str] | None = None, /, **values: object) -> str:
    """Return a message in the language of the locale, with its placeholders filled in.

    Args:
        name: The message in `messages.json`, as `section.name`.
        environ: The environment to read the locale from; by default this process's.
        values: The values of the placeholders, which have the form of `str.format`.
    """
    section, _, key = name.partition(".")
    english, chinese = _TABLE[section][key]
    return said(english, chinese, environ).format_map(values)


def translations(section: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return all messages of a section by name, in the language of the locale, as they stand in `messages.json`.

    Args:
        section: The section in `messages.json`.
        environ: The environment to read the locale from; by default this process's.
    """
    return {name: said(english, chinese, environ) for name, (english, chinese) in _TABLE[section].items()}


def counted(name: str, count: int) -> str:
    """Return a message about a number of things; its English form is `one|many`.

    Args:
        name: The message in `messages.json`, as `section.name`.
        count: The value of its placeholder `count`.
    """
    one, _, many = translate(name, count=count).partition("|")
    return many if many and count != 1 else one


def said(english: str, in_chinese: str, environ: Mapping[str, str] | None = None) -> str:
    """Return one of two texts, by the language of the locale.

    Args:
        english: The text in English, the default.
        in_chinese: The text in Chinese, for a locale that starts with `zh`.
        environ: The environment to read the locale from; by default this process's. The locale is the first of LC_ALL,
            LC_MESSAGES and LANG that is set; on Windows, where none of them is, the language of the user interface.
    """
    env = os.environ if environ is None else environ
    locale = next(filter(None, (env.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    if not locale and environ is None:
        locale = _windows_language()
    return in_chinese if locale.lower().startswith("zh") else english


def for_person(message: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a message for agents in the words for a person at a terminal, in the language of the locale.

    A message of several sentences may have an entry as a whole, or one for each sentence; what has none stays as it is.
    The value of a placeholder may be a message too, which the entry of the name `message` allows to be of any length.

    Args:
        message: The message in English, with its placeholders filled in.
        environ: The environment to read the locale from; by default this process's.
    """
    if (whole := _reworded(message, environ)) is not None:
        return whole
    parts = _SENTENCE_END.split(message)
    for end in range(len(parts) - 1, 0, -1):
        if (head := _reworded(" ".join(parts[:end]), environ)) is not None:
            return head + said(" ", "", environ) + for_person(" ".join(parts[end:]), environ)
    return " ".join([parts[0], for_person(" ".join(parts[1:]), environ)]) if len(parts) > 1 else message


class _Sentence(NamedTuple):
    pattern: re.Pattern[str]
    english: str
    chinese: str


def _reworded(message: str, environ: Mapping[str, str] | None) -> str | None:
    for sentence in _sentences():
        if match := sentence.pattern.fullmatch(message):
            found = match.groupdict()
            values = {name: found[name] if name in _NAMES else for_person(found[name], environ) for name in found}
            return said(sentence.english, sentence.chinese, environ).format_map(values)
    return None


@cache
def _sentences() -> list[_Sentence]:
    """The table, with the most words first: they leave the least to the placeholders."""
    table: dict[str, str | list[str]] = _read("sentences.json")
    words = sorted(table, key=lambda form: sum(len(literal) for literal, *_ in Formatter().parse(form)), reverse=True)
    both = ((form, [form, found] if isinstance(found := table[form], str) else found) for form in words)
    return [_Sentence(re.compile("".join(_pattern(form)), re.DOTALL), *texts) for form, texts in both]


def _pattern(form: str) -> Iterator[str]:
    for literal, name, *_ in Formatter().parse(form):
        yield re.escape(literal)
        if name is not None:
            yield f"(?P<{name}>{_ANY if name == 'message' else _IN_SENTENCE})"


def _windows_language() -> str:
    if sys.platform == "win32":  # pragma: no cover - the tests run on Linux
        import ctypes

        return "zh" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == _CHINESE else ""
    return ""
