"""The application of the HTTP server: who may ask for what."""

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tikhub_mcp import __version__
from tikhub_mcp.serve.files import Files, not_found
from tikhub_mcp.serve.gate import PERSON, AccessLog, KnownNames, WrongTokens, unauthorized
from tikhub_mcp.serve.links import FILES_PATH, LinkSigner
from tikhub_mcp.serve.people import People
from tikhub_mcp.serve.tokens import Tokens
from tikhub_mcp.settings.serving import ServeSettings

HEALTH_PATH, MCP_PATH = "/health", "/mcp"
GRACE_SECONDS = 1.5  # for running calls, when the server ends
REPLY_SECONDS = 0.3  # for the replies of those that were ended


class McpEndpoint:
    """The endpoint of the protocol: lets in those with a token, each to their own server.

    Args:
        tokens: The tokens.
        people: The people.
    """

    def __init__(self, tokens: Tokens, people: People) -> None:
        self._tokens = tokens
        self._people = people
        self._wrong_tokens = WrongTokens()
        self._calls = 0  # requests that are not answered yet
        self._idle = asyncio.Event()
        self.is_ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = self._answer_ending() if self.is_ending else await self._refusal(scope)
        if answer:
            return await answer(scope, receive, send)
        is_call = scope["method"] == "POST"
        self._calls += is_call
        try:
            with suppress(ClientDisconnect):  # before its request had arrived: nobody is left to be answered
                await self._people.get(scope["state"][PERSON]).handle(scope, receive, send)
        finally:
            self._calls -= is_call
            if not self._calls:
                self._idle.set()

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to whoever has no valid token; or note in the state who asks."""
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not (token := token.strip()):
            return unauthorized()
        person = self._tokens.owner(token)
        if person is None:
            await self._wrong_tokens.wait()
            return unauthorized()
        scope["state"][PERSON] = person
        # The token is nothing to whoever answers.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
        return None

    def _answer_ending(self) -> Response:
        headers = {"Retry-After": "5", "Connection": "close"}
        return JSONResponse({"error": "unavailable", "error_description": "The server is ending."}, 503, headers)

    async def until_idle(self, seconds: float) -> None:
        """Wait until all requests are answered, at most for so many seconds."""
        self._idle.clear()
        if self._calls:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)


class Site:
    """All that the server answers.

    Args:
        settings: The settings of the server.
        port: The port that it listens on.
        root: The output folder.
        signer: Makes and checks the links to files.
        environ: The environment variables of the tools; by default `os.environ`.

    Attributes:
        app: The ASGI application.
    """

    def __init__(
        self,
        settings: ServeSettings,
        port: int,
        root: Path,
        signer: LinkSigner,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root
        tokens = Tokens(root)
        self._people = People(signer, environ)
        self._endpoint = McpEndpoint(tokens, self._people)
        origins = settings.origins(port)
        self.app = Starlette(
            routes=[
                Route(HEALTH_PATH, self._health),
                Route(f"{FILES_PATH}/{{person}}/{{path:path}}", Files(root, signer, tokens).answer),
                Route(MCP_PATH, self._endpoint),
                Route(f"{MCP_PATH}/", self._endpoint),
            ],
            middleware=[
                Middleware(AccessLog, quiet=[HEALTH_PATH], paths=[FILES_PATH, MCP_PATH]),
                Middleware(KnownNames, hosts=settings.hosts(), origins=origins),
                Middleware(
                    CORSMiddleware,
                    allow_origins=origins,
                    allow_methods=["GET", "POST", "DELETE"],
                    allow_headers=["*"],
                    expose_headers=["Mcp-Session-Id", "WWW-Authenticate"],
                ),
            ],
            exception_handlers={404: _answer_not_found},
        )

    async def end(self) -> None:
        """Take no more calls, give running ones GRACE_SECONDS, and end all work."""
        self._endpoint.is_ending = True
        await self._endpoint.until_idle(GRACE_SECONDS)
        await self._people.close()  # limits itself
        await self._endpoint.until_idle(REPLY_SECONDS)

    async def leave(self) -> None:
        """End all sessions, after `end`."""
        await self._people.leave()

    async def _health(self, _: Request) -> Response:
        is_ending = self._endpoint.is_ending
        about: dict[str, object] = {"status": "ending" if is_ending else "ok", "version": __version__}
        try:
            about["free_bytes"] = shutil.disk_usage(self._root).free
        except OSError:
            about |= {"status": "the output folder cannot be used", "free_bytes": 0}
        return JSONResponse(about, 200 if about["status"] == "ok" else 503, {"Cache-Control": "no-store"})


def _answer_not_found(_: Request, __: Exception) -> Response:
    return not_found()
