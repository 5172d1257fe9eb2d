"""Several batches at once, over sockets: ten downloads, and ten paid calls a second, for all of them together."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.mcp_session import Desk, Era, Reply, patience
from tikhub_mcp.api.limiter import CALLS_A_SECOND
from tikhub_mcp.jobs.model import MAX_TRANSFERS
from tikhub_mcp.sandbox import Sandbox, good_links, link, short_link

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BATCHES, LINKS = 5, 20
JITTER = 0.15  # seconds that a call may come later than it left, where others keep the machine busy


@dataclass
class Load:
    """How many media files are on their way now, and were at most."""

    now: int = 0
    most: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Counted:
    """The sandbox's services, with each request for media counted from its head to its last byte.

    Nothing is sent before MAX_TRANSFERS of them have met, and had time for one more to come.
    """

    def __init__(self, app: ASGIApp, /, load: Load) -> None:
        self.app, self.load = app, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        media = scope["path"].startswith(("/cdn-", "/aweme/"))
        self.load.now += media
        self.load.most = max(self.load.most, self.load.now)
        try:
            if media:
                await self._meet()
            await self.app(scope, receive, send)
        finally:
            self.load.now -= media

    async def _meet(self) -> None:
        if self.load.now >= MAX_TRANSFERS:
            await asyncio.sleep(0.3)
            self.load.full.set()
        with suppress(TimeoutError):  # then too few came, and the test says so
            await asyncio.wait_for(self.load.full.wait(), 10)


@pytest.fixture
def era() -> Era:
    """One of the two: nothing here depends on it."""
    return "auto"


@pytest.fixture
def load() -> Load:
    return Load()


@pytest.fixture
def sandbox(load: Load) -> Iterator[Sandbox]:
    counting = Sandbox(media_latency=0.15)
    counting.app.add_middleware(Counted, load)
    with counting:
        yield counting


async def all_at_once(desk: Desk, batches: list[list[str]], *, metrics_only: bool = False) -> list[Reply]:
    async with asyncio.timeout(patience(40)):
        replies = await asyncio.gather(*(desk.batch(links, metrics_only=metrics_only) for links in batches))
    assert [set(reply.statuses) for reply in replies] == [{"ok"}] * len(batches)
    return replies


def paid(replies: list[Reply]) -> int:
    return sum(reply["cost"]["api_calls"] for reply in replies)


async def test_five_batches_at_once_share_ten_downloads_and_ten_calls_a_second_and_all_end_well(
    desk: Desk, load: Load
) -> None:
    shared = [*good_links(9), link("tiktok"), short_link("tiktok")]  # the last two are one post, as nobody can know
    each, links = LINKS - len(shared), iter(good_links(BATCHES * LINKS, "douyin"))
    own = [[next(links) for _ in range(each)] for _ in range(BATCHES)]
    # First the answers alone, as fast as they come; what is then known already leaves the downloads unbraked.
    assert paid(await all_at_once(desk, own, metrics_only=True)) == BATCHES * each
    replies = await all_at_once(desk, [shared + some for some in own])
    assert paid(replies) == len(shared)
    assert load.most == MAX_TRANSFERS
    distinct = BATCHES * each + len(shared)
    assert len(desk.asked) == len(set(desk.asked)) == distinct
    assert len(desk.videos) == len(desk.sandbox.media_requests) == distinct - 1
    assert not desk.parts
    times = sorted(call.time for call in desk.sandbox.calls)
    late = min(0.4, patience(JITTER))  # without a limit all of them come within a tenth of a second
    assert min(after - before for before, after in zip(times, times[CALLS_A_SECOND:], strict=False)) > 1 - late
