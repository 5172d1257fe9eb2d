"""Streams between the SDK's and the server's: invalid messages are answered, and reading never waits for writing.

The SDK gives no response to a line that it cannot parse, so that the client waits forever; a lone surrogate, which
JavaScript's JSON.stringify writes for half an emoji, is enough for that. Where it waits until the client takes a reply,
it reads no further, and so sees neither a cancellation nor the end of its input.
"""

import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

    Incoming = ReadStream[SessionMessage | Exception]
    Outgoing = WriteStream[SessionMessage]
from tikhub_mcp.posts.answer import Json, parse_json
from tikhub_mcp.text import sendable

# The reason that SDKs give: "timed out after 5.0s" (Python's), "McpError: MCP error -32001: Request timed out"
# (TypeScript's), "request timeout" (Rust's), "context deadline exceeded" (Go's).
_TIMEOUT = re.compile(r"time[ds]?[ -]?out|deadline exceeded", re.IGNORECASE)


@asynccontextmanager
async def answering_all(
    incoming: "Incoming", outgoing: "Outgoing", ended: Callable[[], None]
) -> AsyncIterator[tuple["Incoming", "Outgoing"]]:
    """Yield the server's streams: one of valid messages, and one that keeps replies until the client reads them.

    Args:
        incoming: The SDK's stream of messages, and of errors for lines that it could not parse.
        outgoing: The SDK's stream of messages to the client.
        ended: Called when the input has ended.
    """
    valid, for_server = anyio.create_memory_object_stream[SessionMessage | Exception]()
    replies, for_client = anyio.create_memory_object_stream[SessionMessage](math.inf)

    async def read() -> None:
        async with incoming, valid:
            async for item in incoming:
                found = _with_usable_id(item) if isinstance(item, SessionMessage) else _parse_message(item)
                if isinstance(found, SessionMessage):
                    if not _is_timeout(found):
                        await valid.send(found)
                else:
                    await replies.send(SessionMessage(found))
        ended()

    async def write() -> None:
        async with for_client, outgoing:
            async for reply in for_client:
                await outgoing.send(reply)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        yield for_server, replies


def _is_timeout(item: SessionMessage) -> bool:
    """Return whether a message cancels a request because its client waits no longer, not because it is unwanted.

    Such a request goes on, within the time limit of its call, and the repeated call joins it. Otherwise a client with a
    limit of 5 s would begin each download that takes longer again and again.
    """
    message = item.message
    if not isinstance(message, JSONRPCNotification) or message.method != "notifications/cancelled":
        return False
    reason = (message.params or {}).get("reason")
    return isinstance(reason, str) and _TIMEOUT.search(reason) is not None


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
