"""The line to the client, with an end to what may wait on it, word of its own end, and an answer to every request.

By itself the SDK takes in requests for as long as they come, whether or not anybody reads the replies; it does not end
with its input while a reply cannot be written; and of a line that it cannot read (half an emoji, as JavaScript's
JSON.stringify writes it, is enough) it says nothing, so that the client waits for ever.
"""

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

if TYPE_CHECKING:
    from contextvars import Context

    from mcp.shared._stream_protocols import ReadStream, WriteStream
from tikhub_mcp.posts.answer import Json, parse_json
from tikhub_mcp.text import sendable

CLIENT_CHECK_SECONDS = 0.2  # between two looks at whether the client is still there, while nothing is read
MAX_UNANSWERED = 100  # requests, each of some 2 ms and more; hosts have a handful under way

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


class Outgoing(_Around["WriteStream[SessionMessage]"]):
    """What the client is sent."""

    async def send(self, item: SessionMessage) -> None:
        """Send a message; returns when it is on its way."""
        await self._inner.send(item)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError) and item.message.id is not None:
            self._room.release()

    async def refuse(self, answer: JSONRPCError) -> None:
        """Send the error of a request that was never taken in."""
        await self._inner.send(SessionMessage(answer))


class Incoming(_Around["ReadStream[SessionMessage | Exception]"]):
    """What the client sends; nothing more is read while too many requests are not answered yet.

    Args:
        inner: The SDK's stream.
        room: Shared with the other direction.
        outgoing: The other direction.
        ended: Told when the input has ended.
        hung_up: Whether the client has closed its end, asked while nothing is read.
    """

    def __init__(
        self,
        inner: "ReadStream[SessionMessage | Exception]",
        room: asyncio.Semaphore,
        outgoing: Outgoing,
        ended: Callable[[], None],
        hung_up: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(inner, room)
        self._hung_up = hung_up
        self._outgoing = outgoing
        self._ended = ended

    @property
    def last_context(self) -> "Context | None":
        """The SDK's: what the sender of the last message knew."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage:
        """The next message that can be understood; the others are answered with an error."""
        while True:
            try:
                item = await self._inner.receive()
            except anyio.EndOfStream:
                self._ended()
                raise
            found = _with_usable_id(item) if isinstance(item, SessionMessage) else _parse_message(item)
            if isinstance(found, SessionMessage):
                return await self._admitted(found)
            await self._outgoing.refuse(found)

    async def _admitted(self, item: SessionMessage) -> SessionMessage:
        if isinstance(item.message, JSONRPCRequest):
            while not await self._found_room():
                if self._hung_up():  # nothing is read on to the end
                    self._ended()
            item.metadata = ServerMessageMetadata(on_request_unanswered=self._let_go)  # a cancelled one has no reply
        return item

    async def _found_room(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_CHECK_SECONDS):
                return await self._room.acquire()
        return False

    async def _let_go(self) -> None:
        self._room.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def hang_up_watch() -> Callable[[], bool]:
    """A way to ask whether whoever writes to standard input has gone; made before the SDK takes that away."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda: False
    poll = select.poll()
    poll.register(os.dup(0), 0)  # of a hang-up it always tells
    return lambda: any(event & select.POLLHUP for _, event in poll.poll(0))


def _with_usable_id(item: SessionMessage) -> SessionMessage | JSONRPCError:
    """The message, unless it is a request with an id of no allowed kind, which the SDK takes for a notification.

    The protocol's own notifications all have names that begin with `notifications/`.
    """
    if isinstance(item.message, JSONRPCNotification) and not item.message.method.startswith(("notifications/", "$/")):
        return _error(None, INVALID_REQUEST, "Invalid request: its id must be a text or a whole number.")
    return item


def _parse_message(problem: Exception) -> SessionMessage | JSONRPCError:
    """The message in a line that the SDK could not read, or the error that answers it.

    Only texts can be mended: what UTF-8 cannot hold; and numbers too long to convert, which become texts.
    """
    try:
        value = _message_in(problem)
    except (ValueError, RecursionError):
        return _error(None, PARSE_ERROR, "Parse error: the line is no JSON that can be read.")
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_python(value, by_name=False))
    except ValidationError:
        known = value.get("id") if isinstance(value, dict) else None
        usable = known if isinstance(known, str) or type(known) is int else None
        return _error(usable, INVALID_REQUEST, "Invalid request: the message does not have the form of JSON-RPC 2.0.")


def _message_in(problem: Exception) -> Json:
    """The message that was not one, out of pydantic's account of it; JSON that it could not read is read once more.

    Raises:
        ValueError, RecursionError: It is no JSON.
    """
    if not isinstance(problem, ValidationError):
        return None
    errors = problem.errors(include_url=False)
    if not errors[0]["loc"]:  # about the line itself
        return sendable(parse_json(errors[0]["input"].encode("utf-8", "surrogatepass"), errors="replace"))
    # What it lacks to be one kind of message or another is told of the message as a whole, all else of a part of it.
    return next((error["input"] for error in errors if error["type"] == "missing"), None)


def _error(request: str | int | None, code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=message))
