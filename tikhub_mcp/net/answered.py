"""Notes whether any byte of a response has come: of one whose head cannot be read, httpx does not tell."""

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from tikhub_mcp.net.guard import SocketOption


class WatchedBackend(httpcore.AsyncNetworkBackend):
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

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection, as httpcore asks for it."""
        return _Stream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options), self)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, watch: WatchedBackend) -> None:
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

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        self._watch.sent = self._watch.answered = False  # what has come so far was a proxy's
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._watch)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's
        return self._stream.get_extra_info(info)
