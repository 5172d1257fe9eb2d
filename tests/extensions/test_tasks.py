"""Tasks of SEP-2663, asked for by the SDK's client: what becomes one, and what happens to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from mcp.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    Request,
    RequestParams,
    Result,
)
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import ConfigDict, TypeAdapter

from tests.support.mcp_session import checked, until
from tikhub_mcp.extensions import tasks
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.server import Server
from tikhub_mcp.tools import background
from tikhub_mcp.tools.handlers import Tools

pytestmark = pytest.mark.anyio

SOME_SECONDS = 100_000  # bytes a second: a file takes 1.6 s


class Created(Result):
    """A task in place of a reply."""

    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"]
    task_id: str


class KnowsTasks(ClientExtension):
    """A client that declares the extension."""

    identifier = tasks.Tasks.identifier

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(_created: Created, _context: ClaimContext) -> CallToolResult:
            raise AssertionError("the tests poll themselves")

        return [ResultClaim(result_type="task", model=Created, resolve=resolve)]


class _Params(RequestParams):
    task_id: str


class TaskRequest(Request[_Params, str]):
    """A request about one task."""

    method: str
    params: _Params


class TaskDesk:
    """A client that knows tasks, and what it asks."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Json) -> CallToolResult | Created:
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True)
        assert isinstance(result, CallToolResult | Created)
        return result

    async def begin(self, tool: str, **arguments: Json) -> str:
        """Call a tool; the id of the task that it became."""
        created = await self.call(tool, **arguments)
        assert isinstance(created, Created)
        return created.task_id

    async def ask(self, method: str, task: str) -> Json:
        request = TaskRequest(method=f"tasks/{method}", params=_Params(task_id=task))
        answer: Json = await self.client.session.send_request(request, TypeAdapter(dict[str, Any]))
        assert answer["resultType"] == "complete"
        return answer

    async def ended(self, task: str) -> Json:
        while (told := await self.ask("get", task))["status"] == "working":
            assert "result" not in told
            await asyncio.sleep(0.05)
        return told


def files(root: Path, pattern: str) -> list[str]:
    return [str(path) for path in root.rglob(pattern)]


@pytest.fixture
def server(environ: dict[str, str]) -> Server:
    return Server(Tools(environ))


@pytest.fixture
async def patient(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TaskDesk]:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.3)
    async with Client(server, mode="auto", extensions=[KnowsTasks()]) as client:
        yield TaskDesk(client)


async def test_a_call_that_ends_soon_is_answered_as_ever(patient: TaskDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 30.0)
    result = await patient.call("download_video", url=link("tiktok"))
    assert isinstance(result, CallToolResult)
    assert checked("download_video", result)["status"] == "ok"


