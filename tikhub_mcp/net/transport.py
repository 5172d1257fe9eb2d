"""How this process reaches out: one connection a request, the system's certificates and proxies, judged addresses.

A connection of its own for every request, because a shared pool of httpx loses slots under cancellation
(encode/httpcore#1093); making a client costs 14 µs, and the TLS context, which does not, is shared.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx
import socksio
import truststore

from tikhub_mcp import streams
from tikhub_mcp.reasons import NOT_SOCKS, PROXY_UNUSABLE, tls_failure, why

# Firewalls and CDNs turn away what a script sends by default.
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
CONNECT_SECONDS = 10.0
LARGEST_LOOK = 64 * 1024  # bytes; what `look` is for has under one
_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")  # what proxies in fake-IP mode answer for every name
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST6 = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out; the rest is local, special or reserved
_NO_AUTH = httpx.Auth()  # in place of what httpx makes of a user name in a link
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=0)

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Network:
    """Opens connections; one for the process.

    Args:
        loopback_media: Whether media may come from this machine: only when the API itself is a stand-in on it.
        transport: What carries the requests instead of the network, for tests.
    """

    def __init__(self, *, loopback_media: bool = False, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._loopback_media = loopback_media
        self._transport = transport

    @asynccontextmanager
    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        judged: bool,
        silence: float,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one GET; the response's body is still to be read, with `aiter_raw`. Redirects are not followed.

        Args:
            url: Absolute, http or https.
            headers: Sent as they are, with an ordinary User-Agent and no cookies.
            judged: Whether only public addresses will do (media), or the user has named the host (the API).
            silence: The longest wait for the next byte, in seconds.
            params: The query.

        Raises:
            httpx.HTTPError, httpx.InvalidURL: The request failed; a refused address is an httpx.ConnectError.
        """
        timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS)
        fixed = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        target = _understood(url)
        with _as_httpx():
            transport = self._transport or self._open(target, judged)
            async with (
                httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
                client.stream("GET", target, params=params, headers={**fixed, **headers}, auth=_NO_AUTH) as response,
            ):
                yield response

    def _open(self, url: httpx.URL, judged: bool) -> httpx.AsyncHTTPTransport:
        proxy = _proxy_for(url)
        if judged and (proxy or url.port not in (None, 80, 443)):
            # Behind a proxy only what is written in the link can be judged, not where the name leads.
            _judge_literal(url, self._loopback_media)
        if judged and not proxy:
            return _JudgedTransport(self._tls, self._loopback_media)
        try:
            return httpx.AsyncHTTPTransport(verify=self._tls, limits=_LIMITS, proxy=proxy)
        except (ValueError, httpx.InvalidURL):  # what they say repeats the proxy's address, its password included
            raise httpx.ProxyError(PROXY_UNUSABLE) from None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one look at an address.

    Attributes:
        status: The HTTP status; 0 where none came.
        body: What came with it, or the first LARGEST_LOOK bytes of it.
        certificate: As `ssl` tells it; empty without TLS, and on systems that check certificates themselves.
        failure: Why no status came, in our own words; the first is the name of httpx's exception.
        tls: Why TLS refused, where that is the reason.
    """

    status: int = 0
    body: bytes = b""
    certificate: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    tls: ssl.SSLError | None = None


async def look(url: str, headers: Mapping[str, str], *, seconds: float) -> Seen:
    """Send one GET to a host that the user has named, and tell what came of it rather than raise."""
    seen, body = Seen(), bytearray()
    try:
        async with (
            asyncio.timeout(seconds),
            Network().get(url, headers, judged=False, silence=seconds) as response,
        ):
            tls = response.extensions["network_stream"].get_extra_info("ssl_object")
            seen = Seen(response.status_code, certificate=(tls.getpeercert() if tls else None) or {})
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= LARGEST_LOOK:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        if not seen.status:  # with a status the host is reached, whatever becomes of the body
            return Seen(failure=f"{type(error).__name__}: {why(error)}", tls=tls_failure(error))
    return replace(seen, body=bytes(body[:LARGEST_LOOK]))


def proxy_to(url: str) -> str | None:
    """The proxy that requests to this address go through, its password included; None for the direct way."""
    return _proxy_for(_understood(url))


class _JudgedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, on connections that judge the very address they open."""

    def __init__(self, tls: ssl.SSLContext, loopback: bool) -> None:
        super().__init__(verify=tls, limits=_LIMITS)
        # httpx has no argument for httpcore's network backend: the one private name this project touches.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            network_backend=_JudgedBackend(loopback),
        )


