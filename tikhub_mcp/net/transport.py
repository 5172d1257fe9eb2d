"""Sends HTTP requests, with the certificates and proxies of the system.

Every request has its own connection, because a shared connection pool of httpx loses slots under cancellation
(encode/httpcore#1093), and takes bytes after the length of a response for the next one. The TLS context is expensive to
create, so it is shared.
"""

import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from importlib.util import find_spec
from urllib.request import getproxies, proxy_bypass

import httpx
import socksio
import truststore

from tikhub_mcp.net.answered import WatchedTransport
from tikhub_mcp.net.guard import GuardedTransport, check_literal, is_local
from tikhub_mcp.net.reasons import NOT_SOCKS, PROXY_UNUSABLE

# Firewalls and CDNs reject the default User-Agent of scripts.
USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
CONNECT_TIMEOUT_SECONDS = 10.0

# httpcore 1.0 imports sniffio, if it is there, in seven functions of each request. A module that is not there is
# searched for each time, which takes a fifth of the processor time of 35 small files; None makes the import
# fail at once, as the import system documents.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]


class Network:
    """Sends GET requests; one instance serves the whole process.

    Args:
        loopback_media: Whether media may come from this machine; only when the API is a test server on it.
        transport: A transport to use instead of the network, for tests.
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
        """Send one GET request; redirects are not followed.

        Args:
            url: An absolute http or https URL.
            headers: Headers to send, in addition to a browser's User-Agent; no cookies are sent.
            public_only: Whether to connect to public addresses only: true for media, false for the API, whose host the
                user has named.
            read_timeout: The maximum wait for the next bytes, in seconds.
            params: The query parameters.

        Yields:
            The response, its body not read yet; read it with `aiter_raw`.

        Raises:
            UnreadableResponse: A response began, and its head could not be read; not raised for media.
            httpx.HTTPError, httpx.InvalidURL: The request failed; a refused address raises httpx.ConnectError.
        """
        timeout = httpx.Timeout(read_timeout, connect=CONNECT_TIMEOUT_SECONDS)
        fixed = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        target = _parse_url(url)
        with _as_httpx():
            # Without a client of httpx: its redirects, cookies and authentication are not wanted, and take a quarter
            # of the processor time of a small file.
            request = httpx.Request(
                "GET", target, params=params, headers={**fixed, **headers}, extensions={"timeout": timeout.as_dict()}
            )
            async with self._transport or self._open(target, public_only) as transport:
                response = await transport.handle_async_request(request)
                try:
                    yield response
                finally:
                    await response.aclose()

    def _open(self, url: httpx.URL, public_only: bool) -> httpx.AsyncHTTPTransport:
        proxy = _proxy_for(url)
        if public_only and (proxy or url.port not in (None, 80, 443)):
            # The proxy resolves names, so only an address in the link itself can be checked.
            check_literal(url, self._loopback_media)
        if public_only and not proxy:
            return GuardedTransport(url, self._tls, self._loopback_media)
        try:
            return WatchedTransport(self._tls, proxy)
        except (ValueError, httpx.InvalidURL):  # their messages contain the proxy's password
            raise httpx.ProxyError(PROXY_UNUSABLE) from None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def proxy_to(url: str) -> str | None:
    """Return the proxy for requests to this URL, including its password; None for a direct connection."""
    return _proxy_for(_parse_url(url))


def _proxy_for(url: httpx.URL) -> str | None:
    """Return the proxy that the environment or the system names for a URL; loopback hosts never have one."""
    if is_local(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and proxy.startswith("socks://"):  # set by desktop environments; httpx requires the version
        return f"socks5{proxy[5:]}"
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _parse_url(url: str) -> httpx.URL:
    """Parse a URL.

    Raises:
        httpx.InvalidURL: The URL is invalid, or neither http nor https. For some invalid URLs httpx and ssl raise other
            exceptions.
    """
    try:
        target = httpx.URL(url)
        if target.scheme in ("http", "https") and target.host and not target.host.startswith("."):
            return target
    except UnicodeError:  # a lone surrogate, or a host that is invalid IDNA
        pass
    raise httpx.InvalidURL("it is not an address")


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Translate exceptions of lower layers, which httpx does not translate, into those of httpx."""
    try:
        yield
    except ssl.SSLError as error:  # after the handshake: a record that cannot be decrypted
        raise httpx.ReadError(f"TLS failed: {getattr(error, 'reason', '')}") from error
    except UnicodeError as error:  # a header that is not ASCII
        raise httpx.LocalProtocolError("a header has characters that cannot be sent") from error
    except socksio.SOCKSError as error:
        raise httpx.ProxyError(NOT_SOCKS) from error
