"""Downloads and batches that take long become tasks (SEP-2663), for clients that declare the extension."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tikhub_mcp.posts.answer import Json
from tikhub_mcp.tools.background import BACKGROUND, Background

logger = logging.getLogger(__name__)

TASK_AFTER_SECONDS = 3.0  # most calls end before that, and are answered as ever
MAX_TASKS = 20  # at once, with the calls that may become tasks; further calls are answered within their time limit
MAX_FINISHED = 100  # whose results are kept; the oldest goes first
RESULT_SECONDS = 900.0
POLL_MS = 2000
_COMPLETE: dict[str, Json] = {"resultType": "complete"}
_TOOLS = {"download_video", "batch_download"}
_VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)  # earlier ones have other tasks under the same names


class TaskParams(RequestParams):
    """The parameters of `tasks/get` and the other methods about one task."""

    task_id: str


@dataclass(slots=True, eq=False)
class _Task:
    """A tool call that goes on after its request was answered with a task."""

    work: asyncio.Task[HandlerResult]
    background: Background
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None

    def describe(self) -> dict[str, Json]:
        """Return the task as the protocol has it, without its result."""
        changed = self.ended or datetime.now(UTC)
        kept = (changed - self.created).total_seconds() + RESULT_SECONDS
        return {
            "taskId": self.id,
            "status": self._status(),
            "statusMessage": self._message(),
            "createdAt": self.created.isoformat(timespec="milliseconds"),
            "lastUpdatedAt": changed.isoformat(timespec="milliseconds"),
            "ttlMs": round(kept * 1000) if self.ended else None,
            "pollIntervalMs": POLL_MS,
        }

    def result(self) -> dict[str, Json]:
        """Return the result or the error of a task that has ended; nothing of another one."""
        match self._status():
            case "completed":
                reply = CallToolResult.model_validate(self.work.result())
                told = reply.model_dump(mode="json", by_alias=True, exclude_none=True)
                return {"result": {**told, "structuredContent": reply.structured_content, **_COMPLETE}}
            case "failed":
                return {"error": {"code": INTERNAL_ERROR, "message": "A bug in tikhub-mcp ended this task."}}
        return {}

    def _status(self) -> str:
        if not self.work.done():
            return "working"
        if self.work.cancelled():
            return "cancelled"
        return "failed" if self.work.exception() else "completed"

    def _message(self) -> str:
        if self.work.done():
            return self._status()
        return f"{self.background.message or 'working'}; ends with this server"


class Tasks(Extension):
    """Runs the calls of `download_video` and `batch_download`, as tasks if they take longer than TASK_AFTER_SECONDS."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._at_work: set[asyncio.Task[HandlerResult]] = set()  # all calls that are, or may become, tasks

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods about tasks."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, _VERSIONS),
            MethodBinding("tasks/update", TaskParams, self._update, _VERSIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, _VERSIONS),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer a call with its result or, if it takes long, with a task."""
        if params.name not in _TOOLS or not _knows_tasks(ctx) or len(self._at_work) >= MAX_TASKS:
            return await call_next(ctx)
        background = Background()
        work = asyncio.create_task(_run(call_next, ctx, background))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)
        try:
            await asyncio.wait([work], timeout=TASK_AFTER_SECONDS)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if work.done():
            return work.result()
        background.is_task = True
        task = _Task(work, background)
        self._tasks[task.id] = task
        work.add_done_callback(lambda _: self._end(task))
        return {**task.describe(), "resultType": "task"}

    def _end(self, task: _Task) -> None:
        task.ended = datetime.now(UTC)
        if not task.work.cancelled() and (error := task.work.exception()):
            logger.error("A bug ended a task", exc_info=error)
        finished = [other.id for other in self._tasks.values() if other.ended]
        for old in finished[:-MAX_FINISHED]:
            del self._tasks[old]
        asyncio.get_running_loop().call_later(RESULT_SECONDS, self._tasks.pop, task.id, None)

    def _find(self, params: TaskParams) -> _Task:
        task = self._tasks.get(params.task_id)
        if task is None:
            raise MCPError(
                code=INVALID_PARAMS,
                message="There is no such task. A result is kept for 15 minutes, and tasks end with the server. Call "
                "the tool again with the same arguments: nothing that was answered is paid for again.",
            )
        return task

    async def _get(self, _ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        task = self._find(params)
        task.background.keep_waiting()
        return {**task.describe(), **task.result(), **_COMPLETE}

    async def _update(self, _ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        self._find(params)  # no task here asks for input
        return {**_COMPLETE}

    async def _cancel(self, _ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        self._find(params).work.cancel()
        return {**_COMPLETE}


async def _run(call_next: CallNext, ctx: ServerRequestContext[Any, Any], background: Background) -> HandlerResult:
    BACKGROUND.set(background)  # in the context of this asyncio task alone
    return await call_next(ctx)


def _knows_tasks(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the request declares the extension, in a version of the protocol that has it."""
    declared = ctx.session.client_capabilities
    extensions = declared.extensions if declared else None
    return ctx.protocol_version in _VERSIONS and Tasks.identifier in (extensions or {})