class _JudgedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, loopback: bool) -> None:
        self._loopback = loopback

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - nobody here asks for one
        socket_options: Iterable[SocketOption] | None = None,  # noqa: ARG002 - nor for any
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
        for address in addresses:  # all of them first: one private answer among public ones is a trap
            if not may_connect(address, named=_literal(host) is None, loopback=self._loopback):
                raise httpcore.ConnectError(f"{host} leads to an address that is not public")
        for address in addresses[:-1]:
            try:
                return await streams.connect(address, port, min(timeout or 3.0, 3.0))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await streams.connect(addresses[-1], port, timeout)


def may_connect(address: str, *, named: bool, loopback: bool) -> bool:
    """Whether media may come from this IP address.

    Args:
        address: The address that would be connected to.
        named: Whether it is a name's answer; 198.18.0.0/15 is then a proxy's stand-in for the real one.
        loopback: Whether this machine's own addresses are allowed, and only then.
    """
    ip = _ip(address)
    if ip.is_loopback:
        given = ipaddress.ip_address(address.partition("%")[0])
        return loopback and ip in (given, getattr(given, "ipv4_mapped", None))  # not by way of 6to4 or NAT64
    public = ip.is_global and not ip.is_multicast and (ip.version == 4 or ip in _UNICAST6)
    return public or (named and ip in _FAKE_IP)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IP address in a text; of an IPv6 one that carries an IPv4 one inside (mapped, 6to4, NAT64), that one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _literal(host: str) -> str | None:
    """The address that a host is, in any spelling the system takes, such as 127.1 or 0x7f000001; None for a name."""
    host = host.rstrip(".")
    if ":" in host:
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_local(host: str) -> bool:
    """Whether the host is this machine by what is written, whatever a resolver would say."""
    name, literal = host.rstrip(".").lower(), _literal(host)
    return name == "localhost" or name.endswith(".localhost") if literal is None else _ip(literal).is_loopback


def _judge_literal(url: httpx.URL, loopback: bool) -> None:
    """Refuse what the link alone shows: an address that is not public, or a port that is not the web's."""
    literal = _literal(url.host)
    if _is_local(url.host):
        allowed = loopback  # on any port: a stand-in for the real thing takes what is free
    else:
        public = literal is None or may_connect(literal, named=False, loopback=loopback)
        allowed = public and url.port in (None, 80, 443)
    if not allowed:
        raise httpx.ConnectError(f"{url.host} is not a public address on a web port")


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment (or the system) names for this address; this machine itself never has one."""
    if _is_local(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and proxy.startswith("socks://"):  # as desktops write it; httpx wants the version
        return f"socks5{proxy[5:]}"
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _understood(url: str) -> httpx.URL:
    """The link, parsed.

    Raises:
        httpx.InvalidURL: It cannot be one; httpx and the TLS below it let other exceptions out for some of these.
    """
    try:
        target = httpx.URL(url)
        if not target.host.startswith("."):
            return target
    except UnicodeError:  # a lone surrogate, or a host that only looks like IDNA
        pass
    raise httpx.InvalidURL("it is not an address")


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn what httpx lets out as it came from below into its own exceptions."""
    try:
        yield
    except ssl.SSLError as error:  # after the handshake: a record that does not decrypt
        raise httpx.ReadError(f"TLS failed: {getattr(error, 'reason', '')}") from error
    except UnicodeError as error:  # httpx reads where a redirect leads, also when it is not to follow it
        raise httpx.RemoteProtocolError("it redirects to what is no address") from error
    except socksio.SOCKSError as error:
        raise httpx.ProxyError(NOT_SOCKS) from error
