"""The SKILL.md of this package over MCP (SEP-2640): how the tools are used together, for hosts that know skills."""

import hashlib
from collections.abc import Sequence
from typing import Any

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ResourceBinding
from mcp.server.mcpserver.resources import TextResource
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PaginatedRequestParams, RequestParams

from tikhub_mcp.posts.answer import Json
from tikhub_mcp.settings.skill_text import front_matter

_MAY_BE_KEPT: Json = {"ttlMs": 0, "cacheScope": "private"}  # an update of the package may bring another text
URI = "skill://tikhub-mcp/SKILL.md"  # the last part of the path before the file is the skill's name


class SkillParams(RequestParams):
    """The parameters of `skills/get`."""

    uri: str


class Skills(Extension):
    """One skill: `skills/list`, `skills/get`, and its file as a resource.

    Args:
        text: The SKILL.md to serve; it must not contain a key, and has a name and a description.
    """

    identifier = "io.modelcontextprotocol/skills"

    def __init__(self, text: str) -> None:
        self._text = text
        content = text.encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._frontmatter = front_matter(text)
        self._entry = {
            "uri": URI,
            "frontmatter": self._frontmatter,
            "resources": [{"uri": URI, "digest": digest, "size": len(content)}],
        }

    def resources(self) -> Sequence[ResourceBinding]:
        """Return the SKILL.md."""
        name, description = self._frontmatter["name"], self._frontmatter["description"]
        file = TextResource(uri=URI, name=name, description=description, mime_type="text/markdown", text=self._text)
        return [ResourceBinding(file)]

    def methods(self) -> Sequence[MethodBinding]:
        """Return `skills/list` and `skills/get`."""
        return [
            MethodBinding("skills/list", PaginatedRequestParams, self._list),
            MethodBinding("skills/get", SkillParams, self._get),
        ]

    async def _list(self, _ctx: ServerRequestContext[Any, Any], _params: PaginatedRequestParams) -> HandlerResult:
        return {"skills": [self._entry], **_MAY_BE_KEPT}

    async def _get(self, _ctx: ServerRequestContext[Any, Any], params: SkillParams) -> HandlerResult:
        if params.uri != URI:
            raise MCPError(code=INVALID_PARAMS, message=f"There is no such skill. This server has {URI}.")
        return {"skill": self._entry, **_MAY_BE_KEPT}
