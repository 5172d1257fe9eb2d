"""An HTTP/1.1 origin server on raw sockets for the benchmarks: correct ranges and ETags, and faults on request.

    with Origin() as origin:
        url = origin.on("/a/video.mp4", cut(serve(content), at=1000, end="reset"), serve(content))

The first request for a path gets the first act, the second request the second act, and so on; the last act repeats.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import tikhub_mcp

MEDIA = Path(tikhub_mcp.__file__).parent / "sandbox" / "media"
SETTLE = 0.02  # seconds between the last byte and a reset, so that the byte arrives first
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Request:
    """A received request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response, sent exactly as it is here, and how the connection ends.

    Attributes:
        status: The HTTP status; 0 sends no headers at all.
        headers: The only headers, besides `Connection: close`.
        body: The pieces of the body.
        start: The offset of the body in the object.
        end: "close" closes the connection (FIN), "reset" sends RST, "stall" keeps it open without sending more.
        pause: Seconds after each piece of the body.
        wait: Seconds before the response.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    start: int = 0
    end: Literal["close", "reset", "stall"] = "close"
    pause: float = 0.0
    wait: float = 0.0

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers.items())]
        return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


Act = Callable[[Request], Reply]


def serve(content: bytes, etag: str = '"1"', *, trusting: bool = False, kind: str = "video/mp4") -> Act:
    """Serve an object as a correct CDN does; with `trusting`, ignore If-Range."""

    def act(request: Request) -> Reply:
        headers = {"Content-Type": kind, "Accept-Ranges": "bytes", "ETag": etag}
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        current = trusting or request.headers.get("if-range", etag) == etag
        if not wanted or not current:
            return Reply(headers=headers | {"Content-Length": str(len(content))}, body=(content,))
        start, size = int(wanted[1]), len(content)
        if start >= size:
            return Reply(status=416, headers={"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        end = min(int(wanted[2] or size), size - 1)
        headers |= {"Content-Range": f"bytes {start}-{end}/{size}", "Content-Length": str(end - start + 1)}
        return Reply(status=206, headers=headers, body=(content[start : end + 1],), start=start)

    return act


def cut(act: Act, at: int, end: Literal["close", "reset", "stall"] = "close") -> Act:
    """The same response, ended before byte `at` of the object."""

    def broken(request: Request) -> Reply:
        reply = act(request)
        return replace(reply, body=(b"".join(reply.body)[: max(at - reply.start, 0)],), end=end)

    return broken


def with_headers(act: Act, *, on: int | None = None, **headers: str | None) -> Act:
    """The same response with headers replaced, or removed if None; with `on`, only for this status."""

    def changed(request: Request) -> Reply:
        reply = act(request)
        if on not in (None, reply.status):
            return reply
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in reply.headers.items() if name not in named}
        return replace(reply, headers=kept | {name: value for name, value in named.items() if value is not None})

    return changed


def chunked(act: Act, *, terminated: bool = True) -> Act:
    """The same response in chunked encoding, with or without the last chunk."""

    def framed(request: Request) -> Reply:
        reply = act(request)
        body = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in reply.body if piece]
        return replace(reply, body=[*body, b"0\r\n\r\n"] if terminated else body)

    return with_headers(framed, Content_Length=None, Transfer_Encoding="chunked")


def drip(act: Act, piece: int, pause: float) -> Act:
    """The same response in pieces of `piece` bytes, with `pause` seconds after each."""

    def dripping(request: Request) -> Reply:
        reply = act(request)
        body = b"".join(reply.body)
        return replace(reply, body=[body[at : at + piece] for at in range(0, len(body), piece)], pause=pause)

    return dripping


def late(act: Act, wait: float) -> Act:
    """The same response after `wait` seconds."""
    return lambda request: replace(act(request), wait=wait)


def refuse(status: int, **headers: str) -> Act:
    """A response without a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(status=status, headers=named | {"Content-Length": "0"})


class Origin:
    """The server, a context manager; it runs in a separate thread, on the loopback interface only.

    Attributes:
        base_url: `http://127.0.0.1:PORT`.
        sent: The number of body bytes sent.
        requests: The number of requests received.
    """

    def __init__(self) -> None:
        self.sent = self.requests = 0
        self._acts: dict[str, list[Act]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="origin", daemon=True)

    def on(self, path: str, *acts: Act) -> str:
        """Set the acts of a path, and return its URL."""
        self._acts[path] = list(acts)
        return self.base_url + path

    def off(self, path: str) -> None:
        """Remove a path."""
        self._acts.pop(path, None)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            self._stop = asyncio.Event()
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, sock=self._listener)
        self._ready.set()
        await self._stop.wait()
        server.close()  # the runner cancels the open connections

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = _parse(await reader.readuntil(b"\r\n\r\n"))
            self.requests += 1
            acts = self._acts.get(request.path, [refuse(404)])
            act = acts.pop(0) if len(acts) > 1 else acts[0]
            await self._play(act(request), request, reader, writer)
        writer.close()

    async def _play(
        self, reply: Reply, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if reply.wait:
            await asyncio.sleep(reply.wait)
        if reply.status:  # 0: no headers
            writer.write(reply.head())
        for piece in reply.body if request.method == "GET" else ():
            writer.write(piece)
            self.sent += len(piece)
            await writer.drain()
            if reply.pause:
                await asyncio.sleep(reply.pause)
        await writer.drain()
        if reply.end == "stall":
            await reader.read()  # until the client closes the connection
        if reply.end == "reset":
            await asyncio.sleep(SETTLE)
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, *_ = first.split(" ")
    headers = (line.partition(":") for line in lines)
    return Request(method, path.partition("?")[0], {name.strip().lower(): value.strip() for name, _, value in headers})
