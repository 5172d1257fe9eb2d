"""client.py: ten requests a second and one pause for all, and what a cancellation stops and what not."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.api_client import BASE, KEY, POST, Chunks, Desk
from tests.support.mcp_session import until
from tikhub_mcp import concurrency
from tikhub_mcp.api import client, limiter
from tikhub_mcp.api.client import MAX_CONNECTIONS, TikHub
from tikhub_mcp.api.limiter import CALLS_A_SECOND, RateLimiter
from tikhub_mcp.concurrency import FairSemaphore
from tikhub_mcp.errors import ApiCallLimit, RateLimited, TikHubUnavailable, UnexpectedAnswer
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer

DATE = "Sat, 01 Jan 2000 00:00:07 GMT"
EPOCH = 946_684_800.0  # the year 2000


class Clock:
    """Time that passes only while somebody sleeps; it stands in for asyncio and time in the client."""

    def __init__(self) -> None:
        self.now = 0.0
        self.time = SimpleNamespace(monotonic=lambda: self.now, time=lambda: EPOCH + self.now)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever asyncio has
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client, "asyncio", clock)
    monkeypatch.setattr(limiter, "asyncio", clock)
    monkeypatch.setattr(concurrency, "asyncio", clock)
    monkeypatch.setattr(client, "time", clock.time)
    monkeypatch.setattr(limiter, "time", clock.time)
    monkeypatch.setattr("tikhub_mcp.net.retry_after.time", clock.time)
    return clock


class Line(httpx.AsyncBaseTransport):
    """A network that holds each request up until told to answer it, with the next of these statuses."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses, self.headers = list(statuses), headers or {}
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        self.requests += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.began.set()
        await self.go.wait()
        return httpx.Response(status, headers=self.headers, stream=Chunks([b'{"data": {}}']))


