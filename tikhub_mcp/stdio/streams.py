"""Wrappers around the SDK's message streams that limit unanswered requests and answer every invalid message.

The SDK alone reads requests without limit, even if the client does not read the replies. It does not end with its input
while a reply cannot be written. It gives no response to a line that it cannot parse, so that the client waits forever;
a lone surrogate, which JavaScript's JSON.stringify writes for half an emoji, is enough for that.
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

CLIENT_CHECK_SECONDS = 0.2  # between two checks whether the client has hung up, while reading is paused
MAX_UNANSWERED = 100  # requests, which take 2 ms and more each; clients have a handful in flight

S = TypeVar("S", bound="ReadStream[SessionMessage | Exception] | WriteStream[SessionMessage]")


class _Around(Generic[S]):
    """One direction of the SDK's stream pair, with the slots for unanswered requests that both directions share."""

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
    """The stream of messages to the client; a response or an error frees its request's slot."""

    async def send(self, item: SessionMessage) -> None:
        """Send a message; return when it has been handed to the SDK's writer."""
        await self._inner.send(item)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError) and item.message.id is not None:
            self._room.release()

    async def refuse(self, answer: JSONRPCError) -> None:
        """Send the error for a message that was rejected, and so has no slot."""
        await self._inner.send(SessionMessage(answer))


class Incoming(_Around["ReadStream[SessionMessage | Exception]"]):
    """The stream of messages from the client; reading is paused while no slot for a request is free.

    Args:
        inner: The SDK's stream.
        room: The slots for unanswered requests, shared with `outgoing`.
        outgoing: The stream in the other direction.
        ended: Called when the input has ended.
        hung_up: Returns whether the client has closed its end; called while reading is paused.
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
        """The context of the last message's sender, which the SDK reads."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage:
        """Return the next valid message; invalid ones are answered with an error.

        Raises:
            anyio.EndOfStream: The input has ended.
        """
        while True:
            try:
                item = await self._inner.receive()
            except anyio.EndOfStream:
                self._ended()
                raise
            found = _with_usable_id(item) if isinstance(item, SessionMessage) else _parse_message(item)
            if isinstance(found, SessionMessage):
                return await self._admit(found)
            await self._outgoing.refuse(found)

    async def _admit(self, item: SessionMessage) -> SessionMessage:
        """Wait for a slot if the message is a request."""
        if isinstance(item.message, JSONRPCRequest):
            while not await self._acquire_slot():
                if self._hung_up():  # the end of input is not seen while reading is paused
                    self._ended()
            # A cancelled request gets no response, which would free its slot.
            item.metadata = ServerMessageMetadata(on_request_unanswered=self._release_slot)
        return item

    async def _acquire_slot(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_CHECK_SECONDS):
                return await self._room.acquire()
        return False

    async def _release_slot(self) -> None:
        self._room.release()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def hang_up_watch() -> Callable[[], bool]:
    """Return a function that tells whether the client has closed standard input.

    Call it before the SDK starts, because the SDK replaces file descriptor 0.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda: False
    poll = select.poll()
    poll.register(os.dup(0), 0)  # POLLHUP is always reported
    return lambda: any(event & select.POLLHUP for _, event in poll.poll(0))


def _with_usable_id(item: SessionMessage) -> SessionMessage | JSONRPCError:
    """Return the message, or an error if it is a request whose id has an invalid type.

    The SDK parses such a request as a notification. Real notifications have methods that begin with `notifications/`.
    """
    if isinstance(item.message, JSONRPCNotification) and not item.message.method.startswith(("notifications/", "$/")):
        return _error(None, INVALID_REQUEST, "Invalid request: its id must be a text or a whole number.")
    return item


def _parse_message(problem: Exception) -> SessionMessage | JSONRPCError:
    """Return the message in a line that the SDK could not parse, or the error that answers it.

    Two defects can be repaired: strings that cannot be encoded as UTF-8, and integers that are too long to convert,
    which become strings.
    """
    try:
        value = _message_in(problem)
    except (ValueError, RecursionError):
        return _error(None, PARSE_ERROR, "Parse error: the line is no JSON that can be read.")
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_python(value, by_name=False))
    except ValidationError:
        given_id = value.get("id") if isinstance(value, dict) else None
        usable_id = given_id if isinstance(given_id, str) or type(given_id) is int else None
        return _error(
            usable_id, INVALID_REQUEST, "Invalid request: the message does not have the form of JSON-RPC 2.0."
        )


def _message_in(problem: Exception) -> Json:
    """Return the JSON value of the invalid message from the validation error.

    JSON that pydantic could not parse is parsed here, by more lenient rules.

    Raises:
        ValueError, RecursionError: It is not JSON, or nested too deeply.
    """
    if not isinstance(problem, ValidationError):
        return None
    errors = problem.errors(include_url=False)
    if not errors[0]["loc"]:  # the line is not valid JSON for pydantic; the input is the line itself
        return sendable(parse_json(errors[0]["input"].encode("utf-8", "surrogatepass"), errors="replace"))
    # The input of a "missing" error is the whole message; that of any other error is only a part of it.
    return next((error["input"] for error in errors if error["type"] == "missing"), None)


def _error(request: str | int | None, code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=message))
