"""Where the calls of one person work, who pays for them, and how their files are reached."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path

from mcp.server.mcpserver import Context
from pydantic import SecretStr

from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.settings.api_key import find_key
from tikhub_mcp.settings.environment import Settings, load_settings, reuse_seconds

# Makes the links in the replies of the running tool call.
LINK: ContextVar[Callable[[Path], str | None] | None] = ContextVar("link", default=None)


class Workspace:
    """The workspace of the user of this process; a server for several people has one for each.

    Args:
        environ: The environment variables that hold the settings and the API key; by default `os.environ`.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def begin(self, ctx: Context) -> tuple[SecretStr, Settings]:  # noqa: ARG002 - for those whose calls have headers
        """Return the API key that pays for a call, and the settings as they are now; see `publish`.

        The key is looked up first, so that without one no setting is read and no folder is created.

        Args:
            ctx: The context of the call.

        Raises:
            KeyMissing: There is no usable key.
            InvalidInput: A variable has an invalid value.
        """
        return find_key(self._environ), load_settings(self._environ)

    def settings(self) -> Settings:
        """Return the settings, as they are now.

        Raises:
            InvalidInput: A variable has an invalid value.
        """
        return load_settings(self._environ)

    def reuse_seconds(self) -> float:
        """Return for how many seconds an answer is used again."""
        return reuse_seconds(self._environ)

    def jobs(self, settings: Settings) -> Jobs:
        """Return new jobs."""
        return Jobs.of(settings)

    def publish(self) -> None:
        """Use the links of this workspace for the replies of the running tool call; this one has none."""


def web_link(path: Path | None) -> str | None:
    """Return the link to a file or folder in the workspace of the running tool call; None where there is none."""
    link = LINK.get()
    return link(path) if link and path else None
