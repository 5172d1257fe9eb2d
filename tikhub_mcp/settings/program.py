"""The commands that start this installation: for the settings of a client, and as printed for a person."""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tikhub_mcp.errors import InvalidInput

_SCRIPT = "tikhub-mcp"


def server_command(python: str = sys.executable, platform: str = sys.platform) -> list[str]:
    """The command that starts the server of this installation from any working directory.

    It is the script `tikhub-mcp` beside Python; without one, Python with the module.

    Args:
        python: The path of the interpreter.
        platform: As `sys.platform`.

    Raises:
        InvalidInput: The path of the interpreter is unknown.
    """
    if not python:
        raise InvalidInput("Python does not know its own path: run this by the path of its script, …/bin/tikhub-mcp.")
    # Symbolic links stay: Python finds a virtual environment by the link inside it.
    interpreter = Path(python).absolute()
    script = interpreter.with_name(f"{_SCRIPT}.exe" if platform == "win32" else _SCRIPT)
    # -P excludes the working directory from the import path, -E excludes PYTHONPATH. -I would also exclude the user's
    # site-packages, where an installation without a script beside Python may be.
    return [str(script)] if script.is_file() else [str(interpreter), "-E", "-P", "-m", "tikhub_mcp"]


def shell_command(*arguments: str, anywhere: bool = False) -> str:
    """A command of this installation as a person can paste it into the shell that they are in.

    The program is its name where PATH finds this installation by it, else the path, relative to the working directory
    if it is below it. What needs quotes has those of the system's own shell.

    Args:
        arguments: The command's arguments.
        anywhere: Whether the person may be in another directory than this process; then no path is relative.
    """
    try:
        program, *options = server_command()
    except InvalidInput:
        return _quoted([_SCRIPT, *arguments])
    if not options and _is_found_as(program):
        program = _SCRIPT
    elif not anywhere:
        program = _from_here(program)
    return _quoted([program, *options, *arguments])


def install_command(requirement: str) -> str:
    """A command that adds a package to this installation, as a person can paste it into a shell in any directory.

    It is that of the pip beside Python; without one, of uv, which makes environments without pip.

    Args:
        requirement: The package, as pip takes it.
    """
    python = Path(sys.executable)
    pip = python.with_name("pip.exe" if sys.platform == "win32" else "pip")
    words = [str(pip), "install"] if pip.is_file() else ["uv", "pip", "install", "--python", str(python)]
    return _quoted([*words, requirement])


def _is_found_as(script: str) -> bool:
    # uv puts an environment's folder on the PATH of what it runs, but not on that of the shell that uv was run in.
    found = None if "UV" in os.environ else shutil.which(_SCRIPT)
    with suppress(OSError):
        return found is not None and Path(found).samefile(script)
    return False


def _from_here(program: str) -> str:
    with suppress(OSError, ValueError):  # the working directory was removed, or the program is not below it
        below = str(Path(program).relative_to(Path.cwd()))
        return below if os.sep in below else os.path.join(os.curdir, below)  # noqa: PTH118 - Path drops the dot
    return program


def _quoted(words: list[str]) -> str:
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
