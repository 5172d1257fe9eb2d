"""Files made to cause trouble: mutated ones for as long as is wanted, and ones whose reading is cancelled."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tikhub_mcp.concurrency import in_thread

MOST_SECONDS = 5.0  # of processor time, for one file


def fuzz_seconds(usual: float) -> float:
    """How long a test mutates files: `TIKHUB_TEST_FUZZ_SECONDS`, or the usual time."""
    return float(os.environ.get("TIKHUB_TEST_FUZZ_SECONDS", usual))


def fuzz(
    contents: Sequence[bytes],
    look: Callable[[bytes], None],
    seconds: float,
    values: Sequence[bytes],
    places: Callable[[bytes], Sequence[range]],
) -> None:
    """Look at mutated files for some seconds; an error names the seed that brings it back.

    Args:
        contents: Whole files.
        look: Raises whatever should not happen.
        seconds: How long.
        values: What stands in places that matter, such as lengths, beside random bytes.
        places: Parts of a file, of which one is chosen for each change.
    """
    seed = random.SystemRandom().randrange(1 << 32)
    chance, until = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < until:
        content = chance.choice(contents)
        data = _mutated(chance, content, values, places(content))
        before = time.thread_time()
        try:
            look(data)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        assert time.thread_time() - before < MOST_SECONDS, f"seed {seed}"


def _mutated(chance: random.Random, content: bytes, values: Sequence[bytes], places: Sequence[range]) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at = min(max(0, chance.choice(chance.choice(places))), len(data))
        new = chance.choice([chance.randbytes(chance.randint(1, 8)), bytes(4), b"\xff" * 4, *values])
        match chance.randrange(4):
            case 0 | 1:
                data[at : at + len(new)] = new
            case 2:
                del data[at : at + chance.randint(1, 64)]
            case _:
                data[at:at] = data[at : at + chance.randint(8, 512)] * chance.randint(1, 50)
    return bytes(data)


def seconds_to_cancel(read: Callable[[Path], object], path: Path, after: float = 0.2) -> float:
    """How long reading a file goes on in its thread when its caller is cancelled after some seconds."""

    async def run() -> float:
        task = asyncio.create_task(in_thread(read, path))
        await asyncio.sleep(after)
        assert not task.done()
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    return asyncio.run(run())
