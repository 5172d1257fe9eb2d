"""client.py over real sockets: rate limits that are waited for, names that lead nowhere, and large bodies at once."""

import asyncio
import json
import socket
import time
import weakref
from collections.abc import Callable, Coroutine
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, NoReturn, Self

import httpx
import pytest
from pydantic import SecretStr

from tests.support.api_client import KEY, POST, PROXIES, Desk
from tests.support.fault_server import Act, Faulty, Move, Request
from tests.support.mcp_session import until
from tests.support.payloads import envelope, tiktok_post
from tikhub_mcp.api import client
from tikhub_mcp.api.body import ORDINARY_BODY_BYTES
from tikhub_mcp.api.client import PATH, TikHub
from tikhub_mcp.errors import TikHubUnavailable
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Link, parse_link

JSON = (("Content-Type", "application/json"),)
GOOD = Act(headers=JSON, body=json.dumps(envelope(tiktok_post())).encode())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def post(number: int) -> Link:
    return parse_link(f"https://www.tiktok.com/@paper.boats/video/{7_000_000_000_000_000_000 + number}")


def answers(server: Faulty, link: Link, *moves: Move) -> None:
    """What the API answers when it is asked for this link."""
    asked = httpx.URL(server.base_url + PATH.format(platform=link.platform), params={"share_url": link.url})
    server.on(asked.raw_path.decode(), *moves)


def ask(tikhub: TikHub, desk: Desk, link: Link = POST) -> Coroutine[Any, Any, str]:
    return tikhub.look_up(link, SecretStr(KEY), desk, desk.keep)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(run())


# Rate limits


@pytest.mark.slow
@pytest.mark.parametrize("form", ["seconds", "a date"])
def test_a_rate_limit_that_comes_twice_is_waited_for_twice_and_one_answer_is_paid_for(
    server: Faulty, form: str
) -> None:
    arrived: list[float] = []
    allowed: list[float] = []  # when the next one may come; a date has no fractions of seconds

    def busy(_: Request) -> Act:
        arrived.append(time.time())
        after = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        allowed.append(arrived[-1] + 1 if after == "1" else parsedate_to_datetime(after).timestamp())
        return Act(status=429, headers=[*JSON, ("Retry-After", after)], body=b'{"detail": {"code": 429}}')

    def good(_: Request) -> Act:
        arrived.append(time.time())
        return GOOD

    desk, began = Desk(), time.monotonic()
    answers(server, POST, busy, busy, good)
    asyncio.run(ask(TikHub(server.base_url, Network()), desk))
    assert time.monotonic() - began >= 2
    assert all(later >= earliest - 0.01 for later, earliest in zip(arrived[1:], allowed, strict=True))
    assert len(server.requests) == 3
    assert (desk.spent - desk.refunded, len(desk.kept)) == (1, 1)


# Names


def test_a_name_that_does_not_resolve_is_looked_up_for_every_attempt_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[object] = []

    async def getaddrinfo(_: object, host: object, *__: object, **___: object) -> NoReturn:
        looked_up.append(host)  # a real resolver would ask others than this machine
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    desk = Desk()
    said = desk.fails(TikHubUnavailable, base="https://something.invalid")
    assert TikHubUnavailable.code == "tikhub_unavailable"
    assert "could not be reached" in said
    assert "Nothing was charged" in said
    assert [host.decode() if isinstance(host, bytes) else host for host in looked_up] == ["something.invalid"] * 4
    assert (desk.spent, desk.refunded, len(desk.waits)) == (4, 4, 3)


# Large bodies

LARGE = 4 * ORDINARY_BODY_BYTES


def large(**how: Any) -> Act:  # noqa: ANN401 - an act's own
    """An answer of which nobody has seen one so large."""
    return Act(headers=JSON, body=json.dumps(envelope(tiktok_post(), padding="x" * LARGE)).encode(), **how)


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The most bytes that all bodies on their way held together."""
    bodies: list[weakref.ref[bytearray]] = []
    sums: list[int] = []

    class Body(bytearray):
        def __init__(self) -> None:
            super().__init__()
            bodies.append(weakref.ref(self))

        def __iadd__(self, more: Any) -> Self:  # type: ignore[misc] # noqa: ANN401 - bytearray's own
            super().__iadd__(more)
            sums.append(sum(len(body) for ref in bodies if (body := ref()) is not None))
            return self

    monkeypatch.setattr(client, "bytearray", Body, raising=False)
    return lambda: max(sums)


def test_of_several_large_bodies_only_one_at_a_time_is_taken_in(server: Faulty, most: Callable[[], int]) -> None:
    async def story() -> None:
        tikhub, desk = TikHub(server.base_url, Network()), Desk()
        for number in range(4):  # side by side, in eight steps
            answers(server, post(number), large(drip=LARGE // 8, pause=0.02))
        await asyncio.gather(*(ask(tikhub, desk, post(number)) for number in range(4)))
        assert len(desk.kept) == len(server.requests) == 4

    play(story)
    assert LARGE < most() < LARGE + 3 * ORDINARY_BODY_BYTES + 2**20


@pytest.mark.parametrize("small", [GOOD, Act(status=400, headers=JSON, body=b"{}")], ids=["an answer", "an error"])
def test_a_small_body_is_not_held_up_by_a_large_one_that_stalls(server: Faulty, small: Act) -> None:
    async def story() -> None:
        tikhub, desk = TikHub(server.base_url, Network()), Desk()
        answers(server, post(1), large(cut=LARGE // 2, end="stall"))
        answers(server, post(2), large())
        answers(server, post(3), small, GOOD)
        held = [asyncio.create_task(ask(tikhub, desk, post(1)))]
        await until(tikhub._large.locked)
        held.append(asyncio.create_task(ask(tikhub, desk, post(2))))
        async with asyncio.timeout(10):
            await ask(tikhub, desk, post(3))
        assert len(desk.kept) == 1
        assert not any(task.done() for task in held)
        for task in held:
            task.cancel()

    play(story)
