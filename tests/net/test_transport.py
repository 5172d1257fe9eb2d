"""transport.py: proxies and certificates, as people set them in their environment."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.api_client import Desk
from tests.support.certificates import by_openssl, certificate, secured, talking
from tests.support.closed_network import World, enclose, get
from tests.support.fault_server import Act, Faulty
from tikhub_mcp.errors import TikHubUnavailable
from tikhub_mcp.net import transport

FILM = "http://cdn.example/film.mp4"
PUBLIC = "93.184.216.34"


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return enclose(monkeypatch)


@pytest.fixture
def proxy() -> Iterator[Faulty]:
    """A server that is asked for whole addresses, as proxies are; what it does not know is 404."""
    with Faulty() as running:
        running.on(FILM, Act(body=b"film"))
        yield running


def test_a_request_searches_for_no_module(monkeypatch: pytest.MonkeyPatch, proxy: Faulty) -> None:
    searched: list[str] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            searched.append(name)

    get(proxy.base_url, public_only=False)  # what is imported once is imported
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    get(proxy.base_url, public_only=False)
    assert searched == []


# Proxies


@pytest.mark.parametrize("public_only", [True, False])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_in_the_environment_is_used_and_resolves_the_name(
    monkeypatch: pytest.MonkeyPatch, world: World, proxy: Faulty, name: str, scheme: str, public_only: bool
) -> None:
    monkeypatch.setenv(name, scheme + proxy.base_url.removeprefix("http://"))
    assert get(FILM, public_only=public_only) == (200, b"film")
    assert proxy.asked() == [FILM]
    assert "cdn.example" not in world.resolved


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_https_goes_through_a_tunnel_and_a_proxy_that_refuses_one_is_a_failed_request(
    monkeypatch: pytest.MonkeyPatch, proxy: Faulty, name: str
) -> None:
    monkeypatch.setenv(name, proxy.base_url)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(httpx.ProxyError):
        get("https://cdn.example/film.mp4", headers={"Authorization": "Bearer made-up"})
    (request,) = proxy.requests
    assert request.path == "cdn.example:443"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("exempt", ["cdn.example", ".example", "example", "other.example, cdn.example", "*"])
def test_no_proxy_exempts_hosts_which_are_then_judged_by_their_address(
    monkeypatch: pytest.MonkeyPatch, world: World, proxy: Faulty, exempt: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
    monkeypatch.setenv("NO_PROXY", exempt)
    world.names["cdn.example"] = [PUBLIC]
    with pytest.raises(httpx.ConnectError, match="no such network"):
        get(FILM)
    world.names["cdn.example"] = ["10.0.0.1"]
    with pytest.raises(httpx.ConnectError, match="not public"):
        get(FILM)
    assert (world.connected, proxy.requests) == ([(PUBLIC, 80)], [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost.", "127.1", "0x7f000001", "[::1]", "127.9.9.9"])
@pytest.mark.parametrize("public_only", [True, False])
def test_this_machine_is_never_asked_for_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: Faulty, host: str, public_only: bool
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.base_url)
    with pytest.raises(httpx.ConnectError):
        get(f"http://{host}:9/", public_only=public_only, headers={"Authorization": "Bearer made-up"})
    assert proxy.requests == []


HIDDEN = ["10.0.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "[fe80::1]", "[fc00::1]", "0x0a000001", "198.18.0.5"]


@pytest.mark.parametrize("host", [*HIDDEN, "localhost", "a.localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_behind_a_proxy_what_is_written_in_the_link_is_still_judged(
    monkeypatch: pytest.MonkeyPatch, world: World, proxy: Faulty, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
    for port in ("", ":8080"):
        with pytest.raises(httpx.ConnectError):
            get(f"http://{host}{port}/")
    with pytest.raises(httpx.ConnectError, match="web port"):
        get("http://cdn.example:8080/")
    assert (world.connected, proxy.requests) == ([], [])


@pytest.mark.parametrize("url", [f"http://{PUBLIC}/", "http://metadata.google.internal/"])
def test_behind_a_proxy_where_a_name_leads_is_the_proxys_to_know(
    monkeypatch: pytest.MonkeyPatch, proxy: Faulty, url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
    assert get(url)[0] == 404
    assert proxy.asked() == [url]


@pytest.mark.parametrize(
    "proxy_url",
    ["ftp://me:secret@h.example", "socks4://me:secret@h.example", "http://me:secret@h.example:x", "http://[::1"],
)
@pytest.mark.parametrize("public_only", [True, False])
def test_a_proxy_that_cannot_be_used_is_a_failed_request_that_does_not_repeat_its_password(
    monkeypatch: pytest.MonkeyPatch, world: World, proxy_url: str, public_only: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy_url)
    with pytest.raises(httpx.ProxyError, match="cannot be used") as caught:
        get(FILM, public_only=public_only)
    assert "secret" not in str(caught.value)
    assert world.connected == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # httpcore leaves the socket to gc
@pytest.mark.parametrize(
    ("scheme", "replies"),
    [
        ("socks5", [b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
        ("socks5h", [b"\x05"]),
        ("socks", [b"\x05\xff"]),
        ("socks5", [b"\x05\x00", b"\x05\x02\x00\x01" + bytes(6)]),
        ("socks5h", [b"\x05\x00", b"HTTP"]),
    ],
)
def test_a_socks_proxy_that_refuses_or_speaks_something_else_is_a_failed_request(
    monkeypatch: pytest.MonkeyPatch, scheme: str, replies: list[bytes]
) -> None:
    with talking(replies) as port:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(httpx.ProxyError, match=r"^(?!.*cannot be used)"):
            get(FILM)
    gc.collect()


@pytest.mark.anyio
@pytest.mark.parametrize("public_only", [True, False])
async def test_a_request_that_is_cancelled_in_the_tls_handshake_closes_its_connection(public_only: bool) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        begun.set()
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    request = transport.Network(loopback_media=True).get(url, {}, public_only=public_only, read_timeout=5)
    async with server:
        sending = asyncio.ensure_future(request.__aenter__())
        await begun.wait()
        sending.cancel()
        async with asyncio.timeout(5):
            await closed.wait()


@by_openssl
@pytest.mark.parametrize("public_only", [True, False])
def test_a_certificate_of_ones_own_is_trusted_when_ssl_cert_file_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, public_only: bool
) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base:
        assert get(base, public_only=public_only, loopback=True) == (200, b"film")


@pytest.mark.parametrize("public_only", [True, False])
@pytest.mark.parametrize(
    ("trusted", "host", "days"), [(False, "127.0.0.1", 1), (True, "127.0.0.2", 1), (True, "127.0.0.1", -1)]
)
def test_a_certificate_that_does_not_hold_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool, host: str, days: int, public_only: bool
) -> None:
    path = certificate(tmp_path, host, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base:
        with pytest.raises(httpx.ConnectError):
            get(base, public_only=public_only, loopback=True)
        desk = Desk()
        assert "Nothing was charged" in desk.fails(TikHubUnavailable, base=base)
        assert (desk.spent, desk.refunded, desk.waits) == (1, 1, [])


def test_there_is_no_falling_back_from_tls_to_plain(monkeypatch: pytest.MonkeyPatch, proxy: Faulty) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(httpx.ConnectTimeout):
        get(proxy.base_url.replace("http://", "https://"), loopback=True)
    assert proxy.requests == []


@by_openssl
@pytest.mark.parametrize("public_only", [True, False])
def test_a_record_that_does_not_decrypt_is_a_failed_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, public_only: bool
) -> None:
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path, b"\x17\x03\x03\x00\x20" + b"made-up." * 4) as base, pytest.raises(httpx.ReadError):
        get(base, public_only=public_only, loopback=True)
