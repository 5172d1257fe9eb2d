"""How this process reaches out: one connection a request, the system's certificates and proxies.

A connection of its own for every request, because a shared pool of httpx loses slots under cancellation
(encode/httpcore#1093); making a client costs 14 µs, and the TLS context, which does not, is shared.
"""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from urllib.request import getproxies, proxy_bypass

import httpx
import socksio
import truststore

from tikhub_mcp.net.guard import ONE_CONNECTION, GuardedTransport, check_literal, is_local
from tikhub_mcp.net.reasons import NOT_SOCKS, PROXY_UNUSABLE

# Firewalls and CDNs turn away what a script sends by default.
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
CONNECT_TIMEOUT_SECONDS = 10.0
_NO_AUTH = httpx.Auth()  # in place of what httpx makes of a user name in a link


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
        public_only: bool,
        read_timeout: float,
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one GET; the response's body is still to be read, with `aiter_raw`. Redirects are not followed.

        Args:
            url: Absolute, http or https.
            headers: Sent as they are, with an ordinary User-Agent and no cookies.
            public_only: Whether only public addresses will do (media), or the user has named the host (the API).
            read_timeout: The longest wait for the next byte, in seconds.
            params: The query.

        Raises:
            httpx.HTTPError, httpx.InvalidURL: The request failed; a refused address is an httpx.ConnectError.
        """
        timeout = httpx.Timeout(read_timeout, connect=CONNECT_TIMEOUT_SECONDS)
        fixed = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        target = _parse_url(url)
        with _as_httpx():
            transport = self._transport or self._open(target, public_only)
            async with (
                httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client,
                client.stream("GET", target, params=params, headers={**fixed, **headers}, auth=_NO_AUTH) as response,
            ):
                yield response

    def _open(self, url: httpx.URL, public_only: bool) -> httpx.AsyncHTTPTransport:
        proxy = _proxy_for(url)
        if public_only and (proxy or url.port not in (None, 80, 443)):
            # Behind a proxy only what is written in the link can be judged, not where the name leads.
            check_literal(url, self._loopback_media)
        if public_only and not proxy:
            return GuardedTransport(self._tls, self._loopback_media)
        try:
            return httpx.AsyncHTTPTransport(verify=self._tls, limits=ONE_CONNECTION, proxy=proxy)
        except (ValueError, httpx.InvalidURL):  # what they say repeats the proxy's address, its password included
            raise httpx.ProxyError(PROXY_UNUSABLE) from None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def proxy_to(url: str) -> str | None:
    """The proxy that requests to this address go through, its password included; None for the direct way."""
    return _proxy_for(_parse_url(url))


def _proxy_for(url: httpx.URL) -> str | None:
    """The proxy that the environment (or the system) names for this address; this machine itself never has one."""
    if is_local(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and proxy.startswith("socks://"):  # as desktops write it; httpx wants the version
        return f"socks5{proxy[5:]}"
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _parse_url(url: str) -> httpx.URL:
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
