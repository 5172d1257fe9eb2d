"""Lines that the SDK cannot read: each is answered, as far as it can be understood, and the server goes on."""

import json

import pytest
from mcp_types import CallToolResult

from tests.support.mcp_session import checked
from tests.support.stdio_client import Wire
from tikhub_mcp.sandbox import link


def called(tool: str, arguments: str, name: str = "") -> bytes:
    """A call, its arguments as they are to stand on the wire."""
    head = f'{{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {{"name": "{name or tool}", "arguments": '
    return (head + arguments + "}}").encode()


HALF = "\\ud83d"  # of an emoji, as JavaScript's JSON.stringify writes it


def test_a_call_with_half_an_emoji_in_it_is_done(wire: Wire) -> None:
    wire.shake_hands()
    wire.send(called("download_video", f'{{"url": "{HALF} {link("tiktok")}"}}'))
    reply = checked("download_video", CallToolResult.model_validate(wire.answer(7)))
    assert (reply["status"], reply["url"]) == ("ok", link("tiktok"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (called("download_video", f'{{"url": "{HALF}"}}'), "unsupported_link"),
        (called("download_video", f'{{"url": "x", "{HALF}": 1}}'), "is no argument of this tool"),
        (called("download_video", f'{{"url": "{link("tiktok")}", "output_dir": "/{HALF}"}}'), "path_not_allowed"),
        (called("batch_download", f'{{"urls": ["x"], "max_workers": {"9" * 5000}}}'), "max_workers"),
        (called("download_video", "{}", name=HALF), "Unknown tool"),
    ],
    ids=["url", "argument", "folder", "5,000 digits", "tool"],
)
def test_a_call_that_only_python_can_read_is_refused_in_our_own_words(wire: Wire, line: bytes, words: str) -> None:
    wire.shake_hands()
    wire.send(line)
    assert words in json.dumps(wire.answer(7))
    assert wire.ask(8, "tools/list")["tools"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "down', -32700),
        (b"what is this", -32700),
        (called("download_video", '{"url": ' + "[" * 5000 + "]" * 5000 + "}"), -32700),
        (b"[]", -32600),
        (b"5", -32600),
        (b'{"id": 7, "method": "ping"}', -32600),
        (b'{"id": 7, "method": 5, "jsonrpc": "2.0"}', -32600),
        (b'{"id": 7, "method": "ping", "jsonrpc": "1.0"}', -32600),
        (b'{"id": 7, "method": "ping", "jsonrpc": "2.0", "params": [1]}', -32600),
    ],
    ids=["cut off", "no JSON", "deep", "batch", "number", "no version", "no method", "version", "params"],
)
def test_what_is_no_request_is_an_error_that_the_client_hears_of(wire: Wire, line: bytes, code: int) -> None:
    wire.shake_hands()
    wire.send(line)
    message = wire.message()
    assert message["error"]["code"] == code
    assert message["id"] == (7 if line.startswith(b'{"id": 7,') else None)
    assert wire.ask(8, "tools/list")["tools"]
