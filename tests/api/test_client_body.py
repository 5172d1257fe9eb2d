"""client.py: what is made of a body, whatever it is; it is kept before anything is made of it."""

import asyncio
import gzip
import json
import re
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.api_client import KEY, Chunks, Desk, always, raw
from tests.support.payloads import REQUEST_ID, TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.api import body as bodies
from tikhub_mcp.errors import DiskFull, TikHubUnavailable, UnexpectedAnswer
from tikhub_mcp.posts.answer import MAX_VALUES, REDACTED, Json

GOOD = envelope(tiktok_post())
BODY = json.dumps(GOOD).encode()
DEEP = b"[" * 200_000 + b"]" * 200_000
TOO_LARGE = rf"Do not retry: TikHub's answer for post {TIKTOK_ID} is larger than 0 MiB.* It was charged\."


def kept(body: bytes, encoding: str = "") -> tuple[bytes, Json]:
    """What is kept of a body that is JSON: the bytes, and what they are read as."""
    desk = Desk()
    desk.ask(raw(body, encoding=encoding)[0])
    return desk.kept[0].body, desk.kept[0].value


# How it comes


@pytest.mark.parametrize("size", [1, 7, len(BODY)])
def test_a_body_is_put_together_from_its_pieces(size: int) -> None:
    pieces = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    desk = Desk()
    assert desk.ask(raw(*pieces)[0]) == f"kept {REQUEST_ID}"
    assert desk.kept[0].value == GOOD


def test_a_body_of_many_small_pieces_lets_others_have_their_turn() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20 * bodies.CHUNKS_AT_ONCE):
            yield b"x"  # without a pause, as what is buffered already comes

    async def read() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        await bodies.read_body(pieces(), bytearray(), asyncio.Lock())
        beside.cancel()
        return turns

    assert asyncio.run(read()) >= 19


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_body_without_an_end_is_given_up_at_the_cap(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100_000)
    body = Chunks(b"x" * 1000 for _ in iter(int, 1))
    desk = Desk()
    headers = {"Content-Encoding": encoding}
    said = desk.fails(UnexpectedAnswer, always(lambda: httpx.Response(200, headers=headers, stream=body))[0])
    assert re.fullmatch(TOO_LARGE, said)
    assert (desk.spent, desk.refunded, desk.kept, body.sent) == (1, 0, [], 101_000)


@pytest.mark.slow
def test_a_gzip_bomb_is_not_unpacked_beyond_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(b" " * 50_000_000)
    desk = Desk()
    tracemalloc.start()
    try:
        assert re.fullmatch(TOO_LARGE, desk.fails(UnexpectedAnswer, raw(bomb, encoding="gzip")[0]))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert (desk.refunded, desk.kept) == (0, [])


@pytest.mark.slow
def test_an_error_whose_body_is_a_bomb_is_still_that_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 100_000)
    desk = Desk()
    bomb = gzip.compress(b" " * 50_000_000)
    assert "Nothing was charged" in desk.fails(TikHubUnavailable, raw(bomb, status=500, encoding="gzip")[0])
    assert (desk.spent, desk.refunded) == (4, 4)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZip ", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        *((label, BODY) for label in ("", "identity", "gzip", "utf-8")),
    ],
)
def test_a_body_compressed_unasked_or_labelled_wrongly_is_read(encoding: str, body: bytes) -> None:
    assert kept(body, encoding)[1] == GOOD


def test_a_body_in_an_unknown_encoding_is_kept_as_it_came() -> None:
    body = b"\x0b\x02\x80made-up-brotli\x03"
    desk = Desk()
    assert "not JSON" in desk.fails(UnexpectedAnswer, raw(body, encoding="br")[0])
    assert (desk.kept[0].body, desk.refunded) == (body, 0)


# What it says


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html>\n<h1>Just a moment...</h1>" + b"x" * 500,
        b"error code: 1010",
        b"",
        f"key {KEY} \x1b[2J\u202e".encode(),
        BODY[: len(BODY) // 2],
        DEEP,
        b"\xff\xfe\xff",
        b"[" + b"{}," * (MAX_VALUES // 2) + b"1]",
    ],
)
def test_what_is_no_json_is_kept_then_refused_without_a_word_of_it(body: bytes) -> None:
    desk = Desk()
    said = desk.fails(UnexpectedAnswer, raw(body)[0])
    size = f"no content type, {len(body):,} bytes"
    told = f"Do not retry: TikHub's answer for post {TIKTOK_ID} is not JSON about a post ({size}), and may have been"
    assert said.startswith(told)
    assert len(said) < 250
    assert desk.kept[0].body == body.replace(KEY.encode(), REDACTED.encode())
    assert (desk.kept[0].request_id, desk.refunded) == (None, 0)


@pytest.mark.parametrize("value", [[], None, 5, "x", {"code": 400, "data": None}, {"data": []}])
def test_json_of_any_kind_is_kept_and_handed_on(value: Json) -> None:
    assert kept(json.dumps(value).encode())[1] == value


