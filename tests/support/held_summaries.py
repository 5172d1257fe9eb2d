"""Summaries that wait until they are told to go on."""

import asyncio
import threading
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.mcp_session import Reply
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import summarize


def start(reply: Awaitable[Reply]) -> asyncio.Task[Reply]:
    return asyncio.ensure_future(reply)


async def cancel(call: asyncio.Task[Reply]) -> None:
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


class Held:
    """summarize, which begins when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.runs, self.told, self.ended = threading.Event(), 0, False, 0
        self._real = summarize.summarize
        monkeypatch.setattr(summarize, "summarize", self)

    def __call__(
        self, source: Path, target: Path, formats: tuple[summarize.Format, ...], **watch: Json
    ) -> summarize.Summary:
        self.runs += 1
        while not self.go.wait(0.01):
            self.told = self.told or watch["stopped"]()
            if self.told:
                break
        try:
            return self._real(source, target, formats, **watch)
        finally:
            self.ended += 1
