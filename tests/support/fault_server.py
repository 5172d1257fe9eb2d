"""An HTTP/1.1 server on raw sockets that misbehaves on cue: what it sends, no server library would send.

    with Faulty() as server:
        url = server.on("/a", Act(body=b"abc", cut=1, end="reset"), Act(body=b"abc"))

The first request for a path gets its first act, the second its second, and so on; the last one repeats. What a
request asks for can decide: `cdn` answers ranges as a real CDN does, `spoiled` changes what another act would be.
"""

import asyncio
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

SETTLE = 0.02  # seconds between the last byte and a reset, which would overtake it

End = Literal["close", "reset", "stall", "tear"]


@dataclass(frozen=True, kw_only=True)
class Act:
    """One answer, and how it ends.

    Attributes:
        status: The status; the reason is always empty.
        headers: Sent verbatim, in order; Content-Length and Transfer-Encoding only if `framing` says so.
        body: What is there to send.
        framing: "length" sends its Content-Length, "chunked" chunks, "none" neither.
        length: Another Content-Length than the body's, verbatim.
        cut: Send only so many bytes of the body.
        end: "close" hangs up (FIN), "reset" sends RST, "stall" sends nothing more and never hangs up, "tear" hangs up
            without TLS's close_notify.
        terminated: Whether the last chunk says that it is the last.
        wait: Seconds before the first byte of the answer.
        drip: How many bytes to send at once, with `pause` seconds after each; 0 for all of them.
        version: Of HTTP.
        raw: All bytes to send, perhaps none, in place of the above.
    """

    status: int = 200
    headers: Iterable[tuple[str, str]] = (("Content-Type", "video/mp4"),)
    body: bytes = b""
    framing: Literal["length", "chunked", "none"] = "length"
    length: str = ""
    cut: int | None = None
    end: End = "close"
    terminated: bool = True
    wait: float = 0.0
    drip: int = 0
    pause: float = 0.05
    version: str = "1.1"
    raw: bytes | None = None

    def head(self) -> bytes:
        """The status line and the headers."""
        lines = [f"HTTP/{self.version} {self.status} ", *(f"{name}: {value}" for name, value in self.headers)]
        if self.framing == "length":
            lines.append(f"Content-Length: {self.length or len(self.body)}")
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def pieces(self) -> Iterable[bytes]:
        """All of it as it goes over the wire."""
        if self.raw is not None:
            for start in range(0, len(self.raw), size := self.drip or len(self.raw) or 1):
                yield self.raw[start : start + size]
            return
        yield self.head()
        body = self.body[: self.cut]
        size = self.drip or len(body) or 1
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if self.framing == "chunked" else piece
        if self.framing == "chunked" and self.terminated and self.cut is None:
            yield b"0\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request as it arrived; the names of its headers in lower case."""

    path: str
    headers: Mapping[str, str]


Move = Act | Callable[[Request], Act]  # what a script is made of


def cdn(body: bytes, etag: str = '"one"', *headers: tuple[str, str]) -> Callable[[Request], Act]:
    """An object with an ETag, or without one, as a CDN serves it: whole, from where a Range asks for it, or 416."""

    def answer(request: Request) -> Act:
        named = [("ETag", etag)] if etag else []
        whole = Act(headers=[("Content-Type", "video/mp4"), *named, *headers], body=body)
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        # RFC 9110, 13.1.5: a weak ETag matches nothing; then the Range counts for nothing either.
        if not asked or etag.startswith("W/") or request.headers.get("if-range", etag) != etag:
            return whole
        if (start := int(asked[1])) >= len(body):
            return Act(status=416, headers=[*named, ("Content-Range", f"bytes */{len(body)}")])
        given = ("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        return replace(whole, status=206, headers=[*whole.headers, given], body=body[start:])

    return answer


def spoiled(move: Move, **changes: object) -> Callable[[Request], Act]:
    """What a move would be, but for these attributes."""
    return lambda request: replace(played(move, request), **changes)  # type: ignore[arg-type] # of any of them


def played(move: Move, request: Request) -> Act:
    """The act that a move comes to."""
    return move if isinstance(move, Act) else move(request)


def redirect(location: str | None, status: int = 302) -> Act:
    """A redirect, or one without a Location."""
    return Act(status=status, headers=() if location is None else (("Location", location),))


class Faulty:
    """The server, from entering to leaving; in a thread of its own, on the loopback interface only.

    Args:
        tls: What to speak TLS with, or None.

    Attributes:
        base_url: `http://127.0.0.1:PORT`.
        requests: What arrived, in order.
        sent: How many bytes went out.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.sent = 0
        self._tls = tls
        self._script: dict[str, list[Move]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty", daemon=True)

    def on(self, path: str, *moves: Move) -> str:
        """Play these for a path, from its first on; the URL of it."""
        self._script[path] = list(moves)
        return self.base_url + path

    def asked(self) -> list[str]:
        """The paths of all requests, in order."""
        return [request.path for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
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
        server = await asyncio.start_server(self._talk, sock=self._listener, ssl=self._tls)
        await self._stop.wait()
        server.close()  # whoever is still talked to is cancelled by the runner

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = _parse(await reader.readuntil(b"\r\n\r\n"))
            moves = self._script.get(request.path, [Act(status=404)])
            move = moves.pop(0) if len(moves) > 1 else moves[0]
            self.requests.append(request)
            await self._play(played(move, request), reader, writer)
        writer.close()

    async def _play(self, act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(act.wait)
        for piece in act.pieces():
            writer.write(piece)
            self.sent += len(piece)
            await writer.drain()
            if act.drip:
                await asyncio.sleep(act.pause)
        if act.end == "stall":
            await reader.read()  # until the other side has had enough
        if act.end in ("reset", "tear"):
            await asyncio.sleep(SETTLE)
        if act.end == "tear":
            writer.transport.abort()
        if act.end == "reset":
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = (line.partition(":") for line in lines)
    return Request(first.split(" ")[1], {name.strip().lower(): value.strip() for name, _, value in headers})
