"""Messages for people, in English and Chinese."""

import os
from collections.abc import Mapping


def said(english: str, in_chinese: str, environ: Mapping[str, str] | None = None) -> str:
    """Return a message for people in the language of their locale; messages for agents are always in English.

    Args:
        english: The message in English, the default.
        in_chinese: The message in Chinese, for a locale that starts with `zh`.
        environ: The environment to read the locale from; by default this process's. The locale is the first of LC_ALL,
            LC_MESSAGES and LANG that is set.
    """
    env = os.environ if environ is None else environ
    locale = next(filter(None, (env.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return in_chinese if locale.lower().startswith("zh") else english
