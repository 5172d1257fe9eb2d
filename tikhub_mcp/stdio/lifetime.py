"""The lifetime of the server process: it ends, after cleaning up, with its input, on a signal or with its parent.

The SDK alone handles only the end of input: on SIGINT it keeps waiting for input, on SIGTERM it does not clean up, and
it does not notice that its parent has died while another process still holds the pipe open.
"""

import asyncio
import codecs
import gc
import io
import logging
import os
import queue
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener

from tikhub_mcp.concurrency import use_many_threads

logger = logging.getLogger(__name__)

CLEANING_SECONDS = 1.7  # longer than the clean-up's own limit; clients kill a server that has not exited after 2 s
ENDING_SECONDS = 0.4  # from the end of input until unfinished replies are given up: the client may not read them
LOGGING_SECONDS = 0.2  # to write the last log lines
LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
PARENT_SECONDS = 1.0  # between two checks of the parent
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


Serving = Callable[[Callable[[], None]], Coroutine[None, None, None]]


async def serve(
    serving: Serving,
    clean_up: Callable[[], Awaitable[None]],
    *,
    cleaning_seconds: float = CLEANING_SECONDS,
    has_client: bool = True,
) -> None:
    """Run the server and exit the process when it ends. Does not return.

    It exits with `os._exit`, because an ordinary exit would wait for all threads: one of them blocks on standard input,
    and another may be hashing a file of gigabytes.

    Args:
        serving: Runs the server. Has to call its argument when the input ends, and to clean up before it returns.
        clean_up: Called if a signal, the parent's death or a blocked reply ends the server.
        cleaning_seconds: The time limit of `clean_up`.
        has_client: Whether one client has started the server, so that it ends with that client, and a signal is no
            ordinary end of it. A server for many goes on without its parent, and a signal ends it with code 0.
    """
    loop = asyncio.get_running_loop()
    use_many_threads()
    end: asyncio.Future[int] = loop.create_future()

    def finish(code: int) -> None:
        if not end.done():
            end.set_result(code)

    def input_ended() -> None:
        loop.call_later(ENDING_SECONDS, finish, 0)

    log = _log_in_thread()
    _handle_signals(finish if has_client else lambda _: finish(0))
    watching = [asyncio.create_task(_watch_parent(finish))] if has_client else []
    work = asyncio.create_task(serving(input_ended))
    work.add_done_callback(lambda _: finish(0))
    code = await end
    for task in watching:
        task.cancel()
    if not work.done():
        await asyncio.wait([asyncio.ensure_future(clean_up())], timeout=cleaning_seconds)
        logger.warning("Ended, with code %s", code)
    elif (failure := work.exception()) is not None:  # such as a client that closes its reading end, but not the other
        logger.error("The server failed", exc_info=failure)
        code = 1
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(log.stop), LOGGING_SECONDS)
    os._exit(code)


def _log_in_thread() -> QueueListener:
    """Write the log in a thread: a standard error that no process reads is full after 64 KiB, and blocks its writer."""
    logging.root.handlers.clear()  # the SDK's, which breaks lines at 80 columns where there is no terminal
    begin_log(f"%(asctime)s {LOG_FORMAT}")
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = QueueListener(lines, *logging.root.handlers)
    logging.root.handlers[:] = [QueueHandler(lines)]
    listener.start()
    return listener


def begin_log(line_format: str = LOG_FORMAT) -> None:
    """Set up logging to standard error.

    Args:
        line_format: The form of a line, as `logging.Formatter` takes it.
    """
    from tikhub_mcp.settings.environment import log_level  # imports pydantic, which would slow down `--help`

    # The level applies to this package only: httpx and httpcore would log signed links and, at DEBUG, the API key.
    logging.basicConfig(format=line_format, level=logging.WARNING)
    logging.getLogger("tikhub_mcp").setLevel(log_level())


def write_utf8() -> None:
    """Write standard output and standard error in UTF-8, whatever the locale says, for the command line.

    A code page lacks characters of file names, and JSON has to be UTF-8. Bytes of a name that are not UTF-8 are written
    as they are.
    """
    codecs.register_error(write_utf8.__name__, _original_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it is None if it was closed before Python started
            stream.reconfigure(encoding="utf-8", errors=write_utf8.__name__)


def _original_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:  # half a character, which stands for no byte
        return codecs.lookup_error("replace")(error)


@contextmanager
def printing_aside() -> Iterator[None]:
    """Redirect standard output to standard error, for imports that may print: stdout carries only the protocol."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


@contextmanager
def importing() -> Iterator[None]:
    """Turn the garbage collector off during imports, which saves a tenth of the server's start-up time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules live until exit, so the collector need not scan them
        gc.enable()


def _handle_signals(callback: Callable[[int], None]) -> None:
    for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
        try:
            asyncio.get_running_loop().add_signal_handler(number, callback, 128 + number)
        except (NotImplementedError, RuntimeError):  # Windows, or not the main thread: the default handler stays
            return


async def _watch_parent(callback: Callable[[int], None]) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - there is no portable notification of it
        await asyncio.sleep(PARENT_SECONDS)
    callback(0)
