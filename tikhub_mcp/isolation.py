"""Keeps the working directory out of what is imported, in this process and in those that it starts.

A client starts its servers in the folder of the open project, whose files may be anybody's, with the user's key in the
environment. This module takes effect before any other is imported, and so it imports nothing itself but what Python has
loaded by then.
"""

import os
import sys

PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__))  # of this package; where child processes start

_FOR_CHILDREN = {  # what Python and its libraries need to start; no key, and nothing that leads to other code
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "TMPDIR"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP"),
}


def leave_out_working_directory() -> None:
    """Import nothing from the working directory, or from a folder that is named relative to it, from here on."""
    sys.path[:] = importable()
    if sys.pycache_prefix and not os.path.isabs(sys.pycache_prefix):
        sys.pycache_prefix = None  # its compiled modules would be run in place of the real ones


def importable() -> list[str]:
    """The folders of `sys.path` that do not depend on the working directory, except where Python itself is there.

    An empty or relative entry of PYTHONPATH (`PYTHONPATH=:/opt/lib`) means the working directory or a folder below it;
    Python has made it absolute by now.
    """
    own = _folders_of_python()
    relative = {_absolute(entry) for entry in _entries("PYTHONPATH") if not os.path.isabs(entry)}
    return [
        entry
        for entry in sys.path
        if entry in own or (os.path.isabs(entry) and entry not in relative and not _is_working_directory(entry))
    ]


def isolated_python_command(code: str, *more: str) -> list[str]:
    """The command of another Python process that imports what this one can, and nothing from where either runs.

    Not `-m`, which looks into the working directory first, and not the option `-I` alone, which does not see what is
    installed for the user only, or what PYTHONPATH names.

    Args:
        code: What it runs; `sys` is imported.
        more: Folders to import from if a module is in no other.
    """
    folders = [*importable(), *more]
    begin = f"import sys\nsys.path[:] = dict.fromkeys([*{folders!r}, *sys.path])\n"
    return [_absolute(sys.executable), "-I", "-c", begin + code]


def isolated_server_command() -> list[str]:
    """The command of this program as a server, in another process."""
    return isolated_python_command(
        "from tikhub_mcp.__main__ import main\nsys.exit(main())", os.path.dirname(PACKAGE_FOLDER)
    )


def child_environment() -> dict[str, str]:
    """The variables for a child process that needs no settings: a few of the system's."""
    return {name: value for name, value in os.environ.items() if name.upper() in _FOR_CHILDREN}


def _folders_of_python() -> set[str]:
    """Where Python and what is installed with it are, which a person may well make the working directory."""
    site = sys.modules.get("site")  # not there with -S
    installed = [*site.getsitepackages(), site.getusersitepackages()] if site else []
    return {*installed, os.path.dirname(os.__file__)}


def _is_working_directory(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # it does not exist, or is not to be looked at
        return False


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory is gone
        return path


def _entries(variable: str) -> list[str]:
    return [] if sys.flags.ignore_environment else os.environ.get(variable, "").split(os.pathsep)
