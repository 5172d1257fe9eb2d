"""Agents of LangChain and of the OpenAI Agents SDK, with a stand-in for the model: what the model is shown."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.frameworks import PINNED, Framework, install
from tests.support.mcp_session import KEY
from tests.support.model_stub import DONE, Model
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, link

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # the first run on a machine installs

# What a call may take: the Agents SDK's own limit, and the same for LangChain, which has none.
LIMITS: dict[str, Json] = {"langchain": {"seconds": 5}, "openai": {}}

Ask = Callable[..., list[str]]


@pytest.fixture(params=PINNED)
def framework(request: pytest.FixtureRequest) -> Framework:
    return install(request.param)


@pytest.fixture
def ask(framework: Framework, sandbox: Sandbox, home: Path) -> Ask:
    """`ask(url, …)`: what the model was shown after its calls of `download_video`, one after the other."""

    def run(*urls: str) -> list[str]:
        environment = {
            "TIKHUB_API_KEY": KEY,
            "TIKHUB_BASE_URL": sandbox.base_url,
            "TIKHUB_OUTPUT_DIR": str(home / "out"),
        }
        server = {"command": sys.executable, "args": ["-I", "-m", "tikhub_mcp"], "env": environment}
        with Model(*(("download_video", {"url": url}) for url in urls)) as model:
            told = {"model": f"{model.base_url}/v1", "server": server, "options": LIMITS[framework.name]}
            assert framework.run(told, home) == DONE
        return model.shown

    return run


def test_a_call_that_outlives_the_clients_limit_is_answered_when_it_is_repeated_and_a_failure_is_explained(
    ask: Ask, sandbox: Sandbox
) -> None:
    sandbox.media_bytes_per_second = 25_000  # the file takes 6 s
    done, refused = map(json.loads, ask(*[link("tiktok")] * 3, link("deleted"))[-2:])
    assert done["status"] == "ok"
    assert Path(done["file"]["path"]).stat().st_size == done["file"]["size_bytes"]
    assert refused["error"]["code"] == "post_unavailable"
    assert refused["error"]["message"].startswith("Do not retry:")
    assert [call.share_url for call in sandbox.calls] == [link("tiktok"), link("deleted")]
    assert len(sandbox.media_requests) == 1
