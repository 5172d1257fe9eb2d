"""What the tests of stdio share."""

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.mcp_session import CANARY, Era
from tests.support.stdio_client import MODULE, Connect, Environment, Wire
from tikhub_mcp.sandbox import Sandbox


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def root(home: Path) -> Path:
    """Where files go when nobody says otherwise."""
    return home / "Downloads" / "tikhub_mcp"


@pytest.fixture
def environment(sandbox: Sandbox, home: Path) -> Environment:
    ours = {"TIKHUB_API_KEY": CANARY, "TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_LOG_LEVEL": "DEBUG"}
    return {**ours, "HOME": str(home), "PATH": os.defpath}


@pytest.fixture
def wire(environment: Environment, tmp_path: Path) -> Iterator[Wire]:
    with Wire(environment, tmp_path / "log") as running:
        yield running


@pytest.fixture
def connect(era: Era, tmp_path: Path) -> Iterator[Connect]:
    """The SDK's client, on a server that it starts itself; its log never holds the key."""
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as errors:

        def start(environment: Environment) -> AbstractAsyncContextManager[Client]:
            server = StdioServerParameters(command=MODULE[0], args=MODULE[1:], env=environment, cwd="/")
            return Client(stdio_client(server, errors), mode=era)

        yield start
    assert CANARY not in log.read_text(encoding="utf-8")
