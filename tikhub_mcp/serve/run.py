"""Runs the HTTP server in this process, until a signal ends it."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.jobs.scheduler import CLOSING_SECONDS
from tikhub_mcp.serve.app import GRACE_SECONDS, MCP_PATH, REPLY_SECONDS, Site
from tikhub_mcp.serve.gate import access_log
from tikhub_mcp.serve.links import LinkSigner, signing_key
from tikhub_mcp.serve.tokens import Tokens
from tikhub_mcp.settings.environment import load_settings
from tikhub_mcp.settings.serving import ServeSettings
from tikhub_mcp.stdio import lifetime

REQUEST_SECONDS = 30.0  # for a request to arrive, from its first byte to its last
STOPPING_SECONDS = GRACE_SECONDS + CLOSING_SECONDS + REPLY_SECONDS + 0.2
MAX_WAITING_CONNECTIONS = 1024
MIN_DESCRIPTORS = 65536  # as far as the system allows: each connection takes one, and the usual limit is 1024


class HttpServer:
    """The HTTP server, which listens from now on.

    Args:
        settings: Its settings.
        environ: The environment variables of the tools; by default `os.environ`.

    Attributes:
        url: The address of the endpoint on this machine.
        has_tokens: Whether anybody is let in.

    Raises:
        InvalidInput: The port or the name cannot be used, nobody could be let in, or a setting or a file of the server
            is invalid.
        DiskFull, NotWritable: The key of the links could not be stored.
    """

    def __init__(self, settings: ServeSettings, environ: Mapping[str, str] | None = None) -> None:
        root = load_settings(environ).root
        self.has_tokens = bool(Tokens(root).entries())
        if not (self.has_tokens or settings.on_loopback):
            raise InvalidInput(
                f"Nobody could be let in, and others than this machine could connect to {settings.host}. Add a token "
                "first: `tikhub-mcp token add NAME`."
            )
        secret = signing_key(root)
        self._listener = _listen(settings)
        port = self._listener.getsockname()[1]
        self.url = f"{ServeSettings(host=settings.host).base_url(port)}{MCP_PATH}"
        signer = LinkSigner(secret, settings.base_url(port), settings.link_seconds)
        self._site = Site(settings, port, root, signer, environ)
        self._server = self._uvicorn()

    def run(self) -> None:
        """Serve until a signal ends the process. Does not return."""
        _raise_descriptor_limit()
        access_log.setLevel(logging.INFO)  # whatever the level of everything else: a server's log names its requests
        asyncio.run(
            lifetime.serve(lambda _: self.serve(), self.stop, cleaning_seconds=STOPPING_SECONDS, has_client=False)
        )

    async def serve(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve([self._listener])
        finally:
            await self._site.leave()

    async def stop(self) -> None:
        """Take no more calls, end the work, and let `serve` return: within STOPPING_SECONDS."""
        await self._site.end()
        self._server.should_exit = True

    def _uvicorn(self) -> "_Server":
        config = uvicorn.Config(
            self._site.app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            workers=1,
            backlog=MAX_WAITING_CONNECTIONS,
            server_header=False,
            proxy_headers=False,
            access_log=False,
            log_config=None,
        )
        return _Server(config)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals alone, and does not wait for connections at its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport:
                connection.transport.close()  # streams would stay open for as long as their clients like
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """HTTP/1.1 for clients that send a request within REQUEST_SECONDS: uvicorn waits for the rest of one for ever."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_limit()

    def data_received(self, data: bytes) -> None:
        if self._limit is None:
            self._set_limit()
        super().data_received(data)
        # Between requests the state is IDLE, and nothing of the next one has come.
        rests = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if rests or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._clear_limit()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_limit()
        super().connection_lost(exc)

    def _set_limit(self) -> None:
        self._limit = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _clear_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def _listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InvalidInput: The name leads nowhere, or the port is taken or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=MAX_WAITING_CONNECTIONS)
    except socket.gaierror:
        raise InvalidInput(f"--host (TIKHUB_HTTP_HOST): {settings.host} is no name or address here.") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise InvalidInput(
            f"Port {settings.port} on {settings.host} cannot be used ({reason}). Choose another with --port "
            "(TIKHUB_HTTP_PORT); 0 is any free one."
        ) from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which accepted connections inherit
    return listener


def _raise_descriptor_limit() -> None:
    if sys.platform == "win32":  # pragma: no cover
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MIN_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MIN_DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
