"""A world in which no name is looked up anywhere and nothing but this machine can be connected to."""

import asyncio
import asyncio.selector_events
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any

import httpcore
import pytest

from tests.support.api_client import PROXIES
from tikhub_mcp.net import backend as net_backend
from tikhub_mcp.net.transport import Network


class World:
    """What names answer, and who was connected to.

    Attributes:
        names: Host → addresses; what is neither here nor an address does not resolve.
        resolved: The hosts that were looked up.
        routes: Address and port → the port of this machine that stands in for it.
        connected: Address and port of each attempt to connect; none succeeds, but those to this machine.
        timeouts: The seconds that each of these attempts was given.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {"localhost": ["127.0.0.1"]}
        self.routes: dict[tuple[str, int], int] = {}
        self.resolved: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.timeouts: list[float | None] = []

    async def look_up(self, host: str, port: int) -> list[Any]:
        """What the system's resolver would answer; it takes every spelling of an address."""
        self.resolved.append(host)
        found = []
        for answer in self.names.get(host, [host]):
            found += socket.getaddrinfo(answer, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return found


def enclose(monkeypatch: pytest.MonkeyPatch) -> World:
    """Shut the process in, and take proxies and certificates out of its environment."""
    world, connect_tcp, connect = World(), httpcore.AnyIOBackend.connect_tcp, net_backend.open_connection

    async def getaddrinfo(_: object, host: str | bytes, port: int, **__: object) -> list[Any]:
        return await world.look_up(host.decode() if isinstance(host, bytes) else host, port)

    def routed(host: str, port: int, timeout: float | None) -> tuple[str, int]:
        world.connected.append((host, port))
        world.timeouts.append(timeout)
        if (host, port) in world.routes:
            host, port = "127.0.0.1", world.routes[host, port]
        if host not in ("127.0.0.1", "localhost"):
            raise httpcore.ConnectError("there is no such network here")
        return host, port

    async def by_anyio(
        backend: httpcore.AnyIOBackend,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        *more: Any,  # noqa: ANN401 - handed on
        **named: Any,  # noqa: ANN401 - handed on
    ) -> httpcore.AsyncNetworkStream:
        return await connect_tcp(backend, *routed(host, port, timeout), timeout, *more, **named)

    async def by_asyncio(address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:  # noqa: ASYNC109
        return await connect(*routed(address, port, timeout), timeout)

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:  # noqa: ANN401 - asyncio's
        # Whatever comes here on another way than these two stays in, too.
        assert ipaddress.ip_address(address[0]).is_loopback, "a test reached out"
        await connect_socket(loop, sock, address)

    selector = asyncio.selector_events.BaseSelectorEventLoop
    connect_socket = selector.sock_connect
    monkeypatch.setattr(selector, "sock_connect", sock_connect)
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", by_anyio)
    monkeypatch.setattr(net_backend, "open_connection", by_asyncio)
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return world


def get(
    url: str, *, public_only: bool = True, loopback: bool = False, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One GET: its status and its body."""

    async def run() -> tuple[int, bytes]:
        ours = Network(loopback_media=loopback)
        async with (
            asyncio.timeout(10),
            ours.get(url, headers or {}, public_only=public_only, read_timeout=5) as response,
        ):
            return response.status_code, b"".join([chunk async for chunk in response.aiter_raw()])

    return asyncio.run(run())
