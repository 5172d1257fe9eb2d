"""The whole product in a minute: a stand-in for TikHub, the real server over stdio, a real client, three tools.

Needs neither key nor network. Every call says what is expected of it; the demo fails when something else comes.
"""

import asyncio
import csv
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tikhub_mcp.sandbox import Sandbox, link, short_link

Reply = Mapping[str, Any]

SHARE_TEXT = f"3.28 复制打开抖音，看看【纸风筝】的作品 {short_link('douyin')} kWq:/ 05/17"
BATCH = (
    (link("tiktok"), "ok", "a TikTok video"),
    (link("douyin"), "ok", "a Douyin video, already there from the first call"),
    (link("photos"), "not_a_video", "a photo post: metrics, and no music saved as a video"),
    (link("private"), "post_unavailable", "a private post"),
    (link("tiktok"), "ok", "the first link once more: nothing paid, nothing fetched"),
)
SHOWN_COLUMNS = ("aweme_id", "author_nickname", "digg_count", "play_count", "video_duration_ms", "parse_ok", "error")


@dataclass
class Account:
    """What the demo found, step by step."""

    console: Console
    wrong: list[str] = field(default_factory=list)

    def check(self, what: str, expected: object, got: object) -> None:
        """Note it when something is not as it should be."""
        if expected != got:
            self.wrong.append(f"{what}: expected {expected!r}, got {got!r}")


def run(folder: Path | None = None, console: Console | None = None) -> int:
    """Show it all; the process's exit code: 0 when everything was as it should be, else 1."""
    folder = folder or Path(tempfile.mkdtemp(prefix="tikhub-mcp-demo-"))
    account = Account(console or Console(soft_wrap=True))
    with Sandbox(latency=0.3) as sandbox:
        asyncio.run(_show(account, sandbox, folder))
    say = account.console.print
    if account.wrong:
        say("\n[red]Not as it should be:[/]", *(f"\n  {escape(wrong)}" for wrong in account.wrong))
        return 1
    say(f"\n[green]Everything as it should be.[/] The files are in {escape(str(folder))}")
    say("Next: put your TikHub API key into your client's settings, as the README says.")
    return 0


async def _show(account: Account, sandbox: Sandbox, folder: Path) -> None:
    say = account.console.print
    environment = {
        "TIKHUB_API_KEY": "demo-key-of-the-sandbox",
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(folder),
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tikhub_mcp"], env=environment, cwd=folder.anchor
    )
    say(f"[bold]1.[/] A stand-in for TikHub runs at {sandbox.base_url}; the server starts over stdio …")
    async with Client(server) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        say(f"   protocol {client.protocol_version}, tools: {', '.join(tools)}")
        account.check("the tools", ["download_video", "batch_download", "summarize_raw"], tools)
        await _one(account, client)
        await _many(account, client)
        await _table(account, client)
    account.check("paid API calls", 4, sum(call.status == 200 for call in sandbox.calls))


async def _one(account: Account, client: Client) -> None:
    account.console.print(f"\n[bold]2. download_video[/] with share text, as it is pasted:\n   {SHARE_TEXT}")
    reply = await _call(account, client, "download_video", {"url": SHARE_TEXT})
    account.check("download_video", "ok", reply["status"])
    file, metrics = reply["file"] or {}, reply["metrics"] or {}
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 3))
    table.add_row("video", str(file.get("path")))
    measured = "{codec}, {width}x{height}, {duration_ms} ms, sound: {has_audio}, {size_bytes:,} bytes"
    table.add_row("measured", measured.format_map(file) if file else "–")
    table.add_row("raw answer", str(reply["raw_json_path"]))
    for name in ("author", "likes", "comments", "shares", "plays", "saves"):
        value = metrics.get(name)
        table.add_row(name, f"{value}" if value is not None else f"null: {metrics.get('notes', {}).get(name)}")
    account.console.print(table)
    account.check("the video's file", True, bool(file) and Path(file["path"]).stat().st_size == file["size_bytes"])


async def _many(account: Account, client: Client) -> None:
    account.console.print(f"\n[bold]3. batch_download[/] with {len(BATCH)} links")
    reply = await _call(account, client, "batch_download", {"urls": [url for url, *_ in BATCH]})
    table = Table("status", "likes", "what it was", "file or error", box=None, padding=(0, 1, 0, 3), header_style="dim")
    for (_, expected, what), item in zip(BATCH, reply["results"], strict=True):
        code = item["error"]["code"] if item["error"] else item["status"]
        account.check(what, expected, code)
        name = Path(item["path"]).name if item["path"] else code
        likes = item["metrics"]["likes"] if item["metrics"] else "–"
        table.add_row(item["status"], str(likes), what, name)
    account.console.print(table)
    account.console.print(
        f"   {reply['status']}: {reply['succeeded']} succeeded, {reply['failed']} failed as they should; "
        f"{reply['cost']['api_calls']} paid API calls"
    )
    account.check("the batch's paid calls", 3, reply["cost"]["api_calls"])


async def _table(account: Account, client: Client) -> None:
    account.console.print("\n[bold]4. summarize_raw[/] of everything that was saved")
    reply = await _call(account, client, "summarize_raw", {})
    account.check("summarize_raw", ("ok", 4, 1), (reply["status"], reply["rows"], reply["broken"]))
    with Path(reply["csv_path"]).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    table = Table(*SHOWN_COLUMNS, box=None, padding=(0, 1, 0, 3), header_style="dim")
    for row in rows[:5]:
        table.add_row(*(escape(row[column][:40]) for column in SHOWN_COLUMNS))
    account.console.print(table)
    account.console.print(f"   {reply['csv_path']}\n   {reply['json_path']}")


async def _call(account: Account, client: Client, tool: str, arguments: dict[str, Any]) -> Reply:
    columns = (TextColumn("   {task.description}"), BarColumn(), TextColumn("{task.fields[message]}"))
    with Progress(*columns, console=account.console, transient=True) as bar:
        task = bar.add_task(tool, total=None, message="")

        async def progress(done: float, total: float | None, message: str | None) -> None:
            bar.update(task, completed=done, total=total, message=message or "")

        result = await client.call_tool(tool, arguments, progress_callback=progress)
    return result.structured_content or {}
