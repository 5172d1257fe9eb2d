"""A server process, and the lines to and from it."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Self

from mcp.client import Client
from mcp_types import CallToolResult

from tests.support import mcp_session
from tests.support.forked import Forked
from tests.support.mcp_session import CANARY, Reply, checked
from tikhub_mcp.posts.answer import Json

MODULE = [sys.executable, "-m", "tikhub_mcp"]
CLIENT = {"name": "a-client", "version": "1"}
DISCOVERY = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}


Environment = dict[str, str]
Connect = Callable[[Environment], AbstractAsyncContextManager[Client]]
Process = subprocess.Popen[Any]


class Wire:
    """A server process, and the lines to and from it; each line that comes is held to the protocol."""

    def __init__(
        self, environment: Environment, log: Path, command: list[str] = MODULE, start: type[Process] = Forked
    ) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = start(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd="/", env=environment
            )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.heard: list[Json] = []  # all messages but the answers asked for
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        assert CANARY not in self.log.read_text(encoding="utf-8")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def send(self, *messages: Json) -> None:
        """Send messages in one write, which the server reads at once if they have less than 64 KiB."""
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def ask(self, number: int | str, method: str, params: Json = None) -> Json:
        self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        return self.answer(number)

    def answer(self, number: int | str) -> Json:
        while (message := self.message()).get("id") != number:
            self.heard.append(message)
        return message["result"] if "result" in message else message["error"]

    def message(self) -> Json:
        return strict(self.lines.get(timeout=60))

    def call(self, number: int, tool: str, arguments: Json, meta: Json = None) -> mcp_session.Reply:
        params = {"name": tool, "arguments": arguments, "_meta": meta or {}}
        return checked(tool, CallToolResult.model_validate(self.ask(number, "tools/call", params)))

    def shake_hands(self) -> Json:
        result = self.ask(0, "initialize", HANDSHAKE)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return result

    def end(self) -> tuple[int, float]:
        """Close its input; the exit code, and after how many seconds."""
        began = time.monotonic()
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=60)
        seconds = time.monotonic() - began
        self.reader.join()
        while not self.lines.empty():
            self.heard.append(self.message())
        return code, seconds


class Caller:
    """A client of one era."""

    def __init__(self, wire: Wire, meta: Json) -> None:
        self.wire, self.meta = wire, meta
        if not meta:
            wire.shake_hands()

    def begin(self, number: int, tool: str, arguments: Json) -> None:
        """Call without waiting for the reply."""
        self.wire.send(self.request(number, "tools/call", name=tool, arguments=arguments))

    def cancel(self, number: Json) -> None:
        self.wire.send(self.cancellation(number))

    def request(self, number: int, method: str, **params: Json) -> Json:
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": self.meta}}

    def cancellation(self, number: Json) -> Json:
        cancelled = {"requestId": number, "reason": "changed its mind", "_meta": self.meta}
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}

    def call(self, number: int, tool: str, arguments: Json) -> Reply:
        return self.wire.call(number, tool, arguments, self.meta)

    def end(self) -> None:
        """What nobody asked for never came."""
        assert self.wire.end()[0] == 0
        assert self.wire.heard == []


def downloading(root: Path) -> int:
    return sum(".mp4." in part.name for part in parts(root))


def strict(line: bytes) -> Json:
    """A line of standard output, which is JSON-RPC in valid UTF-8 with finite numbers."""

    def no_number(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert line.endswith(b"\n")
    message = json.loads(line.decode("utf-8"), parse_constant=no_number)
    assert message["jsonrpc"] == "2.0"
    assert "method" in message or {"result", "error"} & message.keys()
    return message


def parts(root: Path) -> list[Path]:
    return list(root.rglob("*.part"))


def wait(condition: Callable[[], object], seconds: float = 30) -> float:
    """Wait for what has no event; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


class Deaf(Wire):
    """A client that does not read until it is told to."""

    def __init__(self, environment: Environment, log: Path) -> None:
        self.listening = threading.Event()
        super().__init__(environment, log)
        self.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HANDSHAKE})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _read(self) -> None:
        self.listening.wait()
        super()._read()

    def __exit__(self, *problem: object) -> None:
        self.process.kill()  # before anybody listens, so that there is an end to what is heard
        self.listening.set()
        super().__exit__(*problem)
