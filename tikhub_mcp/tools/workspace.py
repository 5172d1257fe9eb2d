"""Where the calls of one person work, who pays for them, and how their files are reached."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path

from mcp.server.mcpserver import Context
from pydantic import SecretStr

from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.settings.api_key import find_key
from tikhub_mcp.settings.environment import Settings, load_settings, reuse_seconds

_LINK: ContextVar[Callable[[Path], str | None] | None] = ContextVar("link", default=None)


class Workspace:
    """The workspace of the user of this process; a server for several people has one for each.

    Args:
        environ: The environment variables that hold the settings and the API key; by default `os.environ`.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def settings(self) -> Settings:
        """Return the settings, as they are now.

        Raises:
            InvalidInput: A variable has an invalid value.
        """
        return load_settings(self._environ)

    def reuse_seconds(self) -> float:
        """Return for how many seconds an answer is used again."""
        return reuse_seconds(self._environ)

    def key(self, ctx: Context) -> SecretStr:  # noqa: ARG002 - for those whose calls have headers
        """Return the API key that pays for a call.

        Args:
            ctx: The context of the call.

        Raises:
            KeyMissing: There is no usable key.
        """
        return find_key(self._environ)

    def jobs(self, settings: Settings) -> Jobs:
        """Return new jobs."""
        return Jobs.of(settings)

    def link(self, path: Path) -> str | None:  # noqa: ARG002 - for those that have links
        """Return the link under which a browser gets a file or folder; None where there is no such link."""
        return None

    def publish(self) -> None:
        """Use the links of this workspace for the replies of the running tool call."""
        _LINK.set(self.link)  # in the context of its asyncio task alone


def web_link(path: Path | None) -> str | None:
    """Return the link to a file or folder in the workspace of the running tool call; None where there is none."""
    link = _LINK.get()
    return link(path) if link and path else None
