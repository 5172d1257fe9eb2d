"""`tikhub-mcp demo`: the real server over stdio, with a real MCP client, against the sandbox.

Calls all three tools. Needs neither an API key nor a network. The demo compares every reply with the expected values
and fails if one differs.
"""

import asyncio
import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from rich.cells import set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tikhub_mcp import isolation
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.messages import said
from tikhub_mcp.sandbox import Sandbox, link, short_link

ToolResult = Mapping[str, Any]

SHARE_TEXT = f"3.28 复制打开抖音，看看【夜航星】的作品 {short_link('douyin')} kWq:/ 05/17"
BATCH = (  # link, expected outcome, description in English and Chinese
    (link("tiktok"), "ok", "a TikTok video", "TikTok 视频"),
    (link("douyin"), "ok", "a Douyin video, already there from the first call", "抖音视频，第一次调用时已下载"),
    (
        link("photos"),
        "not_a_video",
        "a photo post: metrics, and no music saved as a video",
        "图文：有数据，不把音乐存成视频",
    ),
    (link("private"), "post_unavailable", "a private post", "私密作品"),
    (
        link("tiktok"),
        "ok",
        "the first link once more: nothing paid, nothing fetched",
        "重复的第一个链接：不付费，不下载",
    ),
)
SHOWN_COLUMNS = ("aweme_id", "author_nickname", "digg_count", "play_count", "parse_ok")


@dataclass
class DemoReport:
    """The results of the demo.

    Attributes:
        console: Where the steps are printed.
        wrong: One message for each value that differs from the expected one.
    """

    console: Console
    wrong: list[str] = field(default_factory=list)

    def check(self, what: str, expected: object, got: object) -> None:
        """Record a message in `wrong` if the value is not the expected one."""
        if expected != got:
            self.wrong.append(
                said(f"{what}: expected {expected!r}, got {got!r}", f"{what}：应为 {expected!r}，实为 {got!r}")
            )


