"""client.py over raw sockets: of what began to come nothing is asked for again, and what is complete is used."""

import gzip
import json
import ssl
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.api_client import POST, PROXIES, Desk
from tests.support.certificates import by_openssl, certificate, secured
from tests.support.fault_server import Act, End, Faulty
from tests.support.payloads import REQUEST_ID, envelope, tiktok_post
from tikhub_mcp.api.client import PATH
from tikhub_mcp.errors import PermissionDenied, TikHubUnavailable, UnexpectedAnswer

GOOD = envelope(tiktok_post())
BODY = json.dumps(GOOD).encode()
OK = b"HTTP/1.1 200 OK\r\n"
TYPE = ("Content-Type", "application/json")
ASKED = httpx.URL(PATH.format(platform="tiktok"), params={"share_url": POST.url}).raw_path.decode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


HEADS = {
    "another protocol": b"SSH-2.0-Made_up\r\n",
    "a blank line": b"\r\n",
    "one byte": b"H",
    "half a status line": b"HTTP/1.1 20",
    "half a head": OK + b"Content-Type: applic",
    "a head without its end": OK + b"Content-Type: application/json\r\n",
    "only interim heads": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n" + BODY,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n" + BODY,
    "another version": b"HTTP/2 200\r\n\r\n" + BODY,
    "no version": BODY,
    "something before it": b"\x00\x01" + OK + b"\r\n" + BODY,
    "a page before it": b"<html></html>\r\n" + OK + b"\r\n" + BODY,
    "a header without a colon": OK + b"Content-Type application/json\r\n\r\n" + BODY,
    "a header without a name": OK + b": x\r\n\r\n" + BODY,
    "a blank in a name": OK + b"Content Type: x\r\n\r\n" + BODY,
    "a control character": OK + b"X: a\x00b\r\n\r\n" + BODY,
    "a folded first line": OK + b" x\r\n\r\n" + BODY,
    "too long": OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n" + BODY,
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY,
    "a length that is no number": OK + b"Content-Length: many\r\n\r\n" + BODY,
    "a negative length": OK + b"Content-Length: -1\r\n\r\n" + BODY,
    "an unknown framing": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + BODY,
    "frames of HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("head", HEADS)
def test_an_answer_whose_head_cannot_be_read_is_not_asked_for_again(server: Faulty, head: str, end: End) -> None:
    server.on(ASKED, Act(raw=HEADS[head], end=end))
    desk = Desk()
    assert "may have been charged" in desk.fails(TikHubUnavailable, base=server.base_url)
    assert (len(server.requests), desk.spent, desk.refunded, desk.waits) == (1, 1, 0, [])


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faulty]:
    path, context = certificate(tmp_path), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with Faulty(context) as running:
        yield running


@by_openssl
@pytest.mark.parametrize(("raw", "requests"), [(b"HTTP/1.1 20", 1), (b"", 2)])
def test_so_it_is_with_tls(tls: Faulty, raw: bytes, requests: int) -> None:
    tls.on(ASKED, Act(raw=raw, end="tear"))
    assert "may have been charged" in Desk().fails(TikHubUnavailable, base=tls.base_url)
    assert len(tls.requests) == requests


@by_openssl
def test_a_record_that_does_not_decrypt_was_a_part_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path, b"\x17\x03\x03\x00\x20" + b"made-up." * 4) as base:
        desk = Desk()
        assert "may have been charged" in desk.fails(TikHubUnavailable, base=base)
    assert (desk.spent, desk.refunded) == (1, 0)


@pytest.mark.parametrize("words", [b"no HTTP\r\n", b""])
def test_the_words_of_a_proxy_before_the_request_was_sent_are_no_answer(
    monkeypatch: pytest.MonkeyPatch, server: Faulty, words: bytes
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.base_url)
    server.on("api.example:443", Act(raw=words))
    Desk().fails(TikHubUnavailable)
    assert len(server.requests) == 2


def test_a_redirect_to_no_address_is_told_by_its_status_and_costs_nothing(server: Faulty) -> None:
    for location in ("http://[", "//\u00b4:x/".encode().decode("latin-1"), "http://xn--a/"):
        server.on(ASKED, Act(status=302, headers=[("Location", location)]))
        desk = Desk()
        assert "HTTP 302" in desk.fails(UnexpectedAnswer, base=server.base_url)
        assert (desk.spent, desk.refunded) == (1, 1)


