"""What the server's tests share: the server, a client beside it in both protocol eras, and the sandbox on sockets."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from mcp.client import Client
from mcp_types import CallToolResult, ResourceLink, TextContent
from starlette.responses import JSONResponse

from tests.payloads import DOUYIN_ID
from tikhub_mcp import settings
from tikhub_mcp.answer import Json
from tikhub_mcp.sandbox import Sandbox, app, posts
from tikhub_mcp.server import Server
from tikhub_mcp.tools import Tools

CANARY = "canary-4f1d9c2b7a6e"
ASCII_KEY = "a-key-of-the-tests"
SLOW = 40_000  # bytes a second: a file of the sandbox takes 4 s
DOUYIN_LINK = f"https://www.douyin.com/video/{DOUYIN_ID}"

Era = Literal["legacy", "auto"]
Progress = tuple[float, float | None, str | None]


@dataclass
class Reply:
    """What a tool call came to, checked against everything that holds for all of them."""

    said: Json
    is_error: bool
    text: str
    links: list[ResourceLink]

    def __getitem__(self, name: str) -> Json:
        return self.said[name]

    @property
    def code(self) -> str | None:
        return self.said["error"] and self.said["error"]["code"]

    @property
    def message(self) -> str:
        return str(self.said["error"]["message"])

    @property
    def statuses(self) -> list[str]:
        return [item["status"] for item in self.said["results"]]


@dataclass
class Desk:
    """A client and its server."""

    client: Client
    sandbox: Sandbox
    environ: dict[str, str]
    root: Path
    schemas: dict[str, Json] = field(default_factory=dict)

    async def ask(self, tool: str, heard: list[Progress] | None = None, **arguments: Json) -> Reply:
        """Call a tool, and hold the reply against its published schema; `heard` takes in the progress."""

        async def hear(done: float, total: float | None, message: str | None) -> None:
            if heard is not None:
                heard.append((done, total, message))

        if not self.schemas:
            listed = await self.client.list_tools()
            self.schemas = {tool.name: tool.output_schema for tool in listed.tools}
        result = await self.client.call_tool(tool, arguments, progress_callback=None if heard is None else hear)
        return checked(result, self.schemas[tool])

    async def one(self, url: str, **arguments: Json) -> Reply:
        return await self.ask("download_video", url=url, **arguments)

    async def batch(self, urls: Json, **arguments: Json) -> Reply:
        return await self.ask("batch_download", urls=urls, **arguments)

    async def until(self, condition: Callable[[], object], within: float = 5.0) -> float:
        """Wait for something that has no event; how long it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < within, "what was waited for did not happen"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    @property
    def parts(self) -> list[Path]:
        return list(self.root.rglob("*.part"))

    @property
    def videos(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*.mp4"))

    @property
    def asked(self) -> list[str]:
        """What TikHub was asked for, call by call."""
        return [call.share_url for call in self.sandbox.calls]


def checked(result: CallToolResult, schema: Json) -> Reply:
    """The reply, once it fits its schema, can be sent, and says the same in both channels."""
    result.model_dump_json(by_alias=True).encode()  # valid UTF-8: one lone surrogate would end the server
    said = result.structured_content
    jsonschema.validate(said, schema)
    block = result.content[0]
    assert isinstance(block, TextContent)
    without_nulls = json.dumps(shorn(said), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert block.text == without_nulls
    links = [block for block in result.content[1:] if isinstance(block, ResourceLink)]
    assert len(links) == len(result.content) - 1
    return Reply(said, bool(result.is_error), block.text, links)


def shorn(value: Json) -> Json:
    """The value without the keys that hold null."""
    if isinstance(value, list):
        return [shorn(item) for item in value]
    if isinstance(value, dict):
        return {key: shorn(item) for key, item in value.items() if item is not None}
    return value


def listing(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Era:
    """The handshake of 2025-11-25, or the stateless protocol of 2026-07-28."""
    found: Era = request.param
    return found


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the server reads; the home and temporary directories are empty ones, and no SKILL.md holds a key."""
    for name in ("home", "temp", "package"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(settings, "_PACKAGE", tmp_path / "package")
    return {
        "TIKHUB_API_KEY": ASCII_KEY,
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(tmp_path / "root"),
    }


@pytest.fixture
async def desk(era: Era, sandbox: Sandbox, environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Desk]:
    async with Client(Server(Tools(environ)), mode=era) as client:
        yield Desk(client, sandbox, environ, tmp_path / "root")


@pytest.fixture
def reword(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every post of the sandbox have other values: `reword(desc="…", author={"nickname": "…"})`."""

    class Escaped(JSONResponse):
        def render(self, content: Any) -> bytes:
            return json.dumps(content).encode()  # lone surrogates as escapes, as they come over the wire

    def change(**values: Json) -> None:
        real = posts.data

        def data(order: posts.Order, shape: str) -> Json:
            answer = real(order, shape)
            for post in answer.get("aweme_details") or [answer.get("aweme_detail")]:
                for name, value in values.items():
                    post[name] = {**post[name], **value} if isinstance(value, dict) else value
            return answer

        monkeypatch.setattr(posts, "data", data)
        monkeypatch.setattr(app, "JSONResponse", Escaped)

    return change


FIXTURES = (desk, environ, era, reword, sandbox)  # a test module names them, and so has them
