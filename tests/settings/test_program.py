"""The commands that start this installation, as a client and as a person uses them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tikhub_mcp.settings.program import install_command, server_command, shell_command


def test_the_command_is_the_script_beside_python_or_python_itself_by_its_link(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    python = tmp_path / "python"
    python.symlink_to("real")
    by_module = [str(python), "-E", "-P", "-m", "tikhub_mcp"]
    assert server_command(str(python)) == by_module
    (tmp_path / "tikhub-mcp.exe").touch()
    assert server_command(str(python), "linux") == by_module
    assert server_command(str(python), "win32") == [str(tmp_path / "tikhub-mcp.exe")]
    assert server_command() == [str(Path(sys.executable).with_name("tikhub-mcp"))]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script of an installation that PATH does not lead to, in a folder that needs quotes."""
    folder = tmp_path / "my tools" / "bin"
    folder.mkdir(parents=True)
    script = folder / "tikhub-mcp"
    script.write_text("#!/bin/sh\necho it ran: $1\n", encoding="utf-8")
    script.chmod(0o700)
    monkeypatch.setattr(server_command, "__defaults__", (str(folder / "python"), "linux"))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.delenv("UV", raising=False)
    return script


@pytest.mark.parametrize(
    ("cwd", "shown"),
    [
        (".", "'my tools/bin/tikhub-mcp' demo"),
        ("my tools", "bin/tikhub-mcp demo"),
        ("my tools/bin", "./tikhub-mcp demo"),
        ("elsewhere", "'{}' demo"),
    ],
)
def test_a_printed_command_runs_in_the_shell_that_it_is_printed_in(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cwd: str, shown: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / cwd)
    command = shell_command("demo")
    assert command == shown.format(script)
    assert subprocess.check_output(command, shell=True) == b"it ran: demo\n"
    assert shlex.split(shell_command("demo", anywhere=True))[0] == str(script)


def test_the_name_alone_is_printed_only_where_it_starts_this_installation(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(script.parent.parent)
    (tmp_path / "tikhub-mcp").symlink_to(script)  # as `uv tool install` puts it into a folder of PATH
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell_command("demo") == shell_command("demo", anywhere=True) == "tikhub-mcp demo"
    monkeypatch.setenv("UV", "/usr/bin/uv")  # uv run: the PATH is that of this process alone
    assert shell_command("demo") == "bin/tikhub-mcp demo"
    monkeypatch.delenv("UV")
    (tmp_path / "tikhub-mcp").unlink()
    (tmp_path / "tikhub-mcp").write_bytes(script.read_bytes())  # another program of this name
    (tmp_path / "tikhub-mcp").chmod(0o700)
    assert shell_command("demo") == "bin/tikhub-mcp demo"


def test_without_a_script_python_is_printed_with_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_command, "__defaults__", (str(tmp_path / "python"), "linux"))
    monkeypatch.chdir(tmp_path)
    assert shell_command("install", "cursor", "--file", "a b") == (
        "./python -E -P -m tikhub_mcp install cursor --file 'a b'"
    )
    monkeypatch.setattr(server_command, "__defaults__", ("", "linux"))
    assert shell_command("demo") == "tikhub-mcp demo"


def test_a_package_is_added_by_the_pip_beside_python_or_by_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my tools"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    shown = f"uv pip install --python '{folder}/python' 'a>=3,<4'"
    assert install_command("a>=3,<4") == shown
    pip = folder / "pip"
    pip.write_text("#!/bin/sh\necho it ran: $1 $2\n", encoding="utf-8")
    pip.chmod(0o700)
    assert subprocess.check_output(install_command("a>=3,<4"), shell=True) == b"it ran: install a>=3,<4\n"
