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

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.sandbox import Sandbox, link, short_link

Reply = Mapping[str, Any]

SHARE_TEXT = f"3.28 复制打开抖音，看看【夜航星】的作品 {short_link('douyin')} kWq:/ 05/17"
BATCH = (
    (link("tiktok"), "ok", "a TikTok video"),
    (link("douyin"), "ok", "a Douyin video, already there from the first call"),
    (link("photos"), "not_a_video", "a photo post: metrics, and no music saved as a video"),
    (link("private"), "post_unavailable", "a private post"),
    (link("tiktok"), "ok", "the first link once more: nothing paid, nothing fetched"),
)
SHOWN_COLUMNS = ("aweme_id", "author_nickname", "digg_count", "play_count", "parse_ok")


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
    if (folder / "raw").exists():  # its answers would be used again, and the demo's sums would not come out
        raise InvalidInput(f"{folder} holds earlier files. Name a new folder, or none.")
    account = Account(console or Console(soft_wrap=True, highlight=False))
    with Sandbox(latency=0.5, media_latency=0.6) as sandbox:
        asyncio.run(_show(account, sandbox, folder))
    say = account.console.print
    if account.wrong:
        say("\n[red]Not as it should be:[/]", *(f"\n  {escape(wrong)}" for wrong in account.wrong))
        return 1
    say(f"\n[green]Everything as it should be.[/] The files are in {escape(str(folder))}; delete them as you like.")
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
    say = account.console.print
    say(f"\n[bold]2. download_video[/] with share text, as people paste it:\n   {SHARE_TEXT}")
    reply = await _call(account, client, "download_video", {"url": SHARE_TEXT})
    account.check("download_video", "ok", reply["status"])
    file, metrics = reply["file"], reply["metrics"]
    if file is None or metrics is None:
        return
    say(f"   video       {escape(file['path'])}")
    say("   measured    {codec}, {width}x{height}, {duration_ms} ms, {size_bytes} bytes".format_map(file))
    say(f"   raw answer  {escape(reply['raw_json_path'])}")
    values = {name: metrics[name] for name in ("likes", "comments", "shares", "saves", "plays")}
    say("   metrics     " + ", ".join(f"{name} {'null' if value is None else value}" for name, value in values.items()))
    for name, reason in metrics["notes"].items():
        say(f"               {name}: {reason}")
    account.check("the size of the video's file", file["size_bytes"], _size(file["path"]))
    account.check("plays on Douyin", None, metrics["plays"])


async def _many(account: Account, client: Client) -> None:
    say = account.console.print
    say(f"\n[bold]3. batch_download[/] with {len(BATCH)} links")
    reply = await _call(account, client, "batch_download", {"urls": [url for url, *_ in BATCH]})
    for (_, expected, what), item in zip(BATCH, reply["results"], strict=True):
        outcome = item["error"]["code"] if item["error"] else item["status"]
        account.check(what, expected, outcome)
        likes = f", {item['metrics']['likes']} likes" if item["metrics"] else ""
        say(f"   {item['status']:<7} {what}: {Path(item['path']).name if item['path'] else outcome}{likes}")
    say(
        f"   {reply['status']}: {reply['succeeded']} succeeded, {reply['failed']} failed as they should; "
        f"{reply['cost']['api_calls']} paid API calls"
    )
    account.check("the batch's paid calls", 3, reply["cost"]["api_calls"])


async def _table(account: Account, client: Client) -> None:
    say = account.console.print
    say("\n[bold]4. summarize_raw[/] of everything that was saved")
    reply = await _call(account, client, "summarize_raw", {})
    account.check("summarize_raw", ("ok", 4, 1), (reply["status"], reply["rows"], reply["broken"]))
    table = Table("  " + SHOWN_COLUMNS[0], *SHOWN_COLUMNS[1:], box=None, padding=(0, 1), header_style="dim")
    table.columns[0].min_width = 22  # the ids' 19 digits and the indent
    for row in _rows(reply["csv_path"])[:5]:
        table.add_row("  " + row["aweme_id"], *(escape(row[column]) for column in SHOWN_COLUMNS[1:]))
    say(table)
    say(f"   {reply['rows']} rows; {reply['broken']} is the private post, whose column `error` says so")
    say(f"   {escape(reply['csv_path'])}\n   {escape(reply['json_path'])}")


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def _call(account: Account, client: Client, tool: str, arguments: dict[str, Any]) -> Reply:
    told: list[str] = []
    columns = (TextColumn("   {task.description}"), BarColumn(), TextColumn("{task.fields[message]}"))
    with Progress(*columns, console=account.console, transient=True) as bar:
        task = bar.add_task(tool, total=None, message="")

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            told.append(message or "")
            bar.update(task, completed=progress, total=total, message=told[-1])

        result = await client.call_tool(tool, arguments, progress_callback=progress)
    if told:
        account.console.print(f"   progress    {', '.join(told)}")
    return result.structured_content or {}
