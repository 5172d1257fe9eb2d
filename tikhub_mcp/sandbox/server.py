"""The sandbox's sockets: uvicorn in a thread of its own, on the loopback interface only."""

import asyncio
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import uvicorn

from tikhub_mcp.sandbox.app import Services
from tikhub_mcp.sandbox.scenarios import SCENARIOS, link


@dataclass(kw_only=True, eq=False, repr=False)
class Sandbox(Services):
    """A stand-in for TikHub and its CDN, from `start` to `stop`; a context manager. It runs once.

    Attributes:
        port: Where to listen; 0 for any free port.
    """

    port: int = 0

    def start(self) -> Self:
        """Listen, and return once requests are answered.

        Raises:
            OSError: The port is taken.
        """
        listener = socket.create_server(("127.0.0.1", self.port))
        # Handed down to each connection. asyncio sets it only for sockets that name their protocol, which these do
        # not; without it, an answer on a kept connection takes 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.run_on, args=[listener], name="sandbox", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        return self

    def stop(self) -> None:
        """Hang up on everybody, and return once nothing is left."""
        self._server.should_exit = True
        self._thread.join()

    @staticmethod
    def describe() -> list[tuple[str, str]]:
        """What can be asked for: share links, and what happens with each."""
        return [(link(scenario.name), scenario.what) for scenario in SCENARIOS]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn, quiet, which says when it is ready and ends without waiting for anybody."""

    def __init__(self, services: Services) -> None:
        # h11 is always there; the faster ones may or may not be.
        config = uvicorn.Config(
            services.app, http="h11", ws="none", lifespan="off", log_config=None, log_level="error", access_log=False
        )
        super().__init__(config)
        self.ready = threading.Event()
        self._stopping = services.stopping

    def run_on(self, listener: socket.socket) -> None:
        """Serve until told to exit; in a thread, uvicorn leaves the signals alone."""
        try:
            asyncio.run(self.serve([listener]))
        finally:
            self.ready.set()  # also after a failure, so that nobody waits for ever

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.01)  # whoever was accepted in this very moment has a connection by now
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self._stopping.set()  # whoever pauses in the middle of an answer finds nobody to send it to
        await super().shutdown(sockets)
