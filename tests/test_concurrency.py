"""Tasks and threads whose caller is cancelled."""

import asyncio
import gc
import threading

import pytest

from tikhub_mcp.concurrency import FairSemaphore, Share, check_cancelled, in_flight, in_thread, run_to_completion


def test_a_function_in_a_thread_is_told_that_its_caller_was_cancelled() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            while True:
                check_cancelled()
                begun.set()
        finally:
            ended.set()

    async def run() -> None:
        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        await in_thread(check_cancelled)  # another call is not meant

    asyncio.run(run())
    check_cancelled()


def test_an_error_that_no_caller_waits_for_is_not_logged_as_never_retrieved(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def fail() -> None:
            begun.set()
            await go.wait()
            raise ValueError

        caller = asyncio.create_task(run_to_completion(fail()))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go.set()
        await asyncio.wait(in_flight())

    asyncio.run(run())
    gc.collect()
    assert not caplog.records


def test_an_error_in_a_thread_whose_caller_was_cancelled_is_not_logged_either(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        begun, go = threading.Event(), threading.Event()

        def fail() -> None:
            begun.set()
            go.wait()
            raise ValueError

        caller = asyncio.create_task(in_thread(fail))
        await asyncio.to_thread(begun.wait)
        caller.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(run())
    gc.collect()
    assert not caplog.records


def turns(slots: int, begun: int, waiting: list[str], cancelled: str = "") -> list[str]:
    """Whose tasks have slots, in order: `a` holds so many, those that wait are named, each slot is given back."""
    order: list[str] = []

    async def run() -> None:
        semaphore = FairSemaphore(slots)
        shares = {name: semaphore.share() for name in "abc"}
        for _ in range(begun):
            await shares["a"].acquire()

        async def work(share: Share, name: str) -> None:
            async with share:
                order.append(name)
                await asyncio.sleep(0)

        tasks = {(name, number): asyncio.create_task(work(shares[name], name)) for number, name in enumerate(waiting)}
        await asyncio.sleep(0)
        for (name, _), task in tasks.items():
            if name == cancelled:
                task.cancel()
        for _ in range(begun):
            shares["a"].release()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert all(semaphore.take(shares["b"]) for _ in range(slots))  # none is lost
        assert not semaphore.take(shares["b"])

    asyncio.run(run())
    return order


@pytest.mark.parametrize(
    ("slots", "begun", "waiting", "order"),
    [
        (1, 1, ["a", "a", "a", "b"], "abaa"),
        (1, 1, ["a", "b", "a", "c", "b", "c"], "abcabc"),
        (3, 3, ["a"] * 4 + ["b"] * 2, "bab"),  # who holds fewest comes first
        (2, 0, ["a", "a", "b"], "aab"),
    ],
)
def test_free_slots_go_to_owners_in_turn(slots: int, begun: int, waiting: list[str], order: str) -> None:
    told = "".join(turns(slots, begun, waiting))
    assert (told[: len(order)], sorted(told)) == (order, sorted(waiting))


def test_a_cancelled_task_takes_no_turn_and_loses_no_slot() -> None:
    assert turns(2, 2, ["a", "b", "b", "c"], cancelled="b") == ["c", "a"]


def test_a_task_that_is_cancelled_as_it_gets_its_slot_gives_it_back() -> None:
    async def run() -> None:
        semaphore = FairSemaphore(1)
        first, second = semaphore.share(), semaphore.share()
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0)
        first.release()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(first.acquire(), 1)

    asyncio.run(run())
