"""What several test modules need."""

import gc
import json
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.server.mcpserver.tools import Tool
from starlette.responses import JSONResponse

from tests.support.fault_server import Faulty
from tests.support.mcp_session import KEY, Desk, Era, Reword
from tikhub_mcp import server as server_module
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, app, posts
from tikhub_mcp.server import Server
from tikhub_mcp.settings import api_key
from tikhub_mcp.tools.handlers import Tools


@pytest.fixture
def anyio_backend() -> str:
    """The only event loop that the server runs on."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[Faulty]:
    """A server that does as it is told."""
    with Faulty() as running:
        yield running


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are written 4 KiB at a time: with the usual MiB all of a small file would wait in memory until its end."""
    monkeypatch.setattr("tikhub_mcp.media.transfer.PIECE_BYTES", 4096)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where a file goes; whatever happens, nothing else may be in the folder afterwards."""
    folder = tmp_path / "videos"
    folder.mkdir()
    path = folder / "tiktok_someone_7000000000000000001.mp4"
    yield path
    assert {entry.name for entry in folder.iterdir()} <= {path.name}


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests wait as much as they compute."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Let the garbage collector leave the tests themselves alone, which are most of what there is."""
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests marked `both_eras` in both."""
    if "era" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_eras"):
        metafunc.parametrize("era", ["legacy", "auto"], indirect=True)


@pytest.fixture
def era(request: pytest.FixtureRequest) -> Era:
    """The handshake of 2025-11-25, or, for tests marked `both_eras`, also the stateless protocol of 2026-07-28.

    What a tool does is the same in both; what the protocol adds to it (lists, errors, progress, cancellation) is not.
    """
    found: Era = getattr(request, "param", "legacy")
    return found


@pytest.fixture(scope="session", autouse=True)
def declared_once() -> Iterator[None]:
    """Derive the schemas of the tools once for all servers of this process: that takes longer than most calls."""
    declared: list[Tool] = []
    declare = server_module._declare

    def bound(tools: Tools) -> list[Tool]:
        if not declared:
            declared.extend(declare(tools))
        return [tool.model_copy(update={"fn": getattr(tools, tool.name)}) for tool in declared]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "_declare", bound)
        yield


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    running = Sandbox().start()
    yield running
    threading.Thread(target=running.stop).start()  # it takes 0.2 s, for which nobody has to wait


@pytest.fixture
def environ(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the server reads; the home and temporary directories are empty ones, and no SKILL.md holds a key."""
    for name in ("home", "temp", "package"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(api_key, "_PACKAGE", tmp_path / "package")
    return {
        "TIKHUB_API_KEY": KEY,
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(tmp_path / "root"),
    }


@pytest.fixture
async def desk(era: Era, sandbox: Sandbox, environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Desk]:
    async with Client(Server(Tools(environ)), mode=era) as client:
        yield Desk(client, sandbox, environ, tmp_path / "root")


@pytest.fixture
def reword(monkeypatch: pytest.MonkeyPatch) -> Reword:
    """Let every post of the sandbox have other values: `reword(desc="…", author={"nickname": "…"})`."""

    class Escaped(JSONResponse):
        def render(self, content: Json) -> bytes:
            return json.dumps(content).encode()  # lone surrogates as escapes, as they come over the wire

    def change(**values: Json) -> None:
        real = posts.data

        def data(order: posts.Order, shape: str) -> Json:
            answer = real(order, shape)
            for post in answer.get("aweme_details") or [answer.get("aweme_detail")]:
                for name, value in values.items():
                    post[name] = {**post.get(name, {}), **value} if isinstance(value, dict) else value
            return answer

        monkeypatch.setattr(posts, "data", data)
        monkeypatch.setattr(app, "JSONResponse", Escaped)

    return change
