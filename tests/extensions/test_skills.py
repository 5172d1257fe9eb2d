"""The skill over MCP (SEP-2640): what is listed is what is read, without the section for the key."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, Request, RequestParams, TextResourceContents
from pydantic import TypeAdapter

from tests.support.mcp_session import CANARY, Era
from tikhub_mcp.extensions.skills import URI, Skills
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.server import Server
from tikhub_mcp.settings import api_key
from tikhub_mcp.tools.handlers import Tools

pytestmark = pytest.mark.anyio

SKILL = (Path(__file__).parents[2] / "SKILL.md").read_text(encoding="utf-8")


class _Params(RequestParams):
    uri: str | None = None


class SkillRequest(Request[_Params, str]):
    """A request about skills."""

    method: str
    params: _Params


async def ask(client: Client, method: str, uri: str | None = None) -> Json:
    request = SkillRequest(method=f"skills/{method}", params=_Params(uri=uri))
    answer: Json = await client.session.send_request(request, TypeAdapter(dict[str, Any]))
    return answer


def installed(environ: dict[str, str], text: str) -> Server:
    """A server of an installation with this SKILL.md."""
    (api_key._PACKAGE / "SKILL.md").write_text(text, encoding="utf-8")
    return Server(Tools(environ))


async def test_its_entry_has_its_fields_size_and_hash_and_its_text_is_a_resource(environ: dict[str, str]) -> None:
    async with Client(installed(environ, SKILL), mode="auto") as client:
        assert Skills.identifier in (client.server_capabilities.extensions or {})
        listed = await ask(client, "list")
        [entry] = listed["skills"]
        assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private")
        assert (await ask(client, "get", URI))["skill"] == entry
        [resource] = (await client.list_resources()).resources
        [read] = (await client.read_resource(URI)).contents
        assert isinstance(read, TextResourceContents)
        with pytest.raises(MCPError) as caught:
            await ask(client, "get", "skill://another/SKILL.md")
        assert caught.value.error.code == INVALID_PARAMS
    content = read.text.encode()
    assert entry["resources"] == [
        {"uri": URI, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
    ]
    assert entry["frontmatter"] == dict(re.findall(r"^(\w+): (.+)$", SKILL.split("---\n")[1], re.MULTILINE))
    assert (resource.name, resource.mime_type) == (entry["frontmatter"]["name"], "text/markdown")
    assert resource.description == entry["frontmatter"]["description"]
    assert read.text.startswith("---\nname: tikhub-mcp\n")
    assert "## API_KEY" not in read.text.splitlines()
    assert set(SKILL.splitlines()) - set(read.text.splitlines()) >= {"## API_KEY"}


LIKE_KEY_HEADING = ["##  API_KEY:", " ### API_KEY (yours)", "#API-KEY", "## `api_key` ##", "API_KEY\n-------"]
HEAD = "---\nname: tikhub-mcp\ndescription: of the tests\n---\n\n# Title\n\n"


@pytest.mark.parametrize(
    "section",
    [
        f"## API_KEY\n\n{CANARY}\n",
        f"## API_KEY  \n```\n{CANARY}\n```\n\n## After it\n\nkept\n",
        f"## API_KEY\n<!--\n## not a heading\n-->\n{CANARY}\n",
        f"## API_KEY\n### deeper\n{CANARY}\n## After it\nkept\n## API_KEY\n{CANARY}\n",
        f"## API_KEY\r\n{CANARY}\r\n",
        f"<!-- {CANARY} -->\n## API_KEY\n",
        f"## API_KEY\n```sh\n## the key\n{CANARY}\n```\n## After it\nkept\n",
        *(f"{like}\n{CANARY}\n## After it\nkept\n" for like in LIKE_KEY_HEADING),
    ],
)
async def test_the_section_for_the_key_is_neither_served_nor_hashed(environ: dict[str, str], section: str) -> None:
    async with Client(installed(environ, HEAD + section), mode="auto") as client:
        [read] = (await client.read_resource(URI)).contents
        entry = (await ask(client, "get", URI))["skill"]
    assert isinstance(read, TextResourceContents)
    assert read.text.startswith(HEAD.strip())
    assert CANARY not in read.text
    assert "API_KEY" not in read.text.upper()
    assert ("kept" in read.text) == ("kept" in section)
    assert entry["resources"][0]["digest"] == f"sha256:{hashlib.sha256(read.text.encode()).hexdigest()}"


@pytest.mark.both_eras
@pytest.mark.parametrize("text", [SKILL, "", "# Title\n---\n", "---\nname: without-a-description\n---\n# Title\n"])
async def test_what_there_is_nothing_of_is_not_advertised(environ: dict[str, str], era: Era, text: str) -> None:
    server, has_skill = installed(environ, text), text == SKILL
    async with Client(server, mode=era) as client:
        capabilities = client.server_capabilities
        assert capabilities.tools
        assert capabilities.prompts is None
        assert bool(capabilities.resources) == has_skill
        with pytest.raises(MCPError) as caught:
            await client.list_prompts()
        assert caught.value.error.code == METHOD_NOT_FOUND
        if has_skill:
            assert len((await client.list_resources()).resources) == 1
            return
        for asked in (client.list_resources(), ask(client, "list")):
            with pytest.raises(MCPError) as caught:
                await asked
            assert caught.value.error.code == METHOD_NOT_FOUND
