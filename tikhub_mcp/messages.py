"""What people read, in English and Chinese."""

import os
from collections.abc import Mapping


def said(english: str, in_chinese: str, environ: Mapping[str, str] | None = None) -> str:
    """What people read, in their language: Chinese where the locale says so, else English. Agents get English.

    The locale is the first of LC_ALL, LC_MESSAGES and LANG that is set.
    """
    env = os.environ if environ is None else environ
    locale = next(filter(None, (env.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return in_chinese if locale.lower().startswith("zh") else english
