"""Tasks and threads that run to completion even when the code awaiting them is cancelled; limits on tasks."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from threading import Event
from typing import ParamSpec, TypeVar

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


class FairSemaphore:
    """A semaphore whose slots several owners share: a free slot goes to the waiting owner that holds the fewest.

    Owners that hold equally many have their turns one after another, and each owner's tasks are served in their order.

    Args:
        slots: How many slots there are.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: deque[Share] = deque()  # each owner once, in the order of their turns

    def share(self) -> "Share":
        """Return the semaphore of a new owner."""
        return Share(self)

    def take(self, share: "Share") -> bool:
        """Take a free slot, and return whether there was one; nobody waits while there is."""
        if not self._free:
            return False
        self._free -= 1
        share.held += 1
        return True

    def enqueue(self, share: "Share") -> None:
        """Let an owner have turns."""
        if share not in self._waiting:
            self._waiting.append(share)

    def give_back(self, share: "Share") -> None:
        """Take back a slot, and give it to whose turn it is."""
        share.held -= 1
        self._free += 1
        while self._free and self._waiting:
            following = min(self._waiting, key=lambda other: other.held)  # the first of equals
            self._waiting.remove(following)
            if following.wake():
                self.take(following)
                self._waiting.append(following)


class Share:
    """One owner's side of a FairSemaphore: an asynchronous context manager, as `asyncio.Semaphore` is.

    Args:
        slots: The semaphore.

    Attributes:
        held: How many slots the owner holds.
    """

    def __init__(self, slots: FairSemaphore) -> None:
        self._slots = slots
        self._tasks: deque[asyncio.Future[None]] = deque()
        self.held = 0

    async def acquire(self) -> None:
        """Wait for a slot."""
        if self._slots.take(self):
            return
        turn = asyncio.get_running_loop().create_future()
        self._tasks.append(turn)
        self._slots.enqueue(self)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given a slot just before
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._slots.give_back(self)

    def wake(self) -> bool:
        """Let the first waiting task go on with a slot, and return whether there was such a task."""
        while self._tasks:
            if not (turn := self._tasks.popleft()).done():  # else it was cancelled
                turn.set_result(None)
                return True
        return False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