async def test_a_call_that_takes_long_is_a_task_whose_result_is_the_reply_without_a_time_limit(
    patient: TaskDesk, sandbox: Sandbox, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environ["TIKHUB_CALL_SECONDS"] = "1"
    monkeypatch.setattr(background, "POLLED_WITHIN_SECONDS", 1.5)
    sandbox.media_bytes_per_second = SOME_SECONDS
    links = good_links(3)
    task = await patient.begin("batch_download", urls=[*links, "https://example.org/"], max_workers=1)
    assert len(task) >= 32
    told = await patient.ask("get", task)
    assert told["status"] == "working"
    assert told["ttlMs"] is None
    assert told["statusMessage"].endswith("; ends with this server")
    messages = set()
    while (told := await patient.ask("get", task))["status"] == "working":
        messages.add(told["statusMessage"])
        await asyncio.sleep(0.05)
    assert "2 of 3 done; ends with this server" in messages
    assert told["status"] == told["statusMessage"] == "completed"
    assert told["ttlMs"] >= tasks.RESULT_SECONDS * 1000
    assert told["result"]["resultType"] == "complete"
    [block] = told["result"]["content"]
    assert block.keys() == {"type", "text"}  # clients on the TypeScript SDK refuse a null there
    reply = checked("batch_download", CallToolResult.model_validate(told["result"]))
    assert reply.statuses == ["ok", "ok", "ok", "failed"]
    assert (await patient.ask("get", task))["result"] == told["result"]
    await patient.ask("cancel", task)  # too late, and no error
    assert (await patient.ask("get", task))["status"] == "completed"
    assert len(sandbox.calls) == 3


async def test_a_failure_is_a_completed_task_and_the_message_counts_it(patient: TaskDesk, sandbox: Sandbox) -> None:
    sandbox.media_bytes_per_second = SOME_SECONDS
    task = await patient.begin("batch_download", urls=[link("deleted"), *good_links(2)], max_workers=1)
    messages = {told["statusMessage"] async for told in polled(patient, task)}
    assert any(message.startswith("1 of 3 done, 1 failed;") for message in messages)
    assert (await patient.ask("get", task))["result"]["structuredContent"]["failed"] == 1


async def polled(desk: TaskDesk, task: str) -> AsyncIterator[Json]:
    while (told := await desk.ask("get", task))["status"] == "working":
        yield told
        await asyncio.sleep(0.05)


async def test_who_does_not_declare_the_extension_gets_pending_from_the_same_server(
    patient: TaskDesk, server: Server, sandbox: Sandbox, environ: dict[str, str]
) -> None:
    environ["TIKHUB_CALL_SECONDS"] = "1"
    sandbox.media_bytes_per_second = SOME_SECONDS
    task = await patient.begin("download_video", url=link("tiktok"))
    async with Client(server, mode="auto") as other:
        reply = checked("download_video", await other.call_tool("download_video", {"url": link("tiktok")}))
        assert reply["status"] == "pending"
    assert (await patient.ended(task))["status"] == "completed"
    assert len(sandbox.calls) == 1


async def test_the_older_protocol_has_no_such_tasks(
    server: Server, sandbox: Sandbox, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.0)
    async with Client(server, mode="legacy", extensions=[KnowsTasks()]) as client:
        result = await client.session.call_tool("download_video", {"url": link("tiktok")}, allow_claimed=True)
        assert isinstance(result, CallToolResult)
        with pytest.raises(MCPError):
            await TaskDesk(client).ask("get", "x")


async def test_a_cancelled_task_ends_what_only_it_waits_for(
    patient: TaskDesk, server: Server, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.media_bytes_per_second = SOME_SECONDS
    shared, alone = good_links(2)
    task = await patient.begin("batch_download", urls=[shared, alone])
    waiting = asyncio.create_task(patient.begin("download_video", url=shared))
    await asyncio.sleep(0.1)
    await patient.ask("cancel", task)
    told = await patient.ended(task)
    assert told["status"] == told["statusMessage"] == "cancelled"
    assert "result" not in told
    reply = (await patient.ended(await waiting))["result"]["structuredContent"]
    assert reply["status"] == "ok"
    await until(lambda: not files(tmp_path, "*.part"))
    assert files(tmp_path, "*.mp4") == [reply["file"]["path"]]
    assert len(sandbox.calls) == 2


@pytest.mark.parametrize("method", ["get", "update", "cancel"])
async def test_an_unknown_task_is_an_error_that_says_how_to_go_on(patient: TaskDesk, method: str) -> None:
    with pytest.raises(MCPError, match="Call the tool again with the same arguments") as caught:
        await patient.ask(method, "no-such-task")
    assert caught.value.error.code == INVALID_PARAMS


async def test_of_too_many_at_once_the_others_are_answered_within_their_time_limit(
    patient: TaskDesk, sandbox: Sandbox, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_TASKS", 1)
    environ["TIKHUB_CALL_SECONDS"] = "1"
    sandbox.media_bytes_per_second = SOME_SECONDS
    created, result = await asyncio.gather(*(patient.call("download_video", url=url) for url in good_links(2)))
    assert isinstance(created, Created)
    assert isinstance(result, CallToolResult)
    assert checked("download_video", result)["status"] == "pending"
    await patient.ended(created.task_id)
    assert await patient.begin("download_video", url=good_links(3)[2])


async def test_nothing_more_is_paid_for_a_task_that_no_client_asks_about(
    patient: TaskDesk, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "POLLED_WITHIN_SECONDS", 1.0)
    sandbox.media_bytes_per_second = SOME_SECONDS
    task = await patient.begin("batch_download", urls=good_links(2), max_workers=1)
    await until(lambda: files(tmp_path, "*.mp4"))
    told = await patient.ended(task)
    assert told["result"]["structuredContent"]["pending"] == 2
    assert len(sandbox.calls) == 1
    again = (await patient.ended(await patient.begin("batch_download", urls=good_links(2))))["result"]
    assert again["structuredContent"]["succeeded"] == 2
    assert len(sandbox.calls) == 2


async def test_results_are_kept_for_some_time_and_not_without_number(
    patient: TaskDesk, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_FINISHED", 1)
    sandbox.media_bytes_per_second = SOME_SECONDS
    first, second = [await patient.begin("download_video", url=url) for url in good_links(2)]
    await patient.ended(first)
    monkeypatch.setattr(tasks, "RESULT_SECONDS", 0.3)
    await patient.ended(second)
    with pytest.raises(MCPError):
        await patient.ask("get", first)
    await asyncio.sleep(0.6)
    with pytest.raises(MCPError):
        await patient.ask("get", second)


async def test_progress_is_told_until_the_call_is_a_task(
    patient: TaskDesk, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 1.0)
    sandbox.media_bytes_per_second = SOME_SECONDS
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    session = patient.client.session
    created = await session.call_tool(
        "download_video", {"url": link("tiktok")}, progress_callback=hear, allow_claimed=True
    )
    assert isinstance(created, Created)
    before = list(heard)
    assert before
    await patient.ended(created.task_id)
    assert heard == before


async def test_a_call_that_is_cancelled_before_it_is_a_task_ends(
    patient: TaskDesk, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 30.0)
    sandbox.media_bytes_per_second = SOME_SECONDS
    call = asyncio.create_task(patient.call("download_video", url=link("tiktok")))
    await until(lambda: files(tmp_path, "videos/*.part"))
    call.cancel()
    await until(lambda: not files(tmp_path, "videos/*.part"))
    assert not files(tmp_path, "*.mp4")


async def test_a_call_that_the_protocol_refuses_after_all_is_a_failed_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(_ctx: object) -> HandlerResult:
        await asyncio.sleep(0.1)
        raise MCPError(code=INVALID_PARAMS, message="of the SDK")

    monkeypatch.setattr(tasks, "TASK_AFTER_SECONDS", 0.0)
    extension = tasks.Tasks()
    capabilities = ClientCapabilities(extensions={tasks.Tasks.identifier: {}})
    session = SimpleNamespace(client_capabilities=capabilities)
    ctx: Any = SimpleNamespace(session=session, protocol_version=LATEST_MODERN_VERSION)
    params = CallToolRequestParams(name="download_video", arguments={})
    created: Any = await extension.intercept_tool_call(params, ctx, refused)
    await asyncio.sleep(0.2)
    told: Any = await extension._get(ctx, tasks.TaskParams(task_id=created["taskId"]))
    assert told["status"] == "failed"
    assert told["error"] == {"code": INTERNAL_ERROR, "message": "A bug in tikhub-mcp ended this task."}
    assert "of the SDK" in caplog.text
