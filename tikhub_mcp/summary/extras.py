"""The optional dependencies (extras) that some formats need, and whether they are installed."""

import importlib.util
from collections.abc import Iterable
from typing import Final

LIBRARIES: Final = {"xlsx": "xlsxwriter", "report": "vl_convert"}  # extra → the module that it installs


def is_installed(extra: str) -> bool:
    """Whether the extra's module can be imported; checked without importing it."""
    return importlib.util.find_spec(LIBRARIES[extra]) is not None


def install_command(extras: Iterable[str]) -> str:
    """Return the shell command that installs these extras in a checkout."""
    return f".venv/bin/pip install -e '.[{','.join(extras)}]'"
