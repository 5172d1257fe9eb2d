"""streams.py: what becomes of each line that is sent, and that neither a line nor a reply holds up the next."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from tikhub_mcp.stdio.streams import answering_all

Item = SessionMessage | Exception


def parsed(line: str) -> Item:
    """What the SDK makes of a line."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


@dataclass
class Line:
    """A client on one end of the line, and on the other a server that takes in what it is given."""

    client: MemoryObjectSendStream[Item]
    replies: MemoryObjectReceiveStream[SessionMessage]
    taken: list[JSONRPCMessage] = field(default_factory=list)
    ends: int = 0

    async def send(self, *lines: str) -> None:
        for line in lines:
            await self.client.send(parsed(line))
        await anyio.wait_all_tasks_blocked()

    def end(self) -> None:
        self.ends += 1


@asynccontextmanager
async def connected() -> AsyncIterator[Line]:
    """A line whose server answers each request, and whose client reads no reply by itself."""
    client, lines = anyio.create_memory_object_stream[Item]()
    out, replies = anyio.create_memory_object_stream[SessionMessage]()
    line = Line(client, replies)

    async def serve() -> None:
        async with answering_all(lines, out, line.end) as (reader, writer), reader, writer:
            async for item in reader:
                assert isinstance(item, SessionMessage)
                line.taken.append(item.message)
                if isinstance(item.message, JSONRPCRequest):
                    await writer.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=item.message.id, result={})))

    server = asyncio.create_task(serve())
    async with client, replies:
        yield line
        await client.aclose()
        async for _ in replies:
            pass
        await server


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        pytest.param("{", None, PARSE_ERROR, id="half"),
        pytest.param("what is this", None, PARSE_ERROR, id="no JSON"),
        pytest.param("\udcff", None, PARSE_ERROR, id="no UTF-8"),
        pytest.param("[" * 5000, None, PARSE_ERROR, id="deep"),
        pytest.param("[]", None, INVALID_REQUEST, id="a list"),
        pytest.param("5", None, INVALID_REQUEST, id="a number"),
        pytest.param('{"id":7,"method":"ping"}', 7, INVALID_REQUEST, id="no version"),
        pytest.param('{"jsonrpc":"2.0","id":"seven"}', "seven", INVALID_REQUEST, id="no method"),
        pytest.param('{"jsonrpc":"2.0","id":7,"method":5}', 7, INVALID_REQUEST, id="a number for a method"),
        pytest.param('{"jsonrpc":"2.0","id":7,"method":"a","params":[1]}', 7, INVALID_REQUEST, id="a list of params"),
        pytest.param('{"jsonrpc":"1.0","id":7,"method":"ping"}', 7, INVALID_REQUEST, id="another version"),
        pytest.param('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, INVALID_REQUEST, id="a fraction for an id"),
        pytest.param('{"jsonrpc":"2.0","id":true,"method":"ping"}', None, INVALID_REQUEST, id="a truth for an id"),
        pytest.param('{"jsonrpc":"2.0","id":null,"method":"ping"}', None, INVALID_REQUEST, id="null for an id"),
        pytest.param(f'{{"jsonrpc":"1.0","id":{"9" * 5000},"method":"a"}}', "9" * 5000, INVALID_REQUEST, id="long id"),
    ],
)
async def test_a_line_that_is_no_request_is_answered_with_an_error(
    line: str, number: int | str | None, code: int
) -> None:
    async with connected() as wire:
        await wire.send(line)
        answer = (await wire.replies.receive()).message
        assert isinstance(answer, JSONRPCError)
        assert (answer.id, answer.error.code) == (number, code)
        assert not wire.taken


@pytest.mark.anyio
async def test_half_an_emoji_and_an_integer_that_is_too_long_are_mended() -> None:
    async with connected() as wire:
        await wire.send(f'{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"b":"c\\ud83d","d":{"9" * 5000}}}}}')
        [message] = wire.taken
        assert isinstance(message, JSONRPCRequest)
        assert message.params == {"b": "c\ufffd", "d": "9" * 5000}


@pytest.mark.anyio
async def test_replies_that_nobody_reads_keep_neither_messages_nor_the_end_of_input_from_the_server() -> None:
    requests = [f'{{"jsonrpc":"2.0","id":{number},"method":"ping"}}' for number in range(300)]
    lines = [line for request in requests for line in (request, "no JSON")]
    notification = '{"jsonrpc":"2.0","method":"notifications/cancelled"}'
    async with connected() as wire:
        await wire.send(*lines, notification)
        assert (len(wire.taken), wire.ends) == (301, 0)
        await wire.client.aclose()
        await anyio.wait_all_tasks_blocked()
        assert wire.ends == 1
        answers = [reply.message async for reply in wire.replies]
    assert [answer.id for answer in answers if isinstance(answer, JSONRPCResponse)] == list(range(300))
    assert len(answers) == len(lines)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reason", "goes_on"),
    [
        ("timed out after 5.0s", True),
        ("McpError: MCP error -32001: Request timed out", True),
        ("request timeout", True),
        ("TimeoutError: The operation was aborted due to timeout", True),
        ("context deadline exceeded", True),
        ("caller cancelled", False),
        ("AbortError: This operation was aborted", False),
        ("", False),
        (None, False),
        (5, False),
    ],
)
async def test_a_request_is_cancelled_unless_the_client_only_stopped_waiting(reason: object, goes_on: bool) -> None:
    params = {"requestId": 1} if reason is None else {"requestId": 1, "reason": reason}
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    with anyio.fail_after(20):
        async with connected() as line:
            await line.send(json.dumps(cancelled), json.dumps(cancelled | {"method": "notifications/other"}))
            assert len(line.taken) == (1 if goes_on else 2)
