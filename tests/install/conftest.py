"""A home directory with all clients, and the command line in it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tikhub_mcp.cli.main import main


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory as after the first start of each client, and an environment that names no key."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIKHUB_SKILL_FILE", str(tmp_path / "no-SKILL.md"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in (".claude", ".cursor", ".config/Claude", ".config/Code/User"):
        (tmp_path / "home" / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A call of the command line, in the home directory."""
    return lambda *arguments: Ran(main([str(argument) for argument in arguments]), *capsys.readouterr())
