"""The line to the client, with an end to what may wait on it, and word of its own end.

By itself the SDK takes in requests for as long as they come, whether or not anybody reads the replies, and it does not
end with its input while a reply cannot be written.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

if TYPE_CHECKING:
    from contextvars import Context

    from mcp.shared._stream_protocols import ReadStream, WriteStream

MOST_UNANSWERED = 500  # requests; hosts have a handful under way

S = TypeVar("S", bound="ReadStream[SessionMessage | Exception] | WriteStream[SessionMessage]")


class _Around(Generic[S]):
    """One direction of the SDK's line, and how many more requests may come in."""

    def __init__(self, inner: S, room: asyncio.Semaphore) -> None:
        self._inner = inner
        self._room = room

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Incoming(_Around["ReadStream[SessionMessage | Exception]"]):
    """What the client sends; nothing more is read while too many requests are not answered yet.

    Args:
        inner: The SDK's stream.
        room: Shared with the other direction.
        ended: Told when the input has ended.
    """

    def __init__(
        self, inner: "ReadStream[SessionMessage | Exception]", room: asyncio.Semaphore, ended: Callable[[], None]
    ) -> None:
        super().__init__(inner, room)
        self._ended = ended

    @property
    def last_context(self) -> "Context | None":
        """The SDK's: what the sender of the last message knew."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        try:
            item = await self._inner.receive()
        except anyio.EndOfStream:
            self._ended()
            raise
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
            await self._room.acquire()
            item.metadata = ServerMessageMetadata(on_request_unanswered=self._let_go)  # a cancelled one has no reply
        return item

    async def _let_go(self) -> None:
        self._room.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class Outgoing(_Around["WriteStream[SessionMessage]"]):
    """What the client is sent."""

    async def send(self, item: SessionMessage) -> None:
        """Send a message; returns when it is on its way."""
        await self._inner.send(item)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError) and item.message.id is not None:
            self._room.release()
