"""Standard input: all lines that the client has sent are handed on before a call begins its work.

Otherwise each further line waits for the work of the calls before it: a ping behind a hundred calls for all of them,
and a cancellation until there is nothing left to save.
"""

import asyncio
import os
import select
from collections.abc import AsyncIterator
from typing import Self

import anyio

_PIECE = 2**20  # bytes of one read; a pipe of Linux holds 64 KiB


class Input:
    """The lines of a client, and the turns of the calls in them.

    Args:
        descriptor: The file descriptor to read from. Reads may block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_handed_on = asyncio.Event()
        self._turns = asyncio.Lock()

    @classmethod
    def claim(cls) -> Self:
        """Return standard input, which from then on is empty for child processes and for anything else that reads."""
        own = os.dup(0)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        return cls(own)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield each line without its end; bytes that are not UTF-8 are replaced."""
        begun: list[bytes] = []  # pieces of one line, joined once, because a line may have megabytes
        while piece := await self._read():
            first, *others = piece.split(b"\n")
            begun.append(first)
            for other in others:
                yield b"".join(begun).decode(errors="replace")
                begun = [other]
        if last := b"".join(begun):
            yield last.decode(errors="replace")
            await (
                self._read()
            )  # at the end the SDK cancels what has not begun, so this line gets the time of the others

    async def turn(self) -> None:
        """Wait until a call may begin: one at a time, and only while no line waits to be handed on."""
        async with self._turns:
            await self._is_handed_on.wait()

    async def _read(self) -> bytes:
        self._is_handed_on.set()
        piece = await anyio.to_thread.run_sync(_read, self._descriptor)
        if piece:  # after the end, nothing waits
            self._is_handed_on.clear()
        return piece


def _read(descriptor: int) -> bytes:
    """Wait for bytes and return them; none at the end, which is also what a lost connection or terminal comes to."""
    while True:
        try:
            return os.read(descriptor, _PIECE)
        except BlockingIOError:  # some parents, such as Node, make the pipes non-blocking that they hand on
            select.select([descriptor], [], [])
        except OSError:
            return b""
