"""Messages for people: `messages.json` has each in English and Chinese, by section and name.

Messages for agents are always in English, and are not in that file.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

IN_ENGLISH: Mapping[str, str] = {}  # an environment that names no language
_TABLE: dict[str, dict[str, list[str]]] = json.loads(
    Path(__file__).with_name("messages.json").read_text(encoding="utf-8")
)


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


def said(english: str, in_chinese: str, environ: Mapping[str, str] | None = None) -> str:
    """Return one of two texts, by the language of the locale.

    Args:
        english: The text in English, the default.
        in_chinese: The text in Chinese, for a locale that starts with `zh`.
        environ: The environment to read the locale from; by default this process's. The locale is the first of LC_ALL,
            LC_MESSAGES and LANG that is set.
    """
    env = os.environ if environ is None else environ
    locale = next(filter(None, (env.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return in_chinese if locale.lower().startswith("zh") else english