CHUNK = b"%x\r\n%b" % (len(BODY), BODY)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = gzip.compress(BODY)
BODIES = {
    "a length too small for what follows": Act(headers=[TYPE], body=BODY + b"\n<p>more</p>", length=str(len(BODY))),
    "a length too large": Act(headers=[TYPE], body=BODY, length=str(len(BODY) + 1)),
    "a length far too large": Act(headers=[TYPE], body=BODY, length="9" * 15),
    "no last chunk": Act(headers=[TYPE], body=BODY, framing="chunked", terminated=False),
    "a chunk without its end": Act(raw=CHUNKED + CHUNK),
    "a chunk that goes on": Act(raw=CHUNKED + CHUNK + b"xx\r\n0\r\n\r\n"),
    "a chunk that is shorter": Act(raw=CHUNKED + b"%x\r\n%b" % (len(BODY) + 9, BODY)),
    "a size that is none": Act(raw=CHUNKED + CHUNK + b"\r\nzz\r\n"),
    "a trailer that is none": Act(raw=CHUNKED + CHUNK + b"\r\n0\r\nno trailer\r\n\r\n"),
    "half a trailer": Act(raw=CHUNKED + CHUNK + b"\r\n0\r\nX: "),
    **{
        f"{encoding} with {what}": Act(headers=[TYPE, ("Content-Encoding", encoding)], body=packed)
        for encoding, packed, checksum in (("gzip", PACKED, 8), ("deflate", zlib.compress(BODY), 4))
        for what, packed in {
            "a wrong checksum": packed[:-checksum] + bytes(checksum),
            "half a checksum": packed[:-2],
            "no checksum": packed[:-checksum],
            "more after it": packed + b"\x1f\x8bmore",
            "a wrong checksum and more": packed[:-checksum] + bytes(checksum) + b"more" * 99,
        }.items()
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("framing", BODIES)
def test_a_body_that_is_all_there_is_kept_and_used_however_it_is_framed(server: Faulty, framing: str, end: End) -> None:
    server.on(ASKED, replace(BODIES[framing], end=end))
    desk = Desk()
    assert desk.ask(base=server.base_url) == f"kept {REQUEST_ID}"
    assert [answer.value for answer in desk.kept] == [GOOD]
    assert (len(server.requests), desk.spent, desk.refunded) == (1, 1, 0)


@pytest.mark.slow
def test_a_body_that_is_all_there_is_used_when_its_end_does_not_come_in_time(server: Faulty) -> None:
    server.on(ASKED, Act(headers=[TYPE], body=BODY, length=str(len(BODY) + 1), end="stall"))
    assert Desk().ask(base=server.base_url, deadline=1.0) == f"kept {REQUEST_ID}"


@pytest.mark.parametrize("body", [BODY[:-1], b"12", b'"text"', b"<h1>page</h1>", b"", gzip.compress(BODY)[:-40]])
def test_a_body_of_which_some_may_be_missing_is_lost(server: Faulty, body: bytes) -> None:
    server.on(ASKED, Act(headers=[TYPE, ("Content-Encoding", "gzip")], body=body, length="999999"))
    desk = Desk()
    assert "may have been charged" in desk.fails(TikHubUnavailable, base=server.base_url)
    assert (len(server.requests), desk.spent, desk.refunded, desk.kept) == (1, 1, 0, [])


@pytest.mark.slow
@pytest.mark.parametrize("packed", [BODY, PACKED, zlib.compress(BODY)], ids=["plain", "gzip", "deflate"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.95])
def test_a_body_whose_length_is_too_small_is_kept_as_it_came_and_not_asked_for_again(
    server: Faulty, share: float, packed: bytes
) -> None:
    headers = [TYPE] if packed is BODY else [TYPE, ("Content-Encoding", "gzip")]
    server.on(ASKED, Act(headers=headers, body=packed, length=str(int(share * len(packed)))))
    desk = Desk()
    assert "may have been charged" in desk.fails(UnexpectedAnswer, base=server.base_url)
    assert (len(server.requests), desk.spent, desk.refunded) == (1, 1, 0)
    [kept] = desk.kept
    assert BODY.startswith(kept.body)
    assert bool(kept.body) == (share > 0.1 or (packed is BODY and share > 0))


def test_the_words_of_an_error_count_however_they_are_framed(server: Faulty) -> None:
    refusal = json.dumps({"detail": {"code": 403, "message": "no scope"}}).encode()
    server.on(ASKED, Act(status=403, headers=[TYPE], body=refusal, length="999"))
    assert "HTTP 403" in Desk().fails(PermissionDenied, base=server.base_url)
