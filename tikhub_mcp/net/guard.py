"""Only public addresses: judged on the very address that is connected to, or on what the link shows.

Behind a proxy only the link can be judged, not where its name leads.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable

import httpcore
import httpx

from tikhub_mcp.net import backend

_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")  # what proxies in fake-IP mode answer for every name
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST6 = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out; the rest is local, special or reserved
ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=0)

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, on connections that judge the very address they open."""

    def __init__(self, tls: ssl.SSLContext, loopback: bool) -> None:
        super().__init__(verify=tls, limits=ONE_CONNECTION)
        # httpx has no argument for httpcore's network backend: the one private name this project touches.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=ONE_CONNECTION.max_connections,
            max_keepalive_connections=ONE_CONNECTION.max_keepalive_connections,
            network_backend=_GuardedBackend(loopback),
        )


class _GuardedBackend(httpcore.AsyncNetworkBackend):
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
                return await backend.open_connection(address, port, min(timeout or 3.0, 3.0))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await backend.open_connection(addresses[-1], port, timeout)


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


def is_local(host: str) -> bool:
    """Whether the host is this machine by what is written, whatever a resolver would say."""
    name, literal = host.rstrip(".").lower(), _literal(host)
    return name == "localhost" or name.endswith(".localhost") if literal is None else _ip(literal).is_loopback


def check_literal(url: httpx.URL, loopback: bool) -> None:
    """Refuse what the link alone shows: an address that is not public, or a port that is not the web's."""
    literal = _literal(url.host)
    if is_local(url.host):
        allowed = loopback  # on any port: a stand-in for the real thing takes what is free
    else:
        public = literal is None or may_connect(literal, named=False, loopback=loopback)
        allowed = public and url.port in (None, 80, 443)
    if not allowed:
        raise httpx.ConnectError(f"{url.host} is not a public address on a web port")
