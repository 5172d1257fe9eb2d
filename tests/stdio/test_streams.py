"""streams.py: how many requests may wait for an answer, what that saves, and what becomes of lines that are none."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Self

import anyio
import pytest
from mcp.shared._context_streams import create_context_streams
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

from tests.support.stdio_client import Deaf, Environment, Wire, wait
from tikhub_mcp.stdio.streams import MAX_UNANSWERED, Incoming, Outgoing

MOST = 3  # unanswered requests, here
AFTERWARDS = 3000  # requests of a client that reads only then
LARGEST = 150 * 1024  # KiB of memory; without a limit these requests take 300 MiB

Item = SessionMessage | Exception


def request(number: int) -> SessionMessage:
    return SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/list"))


def reply(number: int) -> SessionMessage:
    return SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=number, result={}))


def error(number: int | None) -> SessionMessage:
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=number, error=ErrorData(code=-32000, message="no")))


def notification() -> SessionMessage:
    return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/progress"))


class Line:
    """Both directions of a line with a client on its far end, and a server that takes in whatever it may."""

    def __init__(self, most: int = MOST, unread: int = 100) -> None:
        room = asyncio.Semaphore(most)
        self.client, sent = anyio.create_memory_object_stream[Item](100)
        answered, self.answers = anyio.create_memory_object_stream[SessionMessage](unread)
        self.ended = 0
        self.outgoing = Outgoing(answered, room)
        self.incoming = Incoming(sent, room, self.outgoing, self._end)
        self.taken: list[Item] = []
        self.server = asyncio.create_task(self._serve())

    def _end(self) -> None:
        self.ended += 1

    async def _serve(self) -> None:
        async with self.incoming:
            async for item in self.incoming:
                self.taken.append(item)

    async def ask(self, *items: Item) -> None:
        for item in items:
            await self.client.send(item)
        await anyio.wait_all_tasks_blocked()

    async def answer(self, *items: SessionMessage) -> None:
        for item in items:
            await self.outgoing.send(item)
        await anyio.wait_all_tasks_blocked()

    @property
    def requests(self) -> list[int | str]:
        """The ids that were taken in."""
        messages = [item.message for item in self.taken if isinstance(item, SessionMessage)]
        return [message.id for message in messages if isinstance(message, JSONRPCRequest)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every end, so that none is left to the garbage collector, which would complain."""
        self.server.cancel()
        await asyncio.wait([self.server])
        for stream in (self.client, self.incoming, self.outgoing, self.answers):
            await stream.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [reply, error])
async def test_only_so_many_requests_are_taken_in_until_one_of_them_is_answered(
    answer: Callable[[int], SessionMessage],
) -> None:
    async with Line() as line:
        await line.ask(*map(request, range(1, 8)))
        assert line.requests == [1, 2, 3]
        await line.answer(answer(2))
        assert line.requests == [1, 2, 3, 4]
        await line.answer(answer(1), answer(4))
        assert line.requests == [1, 2, 3, 4, 5, 6]


@pytest.mark.anyio
async def test_an_answer_that_nobody_takes_makes_no_room() -> None:
    async with Line(unread=0) as line:
        await line.ask(*map(request, range(1, 8)))
        answering = asyncio.create_task(line.outgoing.send(reply(1)))
        await anyio.wait_all_tasks_blocked()
        assert line.requests == [1, 2, 3]
        assert await line.answers.receive() == reply(1)
        await answering
        await anyio.wait_all_tasks_blocked()
        assert line.requests == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_a_cancelled_request_which_gets_no_answer_makes_room_for_one() -> None:
    async with Line() as line:
        await line.ask(*map(request, range(1, 8)))
        cancelled = line.taken[1]
        assert isinstance(cancelled, SessionMessage)
        assert isinstance(cancelled.metadata, ServerMessageMetadata)
        assert cancelled.metadata.on_request_unanswered
        await cancelled.metadata.on_request_unanswered()
        await anyio.wait_all_tasks_blocked()
        assert line.requests == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_what_asks_for_no_answer_is_taken_in_without_counting() -> None:
    async with Line(most=1) as line:
        others = [*[notification() for _ in range(5)], reply(90), error(91), error(None)]
        await line.ask(*others, request(1), *others, request(2), notification())
        assert line.taken == [*others, line.taken[len(others)], *others]
        assert line.requests == [1]


