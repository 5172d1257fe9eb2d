"""Threads and tasks that run to their end, whatever happens to those that wait for them."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import ParamSpec, TypeVar

K = TypeVar("K")
_running: set[asyncio.Task[object]] = set()


P = ParamSpec("P")
R = TypeVar("R")


def in_flight() -> set[asyncio.Task[object]]:
    """The work under way that goes on to its end whatever happens."""
    return set(_running)


async def run_to_completion(work: Coroutine[None, None, K]) -> K:
    """Await work that goes on to its end when the one who waits for it is cancelled."""
    task = asyncio.create_task(work)
    _running.add(task)  # the loop itself holds its tasks weakly
    task.add_done_callback(_running.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, though nobody may wait any more
    return await asyncio.shield(task)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run something short that blocks in a thread; a cancellation waits for its end.

    asyncio.to_thread returns at once when cancelled, while the thread goes on using a file that is then closed under
    it, its number perhaps already another file's.
    """
    task = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled once more meanwhile: that changes nothing
                await asyncio.wait([task])
        raise
