"""Stops with a hint; packages are built by hatchling, as pyproject.toml says.

pip before 21.3, as Python 3.9 brings it, refuses an editable install of a folder without this file before it looks at
`requires-python`. With the file it says that the package needs a newer Python.
"""

raise SystemExit("tikhub-mcp is installed by pip or uv, with Python 3.11 or newer; README.md has the commands.")
