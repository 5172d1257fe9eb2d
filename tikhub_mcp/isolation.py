"""Prevents imports from the working directory, in this process and in the Python processes that it starts.

A client starts its servers in the folder of the open project, with the user's key in the environment. The files in that
folder may be untrusted. This module must run before any other is imported, so it imports only modules that Python has
already loaded at that point.
"""

import os
import sys

PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__))  # also the working directory of child processes

_FOR_CHILDREN = {  # what Python and its libraries need to start: no key, and no variable that makes Python load code
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "TMPDIR"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP"),
}


def leave_out_working_directory() -> None:
    """Remove the working directory, and folders named relative to it, from `sys.path` and `sys.pycache_prefix`."""
    sys.path[:] = importable()
    if sys.pycache_prefix and not os.path.isabs(sys.pycache_prefix):
        sys.pycache_prefix = None  # Python would run compiled modules from it instead of the real ones


def importable() -> list[str]:
    """Return the folders of `sys.path` that do not depend on the working directory.

    The folders of Python itself stay, even when one of them is the working directory. An empty or relative entry of
    PYTHONPATH (`PYTHONPATH=:/opt/lib`) means the working directory or a folder below it; Python has already made it
    absolute, so such entries are read from the variable.
    """
    own = _folders_of_python()
    relative = {_absolute(entry) for entry in _entries("PYTHONPATH") if not os.path.isabs(entry)}
    return [
        entry
        for entry in sys.path
        if entry in own or (os.path.isabs(entry) and entry not in relative and not _is_working_directory(entry))
    ]


def isolated_python_command(code: str, *more: str) -> list[str]:
    """Return the command of a Python process with this process's import path, without any working directory.

    `-m` is not used because it searches the working directory first. The option `-I` alone is not enough because it
    ignores packages installed for the user only, and PYTHONPATH.

    Args:
        code: The code to run; `sys` is already imported.
        more: Folders to search after those of this process.
    """
    folders = [*importable(), *more]
    begin = f"import sys\nsys.path[:] = dict.fromkeys([*{folders!r}, *sys.path])\n"
    return [_absolute(sys.executable), "-I", "-c", begin + code]


def isolated_server_command() -> list[str]:
    """Return the command that starts this server in another process."""
    return isolated_python_command(
        "from tikhub_mcp.__main__ import main\nsys.exit(main())", os.path.dirname(PACKAGE_FOLDER)
    )


def child_environment() -> dict[str, str]:
    """Return the environment for a child process that needs no settings: a few system variables only."""
    return {name: value for name, value in os.environ.items() if name.upper() in _FOR_CHILDREN}


def _folders_of_python() -> set[str]:
    """Return the folders of Python and its installed packages; one of them may be the working directory on purpose."""
    site = sys.modules.get("site")  # not loaded with -S
    installed = [*site.getsitepackages(), site.getusersitepackages()] if site else []
    return {*installed, os.path.dirname(os.__file__)}


def _is_working_directory(folder: str) -> bool:
    try:
        return os.path.samefile(folder, os.curdir)
    except OSError:  # it does not exist, or may not be accessed
        return False


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory was removed
        return path


def _entries(variable: str) -> list[str]:
    return [] if sys.flags.ignore_environment else os.environ.get(variable, "").split(os.pathsep)
