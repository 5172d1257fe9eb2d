"""Tasks and threads whose caller is cancelled."""

import asyncio
import gc
import threading

import pytest

from tikhub_mcp.concurrency import Slot, check_cancelled, in_flight, in_thread, run_to_completion


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


def test_a_slot_is_taken_once_under_all_its_limits_and_given_back_however_it_ends() -> None:
    async def run() -> None:
        first, second = limits = asyncio.Semaphore(1), asyncio.Semaphore(1)
        async with Slot(*limits) as slot:
            await slot.acquire()
            assert [limit.locked() for limit in limits] == [True, True]
            slot.release()
            slot.release()
            assert [limit.locked() for limit in limits] == [False, False]
            await slot.acquire()
        assert [limit.locked() for limit in limits] == [False, False]
        async with second:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), Slot(*limits):
                    pass
            assert not first.locked()
        assert not second.locked()

    asyncio.run(run())
