"""A home, a key and a network of this machine alone."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.closed_network import World, enclose
from tikhub_mcp.doctor import checks
from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.settings import api_key

CANARY = "canary+4f1d9c2b7a6e/=="


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A home with the output folder in it, a key, English, no SKILL.md, and no network."""
    for name in list(os.environ):
        if name.startswith("TIKHUB_") or name in ("LC_ALL", "LC_MESSAGES", "LANG", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name)
    for name in ("home", "temp", "package"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / "home" / "out"))
    monkeypatch.setenv("TIKHUB_API_KEY", CANARY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(api_key, "_PACKAGE", tmp_path / "package")
    monkeypatch.setenv("TIKHUB_BASE_URL", "http://127.0.0.1:9")
    return enclose(monkeypatch)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox() as running:
        monkeypatch.setenv("TIKHUB_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of its own for the round trip, which has tests of its own."""

    async def call() -> str:
        return "ok"

    monkeypatch.setattr(checks, "_one_call", call)
