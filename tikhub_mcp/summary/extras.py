"""The optional dependencies (extras) of the formats, and whether they are installed."""

import importlib.util
from typing import Final

LIBRARIES: Final = {"xlsx": "xlsxwriter", "report": "vl_convert"}  # extra → the module that it installs
WORKBOOK_REQUIREMENT: Final = "xlsxwriter>=3.2,<4"  # of the extra `xlsx` in pyproject.toml


def is_installed(extra: str) -> bool:
    """Whether the extra's module can be imported; checked without importing it."""
    return importlib.util.find_spec(LIBRARIES[extra]) is not None
