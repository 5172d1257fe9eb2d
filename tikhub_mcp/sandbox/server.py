"""Runs the sandbox in uvicorn, in a separate thread, on the loopback interface only."""

import asyncio
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import uvicorn

from tikhub_mcp.sandbox.app import Services
from tikhub_mcp.sandbox.scenarios import PARTIAL_KEYS, SCENARIOS, link


@dataclass(kw_only=True, eq=False, repr=False)
class Sandbox(Services):
    """A test server that imitates TikHub and its CDN; a context manager that can be started once.

    Attributes:
        port: The port to listen on; 0 for any free port.
    """

    port: int = 0

    def start(self) -> Self:
        """Start the server, and return when it accepts requests.

        Raises:
            OSError: The port is in use.
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        # Accepted connections inherit it. asyncio sets it only for sockets with an explicit protocol, which this one
        # lacks. Without it, a response on a keep-alive connection takes 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.run_on, args=[listener], name="sandbox", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        return self

    def stop(self) -> None:
        """Abort all connections, and return when the server thread has ended."""
        self._server.should_exit = True
        self._thread.join()

    @staticmethod
    def describe() -> list[tuple[str, str]]:
        """Return the link, or how the key must end, and the description of everything that can be tried."""
        keys = [
            (f"a key that ends in {end}", f"{status} for every post of {platform}")
            for end, (platform, status) in PARTIAL_KEYS.items()
        ]
        return [(link(scenario.name), scenario.what) for scenario in SCENARIOS] + keys

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """A uvicorn server without logs that signals when it is ready, and stops without waiting for connections."""

    def __init__(self, services: Services) -> None:
        # h11 is a dependency of uvicorn; the faster implementation may not be installed.
        config = uvicorn.Config(
            services.app, http="h11", ws="none", lifespan="off", log_config=None, log_level="error", access_log=False
        )
        super().__init__(config)
        self.ready = threading.Event()
        self._stopping = services.stopping

    def run_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set; outside the main thread, uvicorn installs no signal handlers."""
        try:
            asyncio.run(self.serve([listener]))
        finally:
            self.ready.set()  # after a failure too, or `start` would wait for ever

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.01)  # sockets that were just accepted become connections in the meantime
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self._stopping.set()  # ends the delays of responses in progress
        await super().shutdown(sockets)
