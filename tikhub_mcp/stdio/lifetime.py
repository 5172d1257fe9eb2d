"""When the server ends: with its input, a signal, or its parent; in each case with nothing half-made left.

By itself the SDK ends with its input only: SIGINT waits for a line that never comes, SIGTERM skips all cleaning up, and
a dead parent whose pipe somebody else still holds goes unnoticed.
"""

import asyncio
import gc
import logging
import os
import queue
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener

logger = logging.getLogger(__name__)

CLEANING_SECONDS = 1.5  # hosts kill what is not gone after 2
ENDING_SECONDS = 0.4  # after the end of the input; then a reply that nobody reads is waited for no longer
LOGGING_SECONDS = 0.2  # for the last lines of the log
MAX_LOG_LINES = 1000  # of the log that wait to be written; more are dropped
THREADS = 32
PARENT_SECONDS = 1.0  # between two looks at the parent
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last


Serving = Callable[[Callable[[], None]], Coroutine[None, None, None]]


async def serve(serving: Serving, clean_up: Callable[[], Awaitable[None]]) -> None:
    """Await the serving, and end the process from here: an ordinary exit would wait for every thread.

    One of them waits for a line of input that may never come, another may be reading a film of gigabytes.

    Args:
        serving: Ends with the input, of which it is to tell, and cleans up after itself then.
        clean_up: Called where a signal, the parent's death or a stuck reply ends it instead; it has CLEANING_SECONDS.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))  # one slow name server must not hold up ten downloads
    end: asyncio.Future[int] = loop.create_future()

    def finish(code: int) -> None:
        if not end.done():
            end.set_result(code)

    def input_ended() -> None:
        loop.call_later(ENDING_SECONDS, finish, 0)

    log = _log_aside()
    _listen(finish)
    watching = asyncio.create_task(_watch_parent(finish))
    work = asyncio.create_task(serving(input_ended))
    waiting: list[asyncio.Future[None] | asyncio.Future[int]] = [work, end]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    code = 0
    if work.done():
        if (failure := work.exception()) is not None:  # such as a client that reads no more, and writes on
            logger.error("The server failed", exc_info=failure)
            code = 1
    else:
        code = end.result()
        await asyncio.wait([asyncio.ensure_future(clean_up())], timeout=CLEANING_SECONDS)
        logger.warning("Ended, with code %s", code)
    with suppress(TimeoutError):
        async with asyncio.timeout(LOGGING_SECONDS):
            while log.unfinished_tasks:  # noqa: ASYNC110 - a thread's, which has no event for it
                await asyncio.sleep(0.01)
    os._exit(code)


class _Aside(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)


def _log_aside() -> "queue.Queue[logging.LogRecord]":
    """Let a thread write the log: a standard error that nobody reads fills up, and then blocks whoever writes to it."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(MAX_LOG_LINES)
    QueueListener(lines, *logging.root.handlers).start()
    logging.root.handlers[:] = [_Aside(lines)]
    return lines


def begin_log() -> None:
    """Log to standard error, for a command of the command line."""
    from tikhub_mcp.settings.environment import log_level  # brings pydantic, for which `--help` need not wait

    # The level is for this package alone: httpx and httpcore would log signed links, and at DEBUG the key.
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("tikhub_mcp").setLevel(log_level())


@contextmanager
def printing_aside() -> Iterator[None]:
    """Let whatever an import may print go to standard error: the other output is for protocol alone."""
    wire = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(wire, 1)
        os.close(wire)


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage while modules are imported, which make none: a tenth of the time until the server answers."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # what is there now stays, and need not be looked at again and again
        gc.enable()


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
