"""`tikhub-mcp demo`: the real server over stdio, with a real MCP client, against the sandbox.

Calls the tools, prints their replies and checks some values. Needs neither an API key nor a network.
"""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from tikhub_mcp import isolation
from tikhub_mcp.cli.output import print_at_once, print_batch, print_video
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.messages import said

BATCH = {"tiktok": "ok", "douyin": "ok", "private": "post_unavailable"}  # post of the sandbox → expected outcome
PREFIX = "tikhub-mcp-demo-"
Checks = dict[str, tuple[object, object]]  # values by name, each after the expected one
UNFINISHED_SECONDS = 3600.0  # after this time a folder without a summary is that of a run that was killed


def run(folder: Path | None = None) -> int:
    """Run the demo, and print its steps on standard output.

    Args:
        folder: Where files go; it must hold no raw answers. Defaults to a new temporary folder, which replaces that of
            an earlier run.

    Returns:
        The exit code of the process: 0 if every checked value was the expected one, else 1.

    Raises:
        InvalidInput: The folder holds raw answers already.
    """
    target = folder or _new_folder()
    if (target / "raw").exists():  # stored answers would be used again, and fewer calls paid for than expected
        message = said("{} holds earlier files. Name a new folder.", "{} 里有以前的文件。请换一个新文件夹。")
        raise InvalidInput(message.format(target))
    _say("Starting a stand-in for TikHub …", "正在启动 TikHub 的替身…")
    try:
        checks = asyncio.run(_steps(target))
    except BaseException as error:
        if folder is None:
            shutil.rmtree(target, ignore_errors=True)
        # The client's task groups wrap what is raised inside them.
        if isinstance(error, BaseExceptionGroup) and error.subgroup(BrokenPipeError):
            raise BrokenPipeError from None
        raise
    wrong = {what: values for what, values in checks.items() if values[0] != values[1]}
    for what, (expected, value) in wrong.items():
        _say(f"WRONG: {what}: expected {expected}, got {value}", f"不符：{what}：应为 {expected}，实为 {value}")
    if not wrong:
        _say("\nEverything as it should be.", "\n一切正常。")
    _say(f"The files are in {target}; delete them as you like.", f"文件在 {target}，可随意删除。")
    _say("Next: `tikhub-mcp install claude-desktop`.", "下一步：`tikhub-mcp install claude-desktop`。")
    return int(bool(wrong))


async def _steps(folder: Path) -> Checks:
    """Call the tools, print their replies, and return the values to check."""
    from mcp.client import Client  # these imports take a second, before which something should be on the screen
    from mcp.client.stdio import StdioServerParameters

    from tikhub_mcp.sandbox import Sandbox, link, short_link
    from tikhub_mcp.summary.extras import is_installed
    from tikhub_mcp.tools.schemas import BatchReply, SummaryReply, VideoReply

    with Sandbox() as sandbox:
        _say(f"It runs at {sandbox.base_url}. Starting the server …", f"运行在 {sandbox.base_url}。正在启动服务器…")
        command, *args = isolation.isolated_server_command()
        env = {"TIKHUB_API_KEY": "demo-key-of-the-sandbox", "TIKHUB_BASE_URL": sandbox.base_url}
        env["TIKHUB_OUTPUT_DIR"] = str(folder)
        server = StdioServerParameters(command=command, args=args, env=env, cwd=isolation.PACKAGE_FOLDER)
        async with Client(server) as client:

            async def call(tool: str, **arguments: object) -> dict[str, Any]:
                return (await client.call_tool(tool, arguments)).structured_content or {}

            text = f"复制打开抖音，看看【夜航星】的作品 {short_link('douyin')} kWq:/ 05/17"
            _say(f"\n1. download_video: {text}", f"\n1. download_video：{text}")
            one = VideoReply.model_validate(await call("download_video", url=text))
            print_video(one)
            _say("\n2. The same call again", "\n2. 同样的调用再来一次")
            again = VideoReply.model_validate(await call("download_video", url=text))
            _say(f"paid API calls: {again.cost.api_calls}", f"付费 API 调用：{again.cost.api_calls}")
            _say("\n3. batch_download, with a private post", "\n3. batch_download，其中一个作品是私密的")
            batch = BatchReply.model_validate(await call("batch_download", urls=[link(name) for name in BATCH]))
            print_batch(batch)
            page = ["html"] if is_installed("report") else []
            _say("\n4. summarize_raw", "\n4. summarize_raw")
            table = SummaryReply.model_validate(await call("summarize_raw", formats=["csv", "json", *page]))
        _say(f"{table.rows} rows, {table.broken} without a post", f"{table.rows} 行，{table.broken} 行没有作品")
        for path in (table.csv_path, table.json_path, table.html_path or "html: the extra `report` is not installed"):
            print_at_once(str(path))
        return {
            "status": ("ok", one.status),
            "size of the video": (one.file and _size(one.file.path), one.file and one.file.size_bytes),
            "API calls for the same again": (0, again.cost.api_calls),
            "batch": ([*BATCH.values()], [item.error.code if item.error else item.status for item in batch.results]),
            "rows, and those without a post": ((3, 1), (table.rows, table.broken)),
            "page": (bool(page), table.html_path is not None),
            "API calls": (3, sum(call.status == 200 for call in sandbox.calls)),
        }


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _new_folder() -> Path:
    """Create a temporary folder, and remove those that earlier runs of this user have left."""
    new = Path(tempfile.mkdtemp(prefix=PREFIX))
    for other in new.parent.glob(f"{PREFIX}*"):
        # Not Path.is_file, which may raise: other users' folders may be there.
        finished = os.path.isfile(other / "reports" / "tikhub_videos_summary.json")  # noqa: PTH113
        if other != new and (finished or other.lstat().st_mtime < time.time() - UNFINISHED_SECONDS):
            shutil.rmtree(other, ignore_errors=True)
    return new


def _say(english: str, in_chinese: str) -> None:
    print_at_once(said(english, in_chinese))
