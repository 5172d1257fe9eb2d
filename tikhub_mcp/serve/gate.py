"""What every request passes: the log of requests, the names by which the server is known, and the answer to tokens."""

import asyncio
import logging
import time
from collections.abc import Sequence

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_log = logging.getLogger(f"{__name__}.access")

STEP_SECONDS = 0.5  # between two answers to wrong tokens
MAX_DELAY_SECONDS = 10.0
PERSON = "person"  # in the state of a request: who asks, once that is known
_METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}


class WrongTokens:
    """Slows down whoever tries tokens: wrong ones are answered one after another, right ones are not delayed."""

    def __init__(self) -> None:
        self._next = 0.0

    async def wait(self) -> None:
        """Wait until a wrong token may be answered; at most for MAX_DELAY_SECONDS."""
        now = time.monotonic()
        self._next = min(max(self._next, now) + STEP_SECONDS, now + MAX_DELAY_SECONDS)
        await asyncio.sleep(self._next - now)


def unauthorized() -> Response:
    """Return the answer to a request without a valid token; it names no authorization server, as there is none."""
    about = {"error": "unauthorized", "error_description": "Send the header Authorization: Bearer TOKEN."}
    return JSONResponse(about, 401, {"WWW-Authenticate": 'Bearer realm="tikhub-mcp"'})


class KnownNames:
    """Refuses requests with a foreign Host (421) or Origin (403), which a browser sends for a page of somebody else.

    Args:
        app: What answers the others.
        hosts: The accepted values of Host.
        origins: The accepted values of Origin.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app = app
        settings = TransportSecuritySettings(allowed_hosts=list(hosts), allowed_origins=list(origins))
        self._security = TransportSecurityMiddleware(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refusal = await self._security.validate_request(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


class AccessLog:
    """Logs one line for each request: who, what, the status and the time; no token, key, link or header.

    Args:
        app: What answers the requests.
        quiet: The paths that are not logged, because they are asked for again and again.
        paths: The beginnings of paths that are named; any other may hold a secret in the wrong place.
    """

    def __init__(self, app: ASGIApp, quiet: Sequence[str], paths: Sequence[str]) -> None:
        self._app = app
        self._quiet = quiet
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in self._quiet:
            return await self._app(scope, receive, send)
        began, status = time.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "?"
            path = next((path for path in self._paths if f"{scope['path']}/".startswith(f"{path}/")), "?")
            client, person = (scope.get("client") or ["?"])[0], scope["state"].get(PERSON, "-")
            seconds = time.monotonic() - began
            access_log.info("%s %s %s %s %s %.3f s", client, person, method, path, status or "no answer", seconds)
