"""The extras of this package that formats need: what each brings, and whether it is there."""

import importlib.util
from collections.abc import Iterable
from typing import Final

LIBRARIES: Final = {"xlsx": "xlsxwriter", "report": "vl_convert"}  # extra → the module that it brings


def is_installed(extra: str) -> bool:
    """Whether what the extra brings can be imported; it is not imported to find out."""
    return importlib.util.find_spec(LIBRARIES[extra]) is not None


def command(extras: Iterable[str]) -> str:
    """What installs these extras in a checkout."""
    return f".venv/bin/pip install -e '.[{','.join(extras)}]'"
