"""The same call again, through a client: each post is paid for once until all of the work is done."""

import pytest
from mcp.client import Client

from tests.support.mcp_session import Desk
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links
from tikhub_mcp.server import Server
from tikhub_mcp.tools.handlers import Tools

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LINKS = good_links(14)


async def until_done(desk: Desk, tool: str, *, restarted: bool, **arguments: Json) -> int:
    """How many calls it takes until nothing is pending."""
    for calls in range(1, 12):
        if restarted:
            async with Client(Server(Tools(desk.environ))) as client:
                reply = await Desk(client, desk.sandbox, desk.environ, desk.root).ask(tool, **arguments)
        else:
            reply = await desk.ask(tool, **arguments)
        if reply["status"] in ("ok", "complete"):
            return calls
        assert reply["status"] in ("pending", "partial")
    raise AssertionError("it does not end")


@pytest.mark.parametrize(("restarted", "refresh", "reuse_seconds"), [(False, True, "3600"), (True, False, "0")])
async def test_a_batch_that_takes_several_calls_pays_once_a_post(
    desk: Desk, restarted: bool, refresh: bool, reuse_seconds: str
) -> None:
    desk.environ |= {"TIKHUB_CALL_SECONDS": "1", "TIKHUB_REUSE_SECONDS": reuse_seconds}
    desk.sandbox.latency, desk.sandbox.media_latency = 0.1, 0.6
    calls = await until_done(desk, "batch_download", restarted=restarted, urls=LINKS, refresh=refresh)
    assert calls > 1
    assert sorted(desk.asked) == sorted(LINKS)
    assert len(desk.videos) == len(LINKS)
    desk.asked.clear()
    await until_done(desk, "batch_download", restarted=restarted, urls=LINKS, refresh=refresh)
    assert len(desk.sandbox.calls) == 2 * len(LINKS)  # it was done: this was another one


async def test_one_video_that_takes_several_calls_is_paid_for_once(desk: Desk) -> None:
    desk.environ |= {"TIKHUB_CALL_SECONDS": "1", "TIKHUB_REUSE_SECONDS": "0"}
    desk.sandbox.media_latency = 1.6
    assert await until_done(desk, "download_video", restarted=False, url=LINKS[0], refresh=True) > 1
    assert len(desk.asked) == 1
