"""How this process reaches out: one connection a request, the system's certificates and proxies, judged addresses.

A connection of its own for every request, because a shared pool of httpx loses slots under cancellation
(encode/httpcore#1093); making a client costs 14 µs, and the TLS context, which does not, is shared.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx
import truststore

# Firewalls and CDNs turn away what a script sends by default.
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
CONNECT_SECONDS = 10.0
_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")  # what proxies in fake-IP mode answer for every name
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
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
        transport = self._transport or self._open(httpx.URL(url), judged)
        async with (
            httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
            client.stream("GET", url, params=params, headers={**fixed, **headers}) as response,
        ):
            yield response

    def _open(self, url: httpx.URL, judged: bool) -> httpx.AsyncHTTPTransport:
        proxy = _proxy_for(url)
        if judged and (proxy or url.port not in (None, 80, 443)):
            # Behind a proxy only what is written in the link can be judged, not where the name leads.
            _judge_literal(url, self._loopback_media)
        if proxy or not judged:
            return httpx.AsyncHTTPTransport(verify=self._tls, limits=_LIMITS, proxy=proxy)
        return _JudgedTransport(self._tls, self._loopback_media)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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


class _JudgedBackend(httpcore.AnyIOBackend):
    def __init__(self, loopback: bool) -> None:
        self._loopback = loopback

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _resolve(host, port)
        for address in addresses:  # all of them first: one private answer among public ones is a trap
            if not may_connect(address, named=not _is_literal(host), loopback=self._loopback):
                raise httpcore.ConnectError(f"{host} leads to an address that is not public")
        for address in addresses[:-1]:
            try:
                return await super().connect_tcp(address, port, min(timeout or 3.0, 3.0), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


def may_connect(address: str, *, named: bool, loopback: bool) -> bool:
    """Whether media may come from this IP address.

    Args:
        address: The address that would be connected to.
        named: Whether it is a name's answer; 198.18.0.0/15 is then a proxy's stand-in for the real one.
        loopback: Whether this machine's own addresses are allowed, and only then.
    """
    ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_loopback:
        return loopback
    return (ip.is_global and not ip.is_multicast) or (named and ip in _FAKE_IP)


def _unwrapped(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one carries inside (mapped, 6to4, NAT64), else the address itself."""
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


def _is_literal(host: str) -> bool:
    """Whether the host is an address in any spelling the system takes, such as 127.1 or 0x7f000001."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return ":" in host
    return True


def _judge_literal(url: httpx.URL, loopback: bool) -> None:
    host = url.host.rstrip(".").lower()
    local = host == "localhost" or host.endswith(".localhost")
    if _is_literal(host):
        spelled = host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
        if may_connect(spelled, named=False, loopback=loopback):
            return
    elif not local and url.port in (None, 80, 443):
        return
    raise httpx.ConnectError(f"{host} is not a public address on a web port")


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment (or the system) names for this address; this machine itself never has one."""
    if url.host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