def unreadable(line: str) -> Exception:
    """What the SDK makes of a line that it cannot read."""
    with pytest.raises(ValidationError) as caught:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        pytest.param("{", None, PARSE_ERROR, id="half"),
        pytest.param("\udcff", None, PARSE_ERROR, id="no UTF-8"),
        pytest.param("[" * 5000, None, PARSE_ERROR, id="deep"),
        pytest.param("[]", None, INVALID_REQUEST, id="a list"),
        pytest.param('{"jsonrpc":"2.0","id":"seven"}', "seven", INVALID_REQUEST, id="no method"),
        pytest.param('{"jsonrpc":"2.0","id":7,"method":5}', 7, INVALID_REQUEST, id="a number for a method"),
        pytest.param(
            '{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}', 7, INVALID_REQUEST, id="a list of params"
        ),
        pytest.param('{"jsonrpc":"1.0","id":7,"method":"ping"}', 7, INVALID_REQUEST, id="another version"),
    ],
)
async def test_a_line_that_cannot_be_read_is_answered_without_counting(
    line: str, number: int | str | None, code: int
) -> None:
    async with Line(most=1) as desk:
        await desk.ask(unreadable(line), unreadable(line), request(1), unreadable(line), request(2))
        assert desk.requests == [1]
        for _ in range(3):
            answer = desk.answers.receive_nowait().message
            assert isinstance(answer, JSONRPCError)
            assert (answer.id, answer.error.code) == (number, code)
        await desk.answer(reply(1))
        assert desk.requests == [1, 2]


@pytest.mark.anyio
async def test_a_request_with_half_an_emoji_is_mended_and_counts() -> None:
    async with Line(most=1) as line:
        half = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\ud83d"}}'
        await line.ask(unreadable(half), request(2))
        assert line.requests == [1]
        item = line.taken[0]
        assert isinstance(item, SessionMessage)
        assert isinstance(item.message, JSONRPCRequest)
        assert item.message.params == {"name": "a\ufffd"}
        await line.answer(reply(1))
        assert line.requests == [1, 2]


@pytest.mark.anyio
async def test_what_is_no_answer_makes_no_room() -> None:
    async with Line(most=1) as line:
        await line.ask(request(1), request(2))
        others = [notification(), notification(), error(None), request(90)]
        await line.answer(*others)
        assert line.requests == [1]
        assert [line.answers.receive_nowait() for _ in others] == others  # they went out all the same
        await line.answer(reply(1))
        assert line.requests == [1, 2]


@pytest.mark.anyio
async def test_the_end_of_input_is_told_once_and_only_after_the_last_message() -> None:
    async with Line(most=1) as line:
        await line.ask(request(1), request(2), notification())
        await line.client.aclose()
        await anyio.wait_all_tasks_blocked()
        assert (line.ended, line.server.done()) == (0, False)  # the second request waits
        await line.answer(reply(1))
        assert (line.ended, line.server.done(), line.requests, len(line.taken)) == (1, True, [1, 2], 3)
    assert line.ended == 1


@pytest.mark.anyio
async def test_the_context_of_whoever_sent_a_message_comes_with_it() -> None:
    sender: ContextVar[str] = ContextVar("sender")
    send, receive = create_context_streams[Item](1)
    answered, answers = anyio.create_memory_object_stream[SessionMessage](1)
    room = asyncio.Semaphore(1)
    incoming = Incoming(receive, room, Outgoing(answered, room), lambda: None)
    sender.set("the client")
    await send.send(request(1))
    sender.set("somebody else")
    await incoming.receive()
    assert incoming.last_context is not None
    assert incoming.last_context[sender] == "the client"
    for stream in (send, incoming, answered, answers):
        await stream.aclose()


@pytest.fixture
def deaf(environment: Environment, tmp_path: Path) -> Iterator[Deaf]:
    with Deaf(environment, tmp_path / "log") as running:
        yield running


def peak(wire: Wire) -> int:
    """The most memory that the server has had, in KiB."""
    status = Path(f"/proc/{wire.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def wait_for_rest(measure: Callable[[], int], seconds: float = 0.5) -> None:
    """Wait until a number has not changed for so long."""
    before, since = measure(), time.monotonic()

    def rests() -> bool:
        nonlocal before, since
        if measure() != before:
            before, since = measure(), time.monotonic()
        return time.monotonic() - since > seconds

    wait(rests)


@pytest.mark.skipif(sys.platform != "linux", reason="memory as /proc has it")
def test_requests_of_a_client_that_does_not_read_take_no_memory_and_are_all_answered_once_it_does(deaf: Deaf) -> None:
    sent: list[int] = []

    def write() -> None:
        for number in range(1, AFTERWARDS + 1):
            deaf.send({"jsonrpc": "2.0", "id": number, "method": "tools/list"})
            sent.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    wait(lambda: len(sent) > MAX_UNANSWERED)
    wait_for_rest(lambda: len(sent))
    assert writer.is_alive()  # where everything is taken in, it can write everything
    deaf.listening.set()
    answered = [deaf.message()["id"] for _ in range(AFTERWARDS + 1)]
    writer.join()
    assert sorted(answered) == list(range(AFTERWARDS + 1))
    assert peak(deaf) < LARGEST
    assert deaf.end()[0] == 0
    assert deaf.heard == []
