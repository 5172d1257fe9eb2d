"""Tasks and threads that run to completion even when the code awaiting them is cancelled; limits on tasks."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from threading import Event
from typing import ParamSpec, Self, TypeVar

THREADS = 32

K = TypeVar("K")
_running: set[asyncio.Task[object]] = set()
_cancelled: ContextVar[Event | None] = ContextVar("cancelled", default=None)  # of the caller of `in_thread`


P = ParamSpec("P")
R = TypeVar("R")


def use_many_threads() -> None:
    """Give the running event loop THREADS threads: its own few are all taken where ten name look-ups hang."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))


def in_flight() -> set[asyncio.Task[object]]:
    """Return the tasks started by `run_to_completion` that have not finished yet."""
    return set(_running)


async def run_to_completion(work: Coroutine[None, None, K]) -> K:
    """Await a coroutine that keeps running when the awaiting task is cancelled.

    Args:
        work: The coroutine to run.

    Returns:
        What the coroutine returns.

    Raises:
        Exception: Whatever the coroutine raises.
    """
    task = asyncio.create_task(work)
    _running.add(task)  # the event loop keeps only weak references to tasks
    task.add_done_callback(_running.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Retrieve the exception, or asyncio logs it as never retrieved, because no caller is waiting any more.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking function in a thread; a cancellation takes effect after the function has returned.

    A function that may take longer than a second calls `check_cancelled` in its loops.

    `asyncio.to_thread` raises CancelledError at once while its thread keeps running. The caller could then close a file
    that the thread still uses, and the system could reuse its file descriptor for another file.
    """
    cancelled = Event()

    def run() -> R:
        _cancelled.set(cancelled)  # in the thread's own copy of the context
        return function(*args, **kwargs)

    task = asyncio.create_task(asyncio.to_thread(run))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancelled.set()
        while not task.done():
            with suppress(asyncio.CancelledError):  # a second cancellation must not end the wait either
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # marks it as retrieved: asyncio would log it, although no caller is waiting any more
        raise


def check_cancelled() -> None:
    """Stop a function that runs in a thread if the caller of its `in_thread` was cancelled.

    Raises:
        CancelledError: It was.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise asyncio.CancelledError


class Slot:
    """A place under several limits at once, which its holder may give back early; an asynchronous context manager.

    Args:
        limits: The limits, in the order in which they are waited for.

    Attributes:
        waited: How long its holder has waited for it, in seconds.
    """

    def __init__(self, *limits: asyncio.Semaphore) -> None:
        self.waited = 0.0
        self._limits = limits
        self._held: list[asyncio.Semaphore] = []

    async def acquire(self, outside: asyncio.Timeout | None = None) -> None:
        """Wait for the place, unless it is held.

        Args:
            outside: A time limit on the caller's work, which the wait is no part of.
        """
        began, end = time.monotonic(), outside and outside.when()
        if outside:
            outside.reschedule(None)
        try:
            for limit in self._limits[len(self._held) :]:
                await limit.acquire()
                self._held.append(limit)
        finally:
            waited = time.monotonic() - began
            self.waited += waited
        if outside and end is not None:
            outside.reschedule(end + waited)

    def release(self) -> None:
        """Give the place back, if it is held."""
        while self._held:
            self._held.pop().release()

    async def __aenter__(self) -> Self:
        try:
            await self.acquire()
        except BaseException:
            self.release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
