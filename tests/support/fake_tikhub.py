"""A stand-in for the client of TikHub's API, that answers as told."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from tests.support.payloads import ANSWERED, envelope, tiktok_post
from tikhub_mcp.api.client import Budget, TikHub
from tikhub_mcp.errors import TikHubMCPError, UnexpectedAnswer
from tikhub_mcp.jobs.capacity import PersonalLimits
from tikhub_mcp.jobs.model import Call, Job, Options, Outcome
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.media.download import Downloader, Slot
from tikhub_mcp.media.mp4 import Media
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link, Platform, parse_link
from tikhub_mcp.posts.renditions import Rendition
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.database import INDEX_NAME
from tikhub_mcp.storage.locks import Locks

T = TypeVar("T")
FIRST = 7000000000000001000


class FakeTikHub(TikHub):
    """Answers when told to: `go` lets requests through, `began` says that one is out."""

    def __init__(self) -> None:
        self.go, self.began = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.asked: list[str] = []
        self.failures: dict[str, TikHubMCPError] = {}
        self.posts: dict[str, dict[str, Any]] = {}
        self.others: list[dict[str, Any]] = []  # posts that stand before the one that is asked for
        self.pages: set[str] = set()  # whose answer is a web page
        self.lost: set[str] = set()  # of which the answer is lost on its way, each time
        self.now = self.most = 0
        self.unanswered = set()

    async def look_up(self, link: Link, key: SecretStr, budget: Budget, store: Callable[[Answer], Awaitable[T]]) -> T:
        budget.spend()
        self.asked.append(link.key)
        self.now += 1
        self.most = max(self.most, self.now)
        self.began.set()
        try:
            await self.go.wait()
        finally:
            self.now -= 1
        if link.key in self.lost:
            budget.spend()  # the client asks once more
        if link.key in self.failures:
            budget.refund()
            raise self.failures[link.key]
        if link.key in self.pages:
            await store(Answer(b"<h1>no JSON</h1>", None, time.time(), None))
            raise UnexpectedAnswer("it is not JSON")
        post = self.posts.get(link.key) or tiktok_post(aweme_id=link.post_id or "7000000000000009999")
        value = envelope(post, data={"aweme_details": [*self.others, post]})
        return await store(Answer(json.dumps(value).encode(), value, time.time(), f"{len(self.asked):016}"))


class FakeDownloader(Downloader):
    """Writes a few bytes when told to."""

    def __init__(self) -> None:
        self.go, self.began = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.targets: list[Path] = []
        self.urls: list[str] = []  # the first link of each file
        self.left: list[float] = []  # seconds until the deadline of each, when it began
        self.failures: list[TikHubMCPError] = []
        self.cancelled = 0
        self.now = self.most = 0
        self.seconds: float = 1800

    @property
    def largest(self) -> int:
        return 1 << 32

    def time_is_up(self) -> float:
        return time.monotonic() + self.seconds

    async def fetch(
        self,
        file: Rendition,
        platform: Platform,
        target: Path,
        progress: Callable[[int], None],
        until: float | None = None,
        others: Sequence[Rendition] = (),
        *,
        staging: Path | None = None,
        name: str = "",
        slot: Slot | None = None,
    ) -> Saved:
        self.targets.append(target)
        self.urls.append(file.urls[0])
        self.left.append((until or self.time_is_up()) - time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        self.began.set()
        progress(1)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1
        if self.failures:
            raise self.failures.pop(0)
        return Saved(target, 5, "0" * 64, Media("h264", 1, 1, 1, True))


class World:
    """Jobs with fakes around them."""

    def __init__(self, folder: Path, reuse_seconds: float = 3600.0, *, limits: PersonalLimits | None = None) -> None:
        self.tikhub, self.downloader = FakeTikHub(), FakeDownloader()
        self.jobs = Jobs(
            self.tikhub,
            Archive(folder / "raw", reuse_seconds, folder / INDEX_NAME),
            self.downloader,
            Locks(folder / ".lock"),
            reuse_seconds,
            limits,
        )
        self.options = Options(folder / "videos")
        self.seen: list[Job] = []

    async def get(self, call: Call, link: Link, **options: object) -> Outcome:
        return await self.jobs.get(call, link, replace(self.options, **options), self.seen.append)  # type: ignore[arg-type]

    def file_lock(self, link: Link) -> tuple[object, ...]:
        """The name of the lock on the file of a link's post."""
        return "file", self.options.folder, link.platform, link.post_id, self.options.quality

    async def get_all(self, call: Call, links: list[Link], workers: int = 10) -> dict[str, Outcome]:
        return await self.jobs.get_all(call, links, self.options, workers, self.seen.append)


def link(number: int = 0) -> Link:
    return parse_link(f"https://www.tiktok.com/@someone/video/{FIRST + number}")


def douyin(number: int = 0) -> Link:
    return parse_link(f"https://www.douyin.com/video/{FIRST + number}")


def call(seconds: float | None = None, cap: int = 0) -> Call:
    return Call(SecretStr("a-key"), seconds, cap)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


def show(tmp_path: Path, story: Callable[[World], Coroutine[Any, Any, None]], reuse_seconds: float = 3600.0) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            world = World(tmp_path, reuse_seconds)
            await story(world)
            await world.jobs.close()

    asyncio.run(run())


def video(expires: int) -> dict[str, Any]:
    """A video whose links end so many seconds after the answer, by the clock that dated the answer."""
    post = tiktok_post(aweme_id=str(FIRST))
    path = f"{'0' * 32}/{ANSWERED + expires:08x}"
    address = {"url_list": [f"https://cdn.example/{path}/video/x"], "data_size": 9, "width": 1, "height": 1}
    return post | {"video": {"duration": 1000, "play_addr": address}}
