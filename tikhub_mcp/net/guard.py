"""Restricts connections to public addresses.

Without a proxy, the IP addresses that a name resolves to are checked, and the connection goes to one of those. Behind a
proxy only an address in the link itself can be checked, because the proxy resolves the names.
"""

import asyncio
import ipaddress
import socket
import ssl
from typing import Any

import httpcore
import httpx

from tikhub_mcp.net import backend

_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")  # what DNS answers behind a proxy in fake-IP mode
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# The blocks of IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), as of 2026-11, that are not globally
# reachable or no place of a web server, whatever this version of Python knows of them; multicast; and the address at
# which Azure's virtual machines reach their host.
_BLOCKS4 = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
_BLOCKS6 = "2001::/23 2001:db8::/32 3fff::/20"
_NOT_PUBLIC4 = tuple(map(ipaddress.IPv4Network, _BLOCKS4.split()))
_NOT_PUBLIC6 = tuple(map(ipaddress.IPv6Network, _BLOCKS6.split()))
_UNICAST6 = ipaddress.IPv6Network("2000::/3")  # the allocated part of IPv6; the rest is local, special or reserved
ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=0)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """An httpx transport for one request that checks each resolved address before it connects.

    Args:
        url: The link of the request.
        tls: The TLS context.
        loopback: Whether this machine's own addresses are allowed.
    """

    def __init__(self, url: httpx.URL, tls: ssl.SSLContext, loopback: bool) -> None:
        address = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
        connection: Any = httpcore.AsyncHTTPConnection(
            address.origin, ssl_context=tls, network_backend=_GuardedBackend(loopback)
        )
        # It stands for the pool that httpx would make, for which httpx has no argument. If a version of httpx renames
        # the attribute, every request fails; a backend set as an attribute would be ignored, and nothing guarded.
        self._pool = connection


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, loopback: bool) -> None:
        self._loopback = loopback

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        *_: Any,  # noqa: ANN401 - this project sets none of the others
        **__: Any,  # noqa: ANN401
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
        for address in addresses:  # all before the first connection: a private one among public ones is an attack
            if not may_connect(address, named=_literal(host) is None, loopback=self._loopback):
                raise httpcore.ConnectError(f"{host} leads to an address that is not public")
        for address in addresses[:-1]:
            try:
                return await backend.open_connection(address, port, min(timeout or 3.0, 3.0))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await backend.open_connection(addresses[-1], port, timeout)


def may_connect(address: str, *, named: bool, loopback: bool) -> bool:
    """Return whether media may be downloaded from an IP address.

    Args:
        address: The address to connect to.
        named: Whether a name resolved to it. Then 198.18.0.0/15 is allowed: proxies in fake-IP mode give such addresses
            to public names.
        loopback: Whether this machine's own addresses are allowed.
    """
    ip = _ip(address)
    if ip.is_loopback:
        given = ipaddress.ip_address(address.partition("%")[0])
        return loopback and ip in (given, getattr(given, "ipv4_mapped", None))  # never embedded by 6to4 or NAT64
    if isinstance(ip, ipaddress.IPv4Address):
        public = not any(ip in block for block in _NOT_PUBLIC4)
    else:
        public = ip in _UNICAST6 and not any(ip in block for block in _NOT_PUBLIC6)
    return public or (named and ip in _FAKE_IP)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an IP address; an IPv6 address that embeds an IPv4 one (mapped, 6to4, NAT64) gives the IPv4 address."""
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
    """Return the IP address that a host is, in any spelling the system accepts (127.1, 0x7f000001); None for a name."""
    host = host.rstrip(".")
    if ":" in host:
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def is_local(host: str) -> bool:
    """Return whether a host is this machine by its spelling alone (`localhost` or a loopback address), without DNS."""
    name, literal = host.rstrip(".").lower(), _literal(host)
    return name == "localhost" or name.endswith(".localhost") if literal is None else _ip(literal).is_loopback


def check_literal(url: httpx.URL, loopback: bool) -> None:
    """Check what the link alone shows: its address must be public, and its port 80 or 443.

    Args:
        url: The link.
        loopback: Whether this machine's own addresses are allowed, on any port.

    Raises:
        httpx.ConnectError: The address or the port is not allowed.
    """
    literal = _literal(url.host)
    if is_local(url.host):
        allowed = loopback  # on any port: a test server listens on any free one
    else:
        public = literal is None or may_connect(literal, named=False, loopback=loopback)
        allowed = public and url.port in (None, 80, 443)
    if not allowed:
        raise httpx.ConnectError(f"{url.host} is not a public address on a web port")
