"""What the commands that download have in common: their jobs, their options, and their end on a signal."""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tikhub_mcp.jobs.model import Options
    from tikhub_mcp.jobs.scheduler import Jobs
    from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.cli.inputs import absolute
from tikhub_mcp.concurrency import use_many_threads

T = TypeVar("T")


def finish(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to completion; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Raises:
        KeyboardInterrupt: A signal cancelled it.
    """

    async def guarded() -> T:
        use_many_threads()
        task = asyncio.create_task(work)
        for name in ("SIGTERM", "SIGHUP"):
            with suppress(AttributeError, NotImplementedError, RuntimeError):  # Windows, or not in the main thread
                asyncio.get_running_loop().add_signal_handler(getattr(signal, name), task.cancel)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def open_jobs(settings: "Settings", raw: Path) -> "AsyncIterator[Jobs]":
    """The jobs of one command, closed on exit; `raw` is the folder for raw answers."""
    from tikhub_mcp.jobs.scheduler import Jobs

    jobs = Jobs.of(settings, raw)
    try:
        yield jobs
    finally:
        await jobs.close()


def job_options(args: argparse.Namespace, settings: "Settings") -> "Options":
    """Return what the arguments say about each post."""
    from tikhub_mcp.jobs.model import Options

    folder, include = absolute(args.output_dir), tuple(sorted(set(args.include)))
    videos, photos = (folder, None) if folder else (settings.videos, settings.photos)
    return Options(
        videos, args.quality, not args.no_save_raw, args.metrics_only, args.refresh, include=include, photos=photos
    )