class Slow(Desk):
    """Keeps an answer only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.keeping, self.may_keep, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def keep(self, answer: Answer) -> str:
        self.keeping.set()
        await self.may_keep.wait()
        try:
            return await super().keep(answer)
        finally:
            self.done.set()


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await story()

    asyncio.run(run())


def look_up(line: Line, desk: Desk, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> asyncio.Task[str]:
    tikhub = TikHub(BASE, Network(transport=line), sleep=sleep)
    return asyncio.create_task(tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep))


# The gate


def test_a_request_that_nobody_pays_for_any_more_uses_up_no_turn() -> None:
    def refuse() -> None:
        raise ApiCallLimit("no caller is waiting")

    async def run() -> None:
        gate = RateLimiter(calls=2, window=60.0)
        for _ in range(5):
            with pytest.raises(ApiCallLimit):
                await gate.wait(refuse)
        async with asyncio.timeout(1):
            await gate.wait()
            await gate.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await gate.wait()

    asyncio.run(run())


def test_at_most_ten_requests_go_out_in_any_second_of_however_many_are_wanted(clock: Clock) -> None:
    async def story() -> None:
        gate, times = RateLimiter(), list[float]()

        async def ask() -> None:
            await gate.wait()
            times.append(clock.now)

        await asyncio.gather(*(ask() for _ in range(35)))
        assert CALLS_A_SECOND == 10
        assert times[:10] == [0.0] * 10
        assert all(late - early > 1.0 for early, late in zip(times, times[10:], strict=False))
        assert times[-1] < 3.3

    play(story)


def test_the_gate_lets_out_in_the_order_of_asking_on_a_real_clock_too() -> None:
    async def story() -> None:
        gate, out = RateLimiter(calls=2, window=0.03), list[tuple[int, float]]()

        async def ask(number: int) -> None:
            await gate.wait()
            out.append((number, time.monotonic()))

        await asyncio.gather(*(ask(number) for number in range(6)))
        assert [number for number, _ in out] == [0, 1, 2, 3, 4, 5]
        assert all(late[1] - early[1] >= 0.029 for early, late in zip(out, out[2:], strict=False))

    play(story)


def test_a_pause_holds_everybody_and_a_shorter_one_does_not_end_it(clock: Clock) -> None:
    async def story() -> None:
        gate = RateLimiter()
        gate.pause(7.0)
        gate.pause(2.0)
        await asyncio.gather(*(gate.wait() for _ in range(3)))
        assert clock.now == 7.0
        await gate.wait()
        assert clock.now == 7.0

    play(story)


def test_a_pause_that_comes_while_one_waits_is_waited_for_as_well(clock: Clock) -> None:
    async def story() -> None:
        gate = RateLimiter()
        gate.pause(3.0)
        waiting = asyncio.create_task(gate.wait())
        await asyncio.sleep(0)
        gate.pause(9.0)
        await waiting
        assert clock.now == 9.0

    play(story)


@pytest.mark.parametrize(("header", "seconds"), [("5", 5.0), (DATE, 7.0)])
def test_a_rate_limit_for_one_holds_all_jobs_for_as_long_as_was_asked(
    clock: Clock, header: str, seconds: float
) -> None:
    async def story() -> None:
        line, desk = Line(429, 200, headers={"Retry-After": header}), Desk()
        line.go.set()
        tikhub = TikHub(BASE, Network(transport=line), sleep=clock.sleep)
        first = asyncio.create_task(tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep))
        while not tikhub._limiter._closed_until:  # noqa: ASYNC110 - until the 429 is understood
            await asyncio.sleep(0)
        await tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep)
        assert clock.now >= seconds
        await first
        assert (line.requests, desk.spent, desk.refunded) == (3, 3, 1)

    play(story)


def test_a_long_rate_limit_is_told_at_once_and_holds_nobody(clock: Clock) -> None:
    async def story() -> None:
        line, desk = Line(429, headers={"Retry-After": "3600"}), Desk()
        line.go.set()
        with pytest.raises(RateLimited) as caught:
            await look_up(line, desk, clock.sleep)
        assert (caught.value.retry_after, clock.now, line.requests) == (3600.0, 0.0, 1)

    play(story)


# Cancelling


def test_cancelled_while_the_request_is_out_the_answer_is_still_kept() -> None:
    async def story() -> None:
        line, desk = Line(200), Slow()
        asking = look_up(line, desk)
        await line.began.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not desk.kept
        line.go.set()
        desk.may_keep.set()
        await desk.done.wait()
        assert (len(desk.kept), line.requests, desk.spent, desk.refunded) == (1, 1, 1, 0)

    play(story)


def test_cancelled_while_the_answer_is_being_kept_it_is_kept() -> None:
    async def story() -> None:
        line, desk = Line(200), Slow()
        line.go.set()
        asking = look_up(line, desk)
        await desk.keeping.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        desk.may_keep.set()
        await desk.done.wait()
        assert len(desk.kept) == 1

    play(story)


@pytest.mark.parametrize("status", [200, 500])
def test_what_goes_wrong_after_a_cancellation_troubles_nobody_and_is_not_asked_again(status: int) -> None:
    async def story() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        line, desk = Line(status), Desk(failure=UnexpectedAnswer("made up"))
        asking = look_up(line, desk)
        await line.began.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        (running,) = concurrency._running
        line.go.set()
        await asyncio.wait([running])
        del running
        await asyncio.sleep(0)
        gc.collect()
        assert (complaints, line.requests, len(concurrency._running)) == ([], 1, 0)
        assert (desk.refunded, len(desk.kept)) == ((0, 1) if status == 200 else (1, 0))

    play(story)


def test_cancelled_at_the_gate_nothing_is_sent_or_spent_and_the_next_gets_through() -> None:
    async def story() -> None:
        line, desk = Line(200), Desk()
        line.go.set()
        tikhub = TikHub(BASE, Network(transport=line))
        tikhub._limiter.pause(60.0)
        waiting = [asyncio.create_task(tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (line.requests, desk.spent) == (0, 0)
        tikhub._limiter._closed_until = 0.0
        await tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep)
        assert (line.requests, desk.spent) == (1, 1)

    play(story)


def test_nothing_is_spent_while_all_lines_are_taken_by_answers_that_nobody_waits_for_any_more() -> None:
    async def story() -> None:
        line, desk, late = Line(200), Desk(), Desk()
        tikhub = TikHub(BASE, Network(transport=line))
        tikhub._limiter = RateLimiter(window=0.0)
        gone = [
            asyncio.create_task(tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep)) for _ in range(MAX_CONNECTIONS)
        ]
        await until(lambda: line.requests == MAX_CONNECTIONS)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        waiting, leaving = (
            asyncio.create_task(tikhub.look_up(POST, SecretStr(KEY), late, late.keep)) for _ in range(2)
        )
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.sleep(0.05)
        assert (line.requests, late.spent) == (MAX_CONNECTIONS, 0)
        line.go.set()
        await waiting
        assert (line.requests, desk.spent, len(desk.kept)) == (MAX_CONNECTIONS + 1, MAX_CONNECTIONS, MAX_CONNECTIONS)
        assert (late.spent, late.refunded, len(late.kept)) == (1, 0, 1)

    play(story)


def test_cancelled_between_two_requests_no_more_is_sent() -> None:
    async def story() -> None:
        waits = asyncio.Event()

        async def sleep(_: float) -> None:
            waits.set()
            await asyncio.Event().wait()

        line, desk = Line(503), Desk()
        line.go.set()
        asking = look_up(line, desk, sleep)
        await waits.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (line.requests, desk.spent, desk.refunded) == (1, 1, 1)

    play(story)


def test_a_request_that_takes_too_long_is_ended_by_the_deadline() -> None:
    async def story() -> None:
        line, desk = Line(200), Desk()
        tikhub = TikHub(BASE, Network(transport=line), deadline=0.02)
        with pytest.raises(TikHubUnavailable, match=r"lost on the way \(TimeoutError\)\. It may have been charged"):
            await tikhub.look_up(POST, SecretStr(KEY), desk, desk.keep)
        assert (line.requests, desk.spent, desk.refunded) == (1, 1, 0)

    play(story)


def test_a_request_that_no_call_may_pay_for_gives_its_connection_back() -> None:
    class Refusing:
        def spend(self) -> None:
            raise ApiCallLimit("the cap is reached")

        def refund(self) -> None:
            raise AssertionError("nothing was spent")

    async def run() -> None:
        tikhub = TikHub("https://api.example", Network())
        for _ in range(MAX_CONNECTIONS + 1):
            async with asyncio.timeout(5):
                with pytest.raises(ApiCallLimit):
                    await tikhub.look_up(POST, SecretStr(KEY), Refusing(), Desk().keep)

    asyncio.run(run())


def test_people_share_a_rate_in_turn_and_a_pause_of_one_holds_no_other(clock: Clock) -> None:
    async def story() -> None:
        alice = RateLimiter(calls=1, window=1.0)
        bob, connections = alice.share(), FairSemaphore(1)
        order: list[str] = []
        shares = {"alice": connections.share(), "bob": connections.share()}

        async def ask(limiter: RateLimiter, name: str) -> None:
            await limiter.wait(lambda: order.append(name), shares[name])
            shares[name].release()

        tasks = [asyncio.create_task(ask(alice, "alice")) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.gather(*tasks, ask(bob, "bob"))
        assert order[:3].count("bob") == 1
        assert clock.now == 4.0  # five requests at one a second
        alice.pause(60.0)
        order.clear()
        waiting = asyncio.create_task(ask(alice, "alice"))
        bobs = asyncio.create_task(ask(bob, "bob"))
        await asyncio.wait([waiting, bobs], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(waiting, bobs)
        assert sorted(order) == ["alice", "bob"]

    play(story)


def test_a_pause_that_comes_while_one_waits_for_the_rate_is_waited_for_as_well(clock: Clock) -> None:
    async def story() -> None:
        gate = RateLimiter(calls=1, window=5.0)
        await gate.wait()
        waiting = asyncio.create_task(gate.wait())
        await asyncio.sleep(0)
        gate.pause(60.0)
        await waiting
        assert clock.now == 60.0

    play(story)


async def _paused_holds_nothing() -> tuple[int, int]:
    alice, connections = RateLimiter(), FairSemaphore(1)
    bob, one, other = alice.share(), connections.share(), connections.share()
    alice.pause(60.0)
    waiting = asyncio.create_task(alice.wait(connections=one))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await bob.wait(connections=other)
    held = one.held, other.held
    waiting.cancel()
    await asyncio.wait([waiting])
    return held


def test_who_waits_out_a_pause_holds_no_connection() -> None:
    assert asyncio.run(_paused_holds_nothing()) == (0, 1)