def run(folder: Path | None = None, console: Console | None = None) -> int:
    """Run the demo.

    Args:
        folder: Where files go; it must hold no raw answers. Defaults to a new temporary folder.
        console: Where the steps are printed. Defaults to standard output.

    Returns:
        The exit code of the process: 0 if every value was the expected one, else 1.

    Raises:
        InvalidInput: The folder holds raw answers already.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="tikhub-mcp-demo-"))
    if (
        folder / "raw"
    ).exists():  # stored answers would be reused, and the expected numbers of paid calls would be wrong
        raise InvalidInput(
            said(
                f"{folder} holds earlier files. Name a new folder, or none.",
                f"{folder} 里有以前的文件。请换一个新文件夹，或不指定。",
            )
        )
    report = DemoReport(console or Console(soft_wrap=True, highlight=False))
    with Sandbox(latency=0.5, media_latency=0.6) as sandbox:
        asyncio.run(_show(report, sandbox, folder))
    say = report.console.print
    if report.wrong:
        say(
            said("\n[red]Not as it should be:[/]", "\n[red]与预期不符：[/]"),
            *(f"\n  {escape(wrong)}" for wrong in report.wrong),
        )
        return 1
    where = escape(str(folder))
    say(
        said(
            f"\n[green]Everything as it should be.[/] The files are in {where}; delete them as you like.",
            f"\n[green]一切正常。[/]文件在 {where}，可随意删除。",
        )
    )
    say(
        said(
            "Next: `tikhub-mcp install claude-desktop` (or claude-code, cursor, vscode), and your TikHub API key.",
            "下一步：`tikhub-mcp install claude-desktop`（或 claude-code、cursor、vscode），再填入 TikHub API 密钥。",
        )
    )
    return 0


async def _show(report: DemoReport, sandbox: Sandbox, folder: Path) -> None:
    say = report.console.print
    environment = {
        "TIKHUB_API_KEY": "demo-key-of-the-sandbox",
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(folder),
    }
    command, *args = isolation.isolated_server_command()
    server = StdioServerParameters(command=command, args=args, env=environment, cwd=isolation.PACKAGE_FOLDER)
    say(
        said(
            f"[bold]1.[/] A stand-in for TikHub runs at {sandbox.base_url}; the server starts over stdio …",
            f"[bold]1.[/] TikHub 的替身运行在 {sandbox.base_url}；服务器通过 stdio 启动…",
        )
    )
    async with Client(server) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        names = ", ".join(tools)
        version = client.protocol_version
        say(said(f"   protocol {version}, tools: {names}", f"   协议 {version}，工具：{names}"))
        report.check(said("the tools", "工具"), ["download_video", "batch_download", "summarize_raw"], tools)
        await _one(report, client)
        await _many(report, client)
        await _table(report, client)
    report.check(said("paid API calls", "付费 API 调用"), 4, sum(call.status == 200 for call in sandbox.calls))


async def _one(report: DemoReport, client: Client) -> None:
    say = report.console.print
    form = said(" with share text, as people paste it:", "，直接粘贴分享文本：")
    say(f"\n[bold]2. download_video[/]{form}\n   {SHARE_TEXT}")
    reply = await _call(report, client, "download_video", {"url": SHARE_TEXT})
    report.check("download_video", "ok", reply["status"])
    file, metrics = reply["file"], reply["metrics"]
    if file is None or metrics is None:
        return
    say(f"   {_label('video', '视频')}{escape(file['path'])}")
    measured = "{codec}, {width}x{height}, {duration_ms} ms, {size_bytes} bytes".format_map(file)
    say(f"   {_label('measured', '实测')}{measured}")
    say(f"   {_label('raw answer', '原始数据')}{escape(reply['raw_json_path'])}")
    values = {name: metrics[name] for name in ("likes", "comments", "shares", "saves", "plays")}
    shown = ", ".join(f"{name} {'null' if value is None else value}" for name, value in values.items())
    say(f"   {_label('metrics', '数据')}{shown}")
    for name, reason in metrics["notes"].items():
        say(f"               {name}: {reason}")
    report.check(said("the size of the video's file", "视频文件的大小"), file["size_bytes"], _size(file["path"]))
    report.check(said("plays on Douyin", "抖音的播放量"), None, metrics["plays"])


async def _many(report: DemoReport, client: Client) -> None:
    say = report.console.print
    say("\n[bold]3. batch_download[/]" + said(f" with {len(BATCH)} links", f"，{len(BATCH)} 个链接"))
    reply = await _call(report, client, "batch_download", {"urls": [url for url, *_ in BATCH]})
    for (_, expected, english, chinese), item in zip(BATCH, reply["results"], strict=True):
        what = said(english, chinese)
        outcome = item["error"]["code"] if item["error"] else item["status"]
        report.check(what, expected, outcome)
        count = item["metrics"]["likes"] if item["metrics"] else None
        likes = "" if count is None else said(f", {count} likes", f"，{count} 个赞")
        result = Path(item["path"]).name if item["path"] else outcome
        say(f"   {item['status']:<7} {what}{said(': ', '：')}{result}{likes}")
    done, failed, calls = reply["succeeded"], reply["failed"], reply["cost"]["api_calls"]
    say(
        said(
            f"   {reply['status']}: {done} succeeded, {failed} failed as they should; {calls} paid API calls",
            f"   {reply['status']}：{done} 个成功，{failed} 个如预期失败；{calls} 次付费 API 调用",
        )
    )
    report.check(said("the batch's paid calls", "批量下载的付费调用"), 3, reply["cost"]["api_calls"])


async def _table(report: DemoReport, client: Client) -> None:
    say = report.console.print
    say("\n[bold]4. summarize_raw[/]" + said(" of everything that was saved", "，汇总所有已保存的数据"))
    reply = await _call(report, client, "summarize_raw", {})
    report.check("summarize_raw", ("ok", 4, 1), (reply["status"], reply["rows"], reply["broken"]))
    table = Table("  " + SHOWN_COLUMNS[0], *SHOWN_COLUMNS[1:], box=None, padding=(0, 1), header_style="dim")
    table.columns[0].min_width = 22  # 19 digits of an id, and the indentation
    for row in _rows(reply["csv_path"])[:5]:
        table.add_row("  " + row["aweme_id"], *(escape(row[column]) for column in SHOWN_COLUMNS[1:]))
    say(table)
    rows, broken = reply["rows"], reply["broken"]
    say(
        said(
            f"   {rows} rows; {broken} is the private post, whose column `error` says so",
            f"   {rows} 行；其中 {broken} 行是私密作品，`error` 列说明了原因",
        )
    )
    say(f"   {escape(reply['csv_path'])}\n   {escape(reply['json_path'])}")


def _label(english: str, chinese: str) -> str:
    return set_cell_size(said(english, chinese), 12)


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def _call(report: DemoReport, client: Client, tool: str, arguments: dict[str, Any]) -> ToolResult:
    received: list[str] = []
    columns = (TextColumn("   {task.description}"), BarColumn(), TextColumn("{task.fields[message]}"))
    with Progress(*columns, console=report.console, transient=True) as bar:
        task = bar.add_task(tool, total=None, message="")

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            received.append(message or "")
            bar.update(task, completed=progress, total=total, message=received[-1])

        result = await client.call_tool(tool, arguments, progress_callback=progress)
    if received:
        report.console.print(f"   {_label('progress', '进度')}{', '.join(received)}")
    return result.structured_content or {}
