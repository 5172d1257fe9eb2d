"""reasons.py: why requests fail, in our own words; nothing that the other side, or a proxy, sent stands in them."""

import asyncio
import errno
import os
import socket
import ssl
from base64 import b64decode

import httpx
import pytest

from tests.support.api_client import Desk, every_exception_of_httpx, made
from tests.support.certificates import talking
from tests.support.closed_network import World, enclose
from tests.support.fault_server import Act, Faulty, Request
from tikhub_mcp.doctor.connectivity import probe
from tikhub_mcp.errors import TikHubUnavailable
from tikhub_mcp.net.reasons import NOT_SOCKS, PROXY_UNUSABLE, failure_reason, tls_failure

SECRET = "s3cr3t-p4ss"
API = "https://api.example"


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return enclose(monkeypatch)


def failure(url: str = API) -> str:
    return asyncio.run(probe(url, {}, seconds=5)).failure


# Proxies


HEADS = {
    "HTTP/1.1 407 No PASSWORD\r\nContent-Length: 0\r\n\r\n": "ProxyError: the proxy refused the connection (HTTP 407)",
    "HTTP/1.1 502 PASSWORD\r\nVia: PASSWORD\r\n\r\nPASSWORD": "ProxyError: the proxy refused the connection (HTTP 502)",
    "HTTP/1.1 407\r\n\r\n": "ProxyError: the proxy refused the connection (HTTP 407)",
    "HTTP/1.1 302 PASSWORD\r\nLocation: /PASSWORD\r\n\r\n": "ProxyError: the proxy refused the connection (HTTP 302)",
    "PASSWORD is wrong\r\n\r\n": "RemoteProtocolError: there was no response, or it is not HTTP",
    "HTTP/1.1 PASSWORD\r\n\r\n": "RemoteProtocolError: there was no response, or it is not HTTP",
    "HTTP/1.1 407 No\r\n(PASSWORD)\r\n\r\n": "RemoteProtocolError: there was no response, or it is not HTTP",
    "HTTP/1.1 200 PASSWORD\r\n\r\nPASSWORD": "ConnectError: TLS failed: ",
}


@pytest.mark.parametrize("head", HEADS)
def test_a_proxy_that_repeats_its_password_does_not_bring_it_into_a_reply_or_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, head: str
) -> None:
    caplog.set_level("DEBUG", "tikhub_mcp")
    heard: list[str] = []

    def repeat(request: Request) -> Act:
        heard.append(b64decode(request.headers["proxy-authorization"].split()[1]).decode())
        return Act(raw=head.replace("PASSWORD", heard[-1]).encode())

    with Faulty() as proxy:
        proxy.on("api.example:443", repeat)
        monkeypatch.setenv("HTTPS_PROXY", proxy.base_url.replace("://", f"://me:{SECRET}@"))
        said = Desk().fails(TikHubUnavailable, base=API)
        seen = failure()
    assert set(heard) == {f"me:{SECRET}"}
    assert seen.startswith(HEADS[head])
    assert SECRET not in said + seen + caplog.text
    assert "No" not in said.partition(" (")[2].partition(")")[0]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (PROXY_UNUSABLE, PROXY_UNUSABLE),
        (NOT_SOCKS, NOT_SOCKS),
        ("Invalid username/password", "the proxy refused the user name and password"),
        (f"407 {SECRET}", "the proxy refused the connection (HTTP 407)"),
        ("407 ", "the proxy refused the connection (HTTP 407)"),
        (f"407{SECRET}", "the proxy refused the connection"),
        (f"４０７ {SECRET}", "the proxy refused the connection"),
        (f"1234 {SECRET}", "the proxy refused the connection"),
        (f"{PROXY_UNUSABLE} {SECRET}", "the proxy refused the connection"),
        (f"{SECRET} 407 ", "the proxy refused the connection"),
        ("Proxy Server could not connect: Host unreachable.", "the proxy refused the connection"),
        ("", "the proxy refused the connection"),
    ],
)
def test_of_what_a_proxy_says_only_the_status_is_told(said: str, told: str) -> None:
    assert failure_reason(httpx.ProxyError(said)) == told


# Everything else


def test_what_really_happens_is_told_by_its_kind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}/") == "ConnectError: the connection was refused"
    assert failure("https://nowhere.example/") == "gaierror: the name cannot be resolved"
    with Faulty() as server:
        url = server.on("/", Act(raw=f"SSH-2.0-{SECRET}\r\n".encode()))
        assert failure(url) == "UnreadableResponse: there was no response, or it is not HTTP"
    with talking([SECRET.encode()]) as port:
        assert failure(f"https://127.0.0.1:{port}/").startswith("ConnectError: TLS failed: ")


def caused(kind: type[Exception], cause: BaseException) -> Exception:
    """An error of httpx's as it comes: of httpcore's, which was raised once more, of what really happened."""
    error, middle = kind(SECRET), RuntimeError(SECRET)
    error.__cause__, middle.__context__, middle.__suppress_context__ = middle, cause, True
    return error


RESOLVER = socket.gaierror(socket.EAI_NONAME, SECRET)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (RESOLVER, "the name cannot be resolved"),
        (UnicodeError(SECRET), "the name cannot be resolved"),
        (ConnectionRefusedError(errno.ECONNREFUSED, SECRET), "the connection was refused"),
        (ConnectionResetError(SECRET), "the connection was reset"),
        (OSError(errno.ENETUNREACH, SECRET), os.strerror(errno.ENETUNREACH)),
        (OSError(SECRET), "the connection failed"),
        (ExceptionGroup(SECRET, [OSError(errno.EHOSTUNREACH, SECRET), RESOLVER]), os.strerror(errno.EHOSTUNREACH)),
        (ssl.SSLError(1, SECRET), "TLS failed: sslerror"),
        (ssl.SSLCertVerificationError(1, SECRET), "the certificate is not trusted: it does not say why"),
        (ValueError(SECRET), "the connection failed"),
    ],
)
@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadError])
def test_a_cause_is_told_by_its_type_and_number(kind: type[Exception], cause: Exception, told: str) -> None:
    error = caused(kind, cause)
    assert failure_reason(error) == told
    assert (tls_failure(error) is cause) == isinstance(cause, ssl.SSLError)


@pytest.mark.parametrize("kind", every_exception_of_httpx())
def test_no_exception_of_httpx_says_anything_in_its_own_words(kind: type[Exception]) -> None:
    told = failure_reason(made(kind))
    assert told
    assert not {"Illegal", "Bearer"} & set(told.split())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ConnectTimeout(SECRET), "no connection in time"),
        (httpx.ReadTimeout(SECRET), "no answer in time"),
        (TimeoutError(SECRET), "no answer in time"),
        (httpx.InvalidURL(SECRET), "it is not an address that can be asked"),
        (httpx.LocalProtocolError(SECRET), "the request has a form that HTTP does not allow"),
    ],
)
def test_what_was_not_sent_or_took_too_long_is_told_as_such(error: Exception, told: str) -> None:
    assert failure_reason(error) == told
