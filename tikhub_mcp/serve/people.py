"""The people of the server: each has tools, sessions and tasks of their own, and shares no object but the limits.

That nobody sees, joins or cancels what is another's follows from this, and is not checked anywhere.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from tikhub_mcp.jobs.capacity import Capacity, PersonalLimits
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.serve.links import LinkSigner
from tikhub_mcp.server import Server
from tikhub_mcp.settings.api_key import KEY_HEADER, key_of_request
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.tools.handlers import Tools
from tikhub_mcp.tools.workspace import LINK, Workspace

PEOPLE_FOLDER: Final = "people"  # in the root
MAX_PENDING = 1000  # links of one person
MAX_SESSIONS = 1000  # of one person, in the era of handshakes
# The whole server checks Host and Origin, before anything else.
_CHECKED_BEFORE = TransportSecuritySettings(enable_dns_rebinding_protection=False)


class PersonalWorkspace(Workspace):
    """The workspace of one person: a folder of their own, and the key that comes with each call.

    Args:
        name: The person's name.
        signer: Makes the links to files.
        limits: The person's share of the limits of the process.
        environ: The environment variables of the server; by default `os.environ`.
    """

    def __init__(
        self, name: str, signer: LinkSigner, limits: PersonalLimits, environ: Mapping[str, str] | None
    ) -> None:
        super().__init__(environ)
        self._name = name
        self._signer = signer
        self._limits = limits
        self._root: Path | None = None  # of the latest call

    def settings(self) -> Settings:
        """Return the server's settings, with the person's folder as the root, and nothing allowed outside it.

        Raises:
            InvalidInput: A variable has an invalid value.
        """
        settings = super().settings()
        self._root = person_folder(settings.root, self._name)
        return replace(settings, root=self._root, allowed=(), confined=True)

    def begin(self, ctx: Context) -> tuple[SecretStr, Settings]:
        """Return the key in the header of a call, or else the server's own, and the settings; use links from now on.

        Raises:
            KeyMissing: There is no usable key.
            InvalidInput: A variable has an invalid value.
        """
        key = key_of_request((ctx.headers or {}).get(KEY_HEADER, ""), self._environ)
        settings = self.settings()
        self.publish()
        return key, settings

    def jobs(self, settings: Settings) -> Jobs:
        """Return new jobs, which share the limits of the process with those of other people."""
        return Jobs.of(settings, shared=self._limits)

    def publish(self) -> None:
        """Use the links of this workspace for the replies of the running tool call."""
        LINK.set(self.link)  # in the context of its asyncio task alone

    def link(self, path: Path) -> str | None:
        """Return the link to a file or folder of the person."""
        if self._root is None or not path.is_relative_to(self._root):
            return None
        return self._signer.link(self._name, PurePosixPath(path.relative_to(self._root).as_posix()))


class Person:
    """One person's server, without its transport's checks: whoever calls it has made sure who asks.

    Args:
        workspace: The person's workspace.
    """

    def __init__(self, workspace: PersonalWorkspace) -> None:
        self._tools = Tools(workspace=workspace)
        server = Server(self._tools)
        server.streamable_http_app(transport_security=_CHECKED_BEFORE, max_sessions=MAX_SESSIONS)
        self._manager = server.session_manager
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._manager.run():  # has to be entered and left in one task
            self._ready.set()
            await self._ended.wait()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application does."""
        await self._ready.wait()
        await self._manager.handle_request(scope, receive, send)

    async def close(self) -> None:
        """End the work; calls that are waiting for it are answered, and their streams stay open until `leave`."""
        await self._tools.close()

    async def leave(self) -> None:
        """End all sessions."""
        self._ended.set()
        await self._running


class People:
    """The people that have asked for something since the server started.

    Args:
        signer: Makes the links to files.
        environ: The environment variables of the server; by default `os.environ`.
    """

    def __init__(self, signer: LinkSigner, environ: Mapping[str, str] | None = None) -> None:
        self._signer = signer
        self._environ = environ
        self._capacity = Capacity(MAX_PENDING)
        self._people: dict[str, Person] = {}

    def get(self, name: str) -> Person:
        """Return the person of that name, who has a token."""
        if name not in self._people:
            workspace = PersonalWorkspace(name, self._signer, self._capacity.share(), self._environ)
            self._people[name] = Person(workspace)
        return self._people[name]

    async def close(self) -> None:
        """End the work of all, at the same time."""
        await asyncio.gather(*(person.close() for person in self._people.values()))

    async def leave(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(person.leave() for person in self._people.values()))


def person_folder(root: Path, name: str) -> Path:
    """Return the folder of a person, links resolved."""
    return (root / PEOPLE_FOLDER / name).resolve()