def test_clean_json_is_kept_with_two_blanks_of_indent_and_real_characters() -> None:
    body, value = kept(
        b'\xef\xbb\xbf{"request_id":"a","desc":"\\u7eb8\\u8239 \\ud83d\\ude00","id":7300000000000000001}'
    )
    assert body == '{\n  "request_id": "a",\n  "desc": "纸船 😀",\n  "id": 7300000000000000001\n}'.encode()
    assert value == {"request_id": "a", "desc": "纸船 😀", "id": 7300000000000000001}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"desc": "caf\xe9"}', {"desc": "caf\ufffd"}),
        (b'{"desc": "\\ud800"}', {"desc": "\ud800"}),
        (b'{"n": 1e999, "m": 1}', {"n": float("inf"), "m": 1}),
        (b'{"n": -Infinity}', {"n": float("-inf")}),
    ],
)
def test_json_that_cannot_be_written_cleanly_is_kept_byte_for_byte(body: bytes, value: Json) -> None:
    assert kept(body) == (body, value)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ('{"desc": "纸船"}'.encode("utf-16"), {"desc": "纸船"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"desc": "a\x00b\nc"}', {"desc": "a\x00b\nc"}),
        (b'{"n": ' + b"9" * 5000 + b"}", {"n": "9" * 5000}),
    ],
)
def test_odd_json_is_read_with_one_meaning(body: bytes, value: Json) -> None:
    assert kept(body)[1] == value
    assert json.loads(kept(body)[0]) == value


def test_nan_is_kept_as_it_came() -> None:
    body, value = kept(b'{"n": NaN}')
    assert body == b'{"n": NaN}'
    assert value["n"] != value["n"]


# Keeping it


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "headers": {"Authorization": f"Bearer {KEY}"}, "more": [f"a {KEY} b", {KEY: KEY}]},
        {"data": {"Headers": [KEY], "deep": {"headers": {"x": 1}}}},
        {"data": {"desc": KEY, "n": float("nan")}},
    ],
)
def test_the_key_is_in_nothing_that_is_kept(body: Json) -> None:
    text = json.dumps(body)
    for sent in (text.encode(), text.replace(KEY[0], f"\\u{ord(KEY[0]):04x}").encode() if "NaN" not in text else b"{}"):
        written, value = kept(sent)
        assert KEY not in written.decode()
        assert KEY not in str(value)


BETWEEN = [" ", "\n", "\r\n  ", "\u200b", "\xad", "\ufeff", "\u2060", "\u3164", "\0", "<wbr>", "&shy;", "&#8203;"]
BETWEEN += ["%20", "\\u200b", "\\n"]


@pytest.mark.parametrize("between", BETWEEN, ids=ascii)
@pytest.mark.parametrize("form", ["page", "JSON"])
def test_the_key_is_in_nothing_that_is_kept_whatever_stands_in_it(between: str, form: str) -> None:
    escapes = ["%2d", "%252D", "&#45;", "&#x0002d;", "\\x2d", "\\\\u002D", "%u002d"]
    dashes = [KEY.replace("-", escape) for escape in escapes]
    signs = [KEY[:5] + between + KEY[5:], between.join(KEY), *dashes]
    text = f"before {' and '.join(signs)} after"
    desk = Desk()
    if form == "page":
        desk.fails(UnexpectedAnswer, raw(text.encode())[0])
        assert desk.kept[0].body.decode() == f"before {' and '.join([REDACTED] * len(signs))} after"
    else:
        assert kept(json.dumps({"detail": text}).encode())[1] == {
            "detail": f"before {' and '.join([REDACTED] * len(signs))} after"
        }


def test_echoed_headers_are_redacted_whole() -> None:
    assert kept(b'{"headers": {"x": 1}, "a": [{"HEADERS": ["y"]}], "b": {"headers": null}}')[1] == {
        "headers": REDACTED,
        "a": [{"HEADERS": REDACTED}],
        "b": {"headers": None},
    }


def test_an_answer_that_cannot_be_kept_was_charged_and_is_not_asked_for_again() -> None:
    for body in (BODY, b"no JSON"):
        network, requests = raw(body)
        desk = Desk(failure=DiskFull("the disk is full"))
        with pytest.raises(DiskFull, match="the disk is full"):
            desk.ask(network)
        assert (len(requests), desk.spent, desk.refunded, len(desk.kept)) == (1, 1, 0, 1)


def test_a_kept_answer_says_when_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tikhub_mcp.api.client.time.time", lambda: 1_234_567_890.0)
    monkeypatch.setattr("tikhub_mcp.api.limiter.time.time", lambda: 1_234_567_890.0)
    desk = Desk()
    desk.ask(raw(BODY)[0])
    assert (desk.kept[0].received, desk.kept[0].request_id) == (1_234_567_890.0, REQUEST_ID)
