"""What the server's tests share: the server, a client beside it in both protocol eras, and the sandbox on sockets."""

import asyncio
import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from jsonschema import Draft202012Validator
from mcp.client import Client
from mcp_types import CallToolResult, TextContent

from tests.support.payloads import DOUYIN_ID
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, clips

CANARY = "canary-4f1d9c2b7a6e"
KEY = "a-key-of-the-tests"
MEDIA = Path(clips.__file__).with_name("media")
TOOLS_LIST = Path(__file__).parents[1] / "tools_list.json"
SLOW = 20_000  # bytes a second: a file of the sandbox takes 8 s
DOUYIN_LINK = f"https://www.douyin.com/video/{DOUYIN_ID}"

Reword = Callable[..., None]
Era = Literal["legacy", "auto"]


class Heard(NamedTuple):
    """A progress notification."""

    done: float
    total: float | None
    message: str | None


@dataclass
class Reply:
    """What a tool call came to, checked against everything that holds for all of them."""

    said: Json
    is_error: bool
    text: str

    def __getitem__(self, name: str) -> Json:
        return self.said[name]

    @property
    def code(self) -> str | None:
        error = self.said["error"]
        return str(error["code"]) if error else None

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
    heard: list[Heard] | None = None  # a list here asks for progress

    async def ask(self, tool: str, /, **arguments: Json) -> Reply:
        """Call a tool, and hold the reply against its published schema."""

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            if self.heard is not None:
                self.heard.append(Heard(progress, total, message))

        result = await self.client.call_tool(tool, arguments, progress_callback=None if self.heard is None else hear)
        return checked(tool, result)

    async def one(self, url: str, **arguments: Json) -> Reply:
        return await self.ask("download_video", url=url, **arguments)

    async def batch(self, urls: Json, **arguments: Json) -> Reply:
        return await self.ask("batch_download", urls=urls, **arguments)

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


def patience(seconds: float) -> float:
    """So many seconds, and more where others keep the machine busy."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return seconds * max(1.0, load / (os.cpu_count() or 1))


async def until(condition: Callable[[], object], within: float = 20.0) -> float:
    """Wait for something that has no event; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, "what was waited for did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@cache
def published(tool: str) -> Draft202012Validator:
    """The output schema that clients are shown; test_server.py holds the server to this list."""
    tools = json.loads(TOOLS_LIST.read_text(encoding="utf-8"))
    return Draft202012Validator(next(shown["outputSchema"] for shown in tools if shown["name"] == tool))


def checked(tool: str, result: CallToolResult) -> Reply:
    """The reply, once it fits its schema, can be sent, and says the same in both channels."""
    result.model_dump_json(by_alias=True).encode()  # valid UTF-8: one lone surrogate would end the server
    said = result.structured_content
    published(tool).validate(said)
    [block] = result.content
    assert isinstance(block, TextContent)
    without_nulls = json.dumps(shorn(said), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert block.text == without_nulls
    return Reply(said, bool(result.is_error), block.text)


def shorn(value: Json) -> Json:
    """The value without the keys that hold null."""
    if isinstance(value, list):
        return [shorn(item) for item in value]
    if isinstance(value, dict):
        return {key: shorn(item) for key, item in value.items() if item is not None}
    return value


def content(path: str | Path) -> bytes:
    """What a file holds."""
    return Path(path).read_bytes()


def mode(path: str | Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(Path(path).stat().st_mode)


def listing(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
