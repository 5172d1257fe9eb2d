"""Threads whose caller is cancelled."""

import asyncio
import threading

import pytest

from tikhub_mcp.concurrency import check_cancelled, in_thread


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
