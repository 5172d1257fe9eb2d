"""Notes whether any byte of a response has come: of one whose head cannot be read, httpx does not tell."""

import asyncio
import ssl
from typing import Any

import httpcore
import httpx

from tikhub_mcp.net.guard import ONE_CONNECTION


class UnreadableResponse(httpx.RemoteProtocolError):
    """A response has begun, and its head is incomplete or not HTTP."""


class WatchedTransport(httpx.AsyncHTTPTransport):
    """An httpx transport for one request that tells whether a response has begun.

    Args:
        tls: The TLS context.
        proxy: The proxy's address; None for a direct connection.
    """

    def __init__(self, tls: ssl.SSLContext, proxy: str | None) -> None:
        super().__init__(verify=tls, limits=ONE_CONNECTION, proxy=proxy)
        pool: Any = self._pool  # httpx has no public argument for the network backend
        self._watched = pool._network_backend = _WatchedBackend(pool._network_backend)  # noqa: SLF001

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            UnreadableResponse: A response began, and its head could not be read.
            httpx.HTTPError: The request failed.
        """
        try:
            return await super().handle_async_request(request)
        except (httpx.NetworkError, httpx.ProtocolError) as error:
            if not self._watched.answered:
                raise
            raise UnreadableResponse("the response began, and its head could not be read") from error


class _WatchedBackend(httpcore.AsyncNetworkBackend):
    """A network backend around another one, for a single request.

    Args:
        backend: Opens the connections.

    Attributes:
        sent: Whether the request has been sent, or a part of it.
        answered: Whether anything has come since the request was sent; the words of a proxy before that do not count.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend
        self.sent = self.answered = False

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401 - passed on
        return _Stream(await self._backend.connect_tcp(*args, **kwargs), self)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, watch: _WatchedBackend) -> None:
        self._stream = stream
        self._watch = watch

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        received = await self._stream.read(max_bytes, timeout)
        self._watch.answered |= self._watch.sent and bool(received)
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if buffer:  # h11 ends a request with an empty one
            self._watch.sent, self._watch.answered = not buffer.startswith(b"CONNECT "), False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:  # noqa: ANN401 - passed on
        self._watch.sent = self._watch.answered = False  # what has come so far was a proxy's
        try:
            return _Stream(await self._stream.start_tls(*args, **kwargs), self._watch)
        except asyncio.CancelledError:  # httpcore closes the connection in all other cases
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's
        return self._stream.get_extra_info(info)
