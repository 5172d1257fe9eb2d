"""When the server ends: with its input, a signal, or its parent; in each case with nothing half-made left.

By itself the SDK ends with its input only: SIGINT waits for a line that never comes, SIGTERM skips all cleaning up, and
a dead parent whose pipe somebody else still holds goes unnoticed.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine

logger = logging.getLogger(__name__)

CLEANING_SECONDS = 1.5  # hosts kill what is not gone after 2
PARENT_SECONDS = 1.0  # between two looks at the parent
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last


async def serve(serving: Coroutine[None, None, None], clean_up: Callable[[], Awaitable[None]]) -> None:
    """Await the serving; a signal or the parent's death ends the process from here.

    Args:
        serving: Ends with the input, and cleans up after itself then.
        clean_up: Called where something else ends it. The serving itself cannot be ended: its thread waits for a line
            of input, and an ordinary exit would wait for the thread.
    """
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def finish(code: int) -> None:
        if not end.done():
            end.set_result(code)

    _listen(finish)
    watching = asyncio.create_task(_watch_parent(finish))
    work = asyncio.create_task(serving)
    waiting: list[asyncio.Future[None] | asyncio.Future[int]] = [work, end]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    if work.done():
        work.result()
        return
    logger.warning("Ending, with code %s", end.result())
    await asyncio.wait([asyncio.ensure_future(clean_up())], timeout=CLEANING_SECONDS)
    logging.shutdown()
    os._exit(end.result())


def _listen(tell: Callable[[int], None]) -> None:
    for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
        try:
            asyncio.get_running_loop().add_signal_handler(number, tell, 128 + number)
        except (NotImplementedError, RuntimeError):  # Windows, or not in the main thread: then the default stays
            return


async def _watch_parent(tell: Callable[[int], None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells of a parent's death, one has to look
        await asyncio.sleep(PARENT_SECONDS)
    tell(0)
