"""input.py: the lines that are read, and that no call begins before all of them were handed on."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.stdio_client import DISCOVERY, Caller, Wire
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.stdio.input import Input

MANY = 50


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def read(pieces: list[bytes]) -> list[str]:
    """The lines of an input that comes in these pieces, each before the next is written."""
    source, sink = os.pipe()
    lines = aiter(Input(source))
    found = []
    for piece in pieces:
        os.write(sink, piece)
        found += [await anext(lines) for _ in range(piece.count(b"\n"))]
    os.close(sink)
    found += [line async for line in lines]
    os.close(source)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a\n"], ["a"]),
        ([b"a\nb\n", b"c\n"], ["a", "b", "c"]),
        ([b"a\r\n\n b\n"], ["a\r", "", " b"]),
        ([b"a", b"b\nc", b"d", b"\n"], ["ab", "cd"]),
        ([b"a\nb"], ["a", "b"]),
        ([b"\xe8\x88", b"\xb9\n"], ["船"]),
        ([b"a\xffb\xe8\n"], ["a\ufffdb\ufffd"]),
        (["a\u2028b\x85c\x0bd\re\n".encode()], ["a\u2028b\x85c\x0bd\re"]),
        ([b"x" * 20_000] * 3 + [b"\n"], ["x" * 60_000]),
    ],
)
async def test_a_line_ends_with_a_line_feed_or_with_the_input_however_it_comes(
    pieces: list[bytes], lines: list[str]
) -> None:
    assert await read(pieces) == lines


@pytest.mark.anyio
async def test_a_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    line = asyncio.ensure_future(anext(aiter(Input(pipe[0]))))
    await asyncio.wait([line], timeout=0.1)
    os.write(pipe[1], b"a\n")
    assert await line == "a"


@pytest.mark.anyio
async def test_a_connection_that_is_reset_has_ended() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        served, _ = listening.accept()
        client.sendall(b"a\nb")
        lines = aiter(Input(served.fileno()))
        assert await anext(lines) == "a"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with served:
            assert [line async for line in lines] == ["b"]


@pytest.mark.anyio
async def test_standard_input_is_empty_for_everybody_else(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"a\nb\n")
    before = os.dup(0)
    os.dup2(pipe[0], 0)
    try:
        given = Input.claim()
        assert os.read(0, 1) == b""
        assert await anext(aiter(given)) == "a"
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.mark.anyio
async def test_calls_begin_in_order_when_all_lines_that_were_read_are_handed_on(pipe: tuple[int, int]) -> None:
    given, begun = Input(pipe[0]), list[int]()

    async def call(number: int) -> None:
        await given.turn()
        begun.append(number)

    lines = aiter(given)
    os.write(pipe[1], b"1\n2\n3\n")
    calls = [asyncio.create_task(call(int(await anext(lines)))) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == []
    calls[1].cancel()
    reading = asyncio.ensure_future(anext(lines))
    await asyncio.wait(calls)
    assert begun == [1, 3]
    os.write(pipe[1], b"4\n5\n")
    assert await reading == "4"
    late = asyncio.create_task(call(4))
    assert await anext(lines) == "5"
    assert begun == [1, 3]
    ending = asyncio.ensure_future(anext(lines, None))
    await late
    os.write(pipe[1], b"6\n")
    assert await ending == "6"


@pytest.mark.parametrize("meta", [{}, DISCOVERY], ids=["legacy", "auto"])
def test_a_request_behind_many_calls_is_answered_before_most_of_them_begin(wire: Wire, meta: Json) -> None:
    caller = Caller(wire, meta)
    caller.call(MANY + 1, "download_video", {"url": "no link"})  # the first call imports and reads more than the others
    call = {"name": "download_video", "arguments": {"url": "no link"}}
    calls = [caller.request(number, "tools/call", **call) for number in range(MANY)]
    wire.send(*calls, caller.request(MANY, "tools/list"))
    answered = [wire.message()["id"] for _ in range(MANY + 1)]
    assert answered.index(MANY) < MANY // 4
    assert sorted(answered) == list(range(MANY + 1))
    caller.end()


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no line feed", "line feed"])
def test_a_call_in_the_last_line_is_answered(wire: Wire, end: bytes) -> None:
    caller = Caller(wire, {})
    caller.call(1, "download_video", {"url": "no link"})  # the first call takes longer
    last = caller.request(2, "tools/call", name="download_video", arguments={"url": "no link"})
    assert wire.process.stdin is not None
    wire.process.stdin.write(json.dumps(last).encode() + end)
    wire.end()
    assert [message["id"] for message in wire.heard] == [2]
