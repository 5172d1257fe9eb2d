"""`tikhub-mcp demo`: the real server over stdio, with a real MCP client, against the sandbox.

Calls the tools, prints their replies and checks some values. Needs neither an API key nor a network.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tikhub_mcp import isolation
from tikhub_mcp.cli.output import print_at_once, print_batch, print_video
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.messages import translate
from tikhub_mcp.settings.environment import process_environment
from tikhub_mcp.settings.program import shell_command

# post of the sandbox → expected outcome
BATCH = {"tiktok": "ok", "photos": "ok", "douyin": "ok", "private": "post_unavailable"}
PICTURES = 9  # of the post "photos"
PREFIX = "tikhub-mcp-demo-"
Checks = dict[str, tuple[object, object]]  # values by the name of a message, each after the expected one
QUIET_SECONDS = 2.0  # without a line, after which one says that the demo goes on
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
        raise InvalidInput(translate("demo.folder_in_use", folder=target))
    with _talking() as say, ExitStack() as unfinished:
        say(translate("demo.begin"))
        if folder is None:
            unfinished.callback(shutil.rmtree, target, ignore_errors=True)
        try:
            page, checks = asyncio.run(_steps(target, say))
        except BaseExceptionGroup as group:  # the client's task groups wrap what is raised inside them
            if group.subgroup(BrokenPipeError):
                raise BrokenPipeError from None
            raise
        unfinished.pop_all()
    wrong = {what: values for what, values in checks.items() if values[0] != values[1]}
    for what, (expected, value) in wrong.items():
        print_at_once(translate("demo.differs", what=translate(f"demo_check.{what}"), expected=expected, got=value))
    if not wrong:
        print_at_once(translate("demo.right"))
    print_at_once(translate("demo.files", folder=target))
    print_at_once(translate("demo.next", install=shell_command("install", "claude-desktop")))
    if page and _has_desktop(process_environment()):
        webbrowser.open(page.as_uri())
    return int(bool(wrong))


@contextmanager
def _talking() -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line; where it is silent for QUIET_SECONDS, a line says that the demo goes on."""
    spoke, over = threading.Event(), threading.Event()

    def say(line: str) -> None:
        spoke.set()
        print_at_once(line)

    def fill_silence() -> None:
        while not over.is_set():
            if not spoke.wait(QUIET_SECONDS):
                with suppress(BrokenPipeError):  # the next line of `say` ends the demo
                    print_at_once(translate("demo.goes_on"))
            spoke.clear()

    thread = threading.Thread(target=fill_silence, daemon=True)
    thread.start()
    try:
        yield say
    finally:
        over.set()
        spoke.set()
        thread.join()


def _has_desktop(env: Mapping[str, str]) -> bool:
    """Whether a person sees what a browser opens: standard output is a terminal on a desktop of this machine."""
    if not sys.stdout.isatty() or env.get("CI") or env.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("win32", "darwin") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


async def _steps(folder: Path, say: Callable[[str], None]) -> tuple[Path | None, Checks]:
    """Call the tools, print their replies, and return the page and the values to check."""
    from mcp.client import Client  # these imports take a second, before which something should be on the screen
    from mcp.client.stdio import StdioServerParameters

    from tikhub_mcp.sandbox import Sandbox, link, short_link
    from tikhub_mcp.tools.schemas import BatchReply, SummaryReply, VideoReply

    with Sandbox() as sandbox:
        say(translate("demo.started", address=sandbox.base_url))
        command, *args = isolation.isolated_server_command()
        env = {"TIKHUB_API_KEY": "demo-key-of-the-sandbox", "TIKHUB_BASE_URL": sandbox.base_url}
        env["TIKHUB_OUTPUT_DIR"] = str(folder)
        server = StdioServerParameters(command=command, args=args, env=env, cwd=isolation.PACKAGE_FOLDER)
        async with Client(server) as client:

            async def call(tool: str, **arguments: object) -> dict[str, Any]:
                return (await client.call_tool(tool, arguments)).structured_content or {}

            text = f"复制打开抖音，看看【夜航星】的作品 {short_link('douyin')} kWq:/ 05/17"
            say(translate("demo.one", text=text))
            one = VideoReply.model_validate(await call("download_video", url=text))
            print_video(one)
            say(translate("demo.again"))
            again = VideoReply.model_validate(await call("download_video", url=text))
            say(translate("demo.calls", count=again.cost.api_calls))
            say(translate("demo.batch"))
            batch = BatchReply.model_validate(await call("batch_download", urls=[link(name) for name in BATCH]))
            print_batch(batch)
            say(translate("demo.summary"))
            table = SummaryReply.model_validate(await call("summarize_raw", formats=["csv", "json", "html"]))
        say(translate("demo.rows", rows=table.rows, broken=table.broken))
        for path in (table.csv_path, table.json_path, table.html_path):
            say(str(path))
        return Path(table.html_path) if table.html_path else None, {
            "status": ("ok", one.status),
            "size": (one.file and _size(one.file.path), one.file and one.file.size_bytes),
            "calls_again": (0, again.cost.api_calls),
            "batch": ([*BATCH.values()], [item.error.code if item.error else item.status for item in batch.results]),
            "pictures": ([PICTURES], [item.photos_count for item in batch.results if item.photos_count]),
            "rows": ((4, 1), (table.rows, table.broken)),
            "page": (True, table.html_path is not None),
            "calls": (4, sum(call.status == 200 for call in sandbox.calls)),
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
