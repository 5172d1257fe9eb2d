"""The commands of `tikhub-mcp`.

Without arguments it runs the MCP server on stdio. To keep the server's start fast, each command imports its own
dependencies inside its function.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tikhub_mcp.jobs.model import Options, Outcome
    from tikhub_mcp.jobs.scheduler import Jobs
    from tikhub_mcp.settings.environment import Settings
    from tikhub_mcp.summary.summarize import Format
    from tikhub_mcp.tools.schemas import BatchReply
from tikhub_mcp import __version__
from tikhub_mcp.cli.inputs import absolute, read_links
from tikhub_mcp.cli.output import print_batch, print_json, print_summary, print_video, progress_bar
from tikhub_mcp.cli.serve import add_serve
from tikhub_mcp.concurrency import use_many_threads
from tikhub_mcp.errors import InvalidInput, TikHubMCPError
from tikhub_mcp.stdio.lifetime import begin_log, importing, printing_aside, write_utf8

T = TypeVar("T")

EXITS = """Exit codes: 0 done, 1 some failed, 2 usage or no input, 3 no usable key, 4 the post has neither a video nor
pictures, or is not available."""
CLIENT_EXITS = """Exit codes: 0 done, or nothing to do; 1 it could not be written; 2 usage, not confirmed, or no such
client here; 3 no usable key."""
CLIENT_NAMES = ("claude-desktop", "claude-code", "cursor", "vscode")  # as in install/clients.py


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name. Defaults to `sys.argv[1:]`.

    Returns:
        The exit code of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    write_utf8()
    if not arguments:
        with printing_aside(), importing():
            from tikhub_mcp.server import run

        if sys.stdin.isatty():
            print("This is the MCP server, waiting for a client on standard input; see --help.", file=sys.stderr)
        run()
        return 0
    args = _parser().parse_args(arguments)
    begin_log()
    try:
        exit_code: int = args.command(args)
        if sys.stdout:  # None if it was closed before Python started
            sys.stdout.flush()
    except TikHubMCPError as error:
        if getattr(args, "json", False):
            from tikhub_mcp.tools.replies import refusal

            print_json(refusal(args.tool, error, getattr(args, "url", "")))
        print(f"error: {error.code}: {error.tell_human or error.message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; nothing half-made is left.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tikhub-mcp",
        description="TikTok and Douyin links in, verified files and honest metrics out, through the TikHub API. "
        "Without arguments: the MCP server on standard input and output.",
        epilog=EXITS,
    )
    parser.add_argument("--version", action="version", version=f"tikhub-mcp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    one = commands.add_parser("one", help="download one post", epilog=EXITS)
    one.add_argument("url", metavar="URL", nargs="+", help="a link to one post, or share text with the link in it")
    _add_options(one)
    one.set_defaults(command=_one, tool="download_video")

    batch = commands.add_parser("batch", help="download many posts, 10 transfers at once", epilog=EXITS)
    about = "a text file with one link a line, # starts a comment; - is standard input"
    batch.add_argument("file", metavar="FILE", nargs="+", help=about)
    _add_options(batch)
    batch.add_argument("--max-workers", type=int, default=10, metavar="N", help="downloads at once, 1 to 10")
    batch.add_argument("--dry-run", action="store_true", help="only count posts, files on disk and paid calls needed")
    batch.add_argument("--max-api-calls", type=int, default=0, metavar="N", help="most paid API calls; 0: no cap")
    batch.set_defaults(command=_batch, tool="batch_download")

    summarize = commands.add_parser("summarize", help="make a table of saved raw answers (offline, free)")
    summarize.add_argument("-i", "--input", type=Path, metavar="PATH", help="a raw file or a folder (default: raw/)")
    summarize.add_argument(
        "-o", "--out-dir", type=Path, metavar="DIR", help="default: here; with --urls reports/selection/"
    )
    summarize.add_argument("--urls", metavar="FILE", help="only the posts of the links in this text file")
    summarize.add_argument(
        "--formats",
        type=_formats,
        default=("csv", "json"),
        metavar="LIST",
        help="of csv,json,xlsx,html (default: csv,json)",
    )
    summarize.add_argument("--json", action="store_true", help="print the reply as JSON")
    summarize.set_defaults(command=_summarize, tool="summarize_raw")
    _add_aids(commands)
    add_serve(commands)
    return parser


def _add_aids(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="see it work: no key, no network, nothing to pay")
    demo.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help="where files go (default: a new folder)")
    demo.set_defaults(command=_demo)

    doctor = commands.add_parser("doctor", help="find out what is wrong, in lines fit for a bug report")
    doctor.add_argument("--online", action="store_true", help="also ask TikHub about the key (free; sends the key)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(command=_doctor)

    for name, what in (("install", "put the server into a client's settings"), ("uninstall", "take it out of them")):
        _add_client(commands.add_parser(name, help=what, epilog=CLIENT_EXITS), name)

    sandbox = commands.add_parser("sandbox", help="run the stand-in for TikHub that the demo uses")
    sandbox.add_argument("--port", type=int, default=8765, help="default: 8765; 0: any free one")
    sandbox.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="delay of each API answer")
    sandbox.add_argument("--rate", type=float, default=0.0, metavar="N", help="API calls a second before HTTP 429")
    sandbox.set_defaults(command=_sandbox)


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help="where videos and photo posts go")
    command.add_argument("--raw-dir", type=Path, metavar="DIR", help="where raw answers go")
    command.add_argument("--no-save-raw", action="store_true", help="do not keep the full API answers")
    command.add_argument("--quality", choices=("compatible", "best", "smallest"), default="compatible")
    command.add_argument("--metrics-only", action="store_true", help="numbers and raw answer, no file")
    command.add_argument(
        "--include",
        action="append",
        default=[],
        choices=("music", "cover", "captions"),
        help="save it too (repeatable)",
    )
    command.add_argument("--refresh", action="store_true", help="pay for a new answer even if a recent one is saved")
    command.add_argument("--json", action="store_true", help="print the reply as JSON, for programs")


def _add_client(command: argparse.ArgumentParser, change: str) -> None:
    command.add_argument("host", metavar="HOST", choices=CLIENT_NAMES, help=f"one of {', '.join(CLIENT_NAMES)}")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--project", type=Path, metavar="DIR", help="the settings of this project, not the user's")
    where.add_argument("--file", type=Path, metavar="PATH", help="the settings in this file")
    command.add_argument("--yes", action="store_true", help="show the change and make it, without a question")
    if change == "install":
        command.add_argument("--with-key", action="store_true", help="copy the key that is found now into the entry")
    command.set_defaults(command=_connect, adds=change == "install")


def _one(args: argparse.Namespace) -> int:
    from tikhub_mcp.jobs.model import Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools import replies
    from tikhub_mcp.tools.batch import parse_one

    args.url = " ".join(args.url)  # a share text without quotes comes as several arguments
    settings, key, (link, note) = load_settings(), find_key(), parse_one(args.url)

    async def work() -> "Outcome":
        raw = absolute(args.raw_dir) or settings.raw
        async with _jobs(settings, raw) as jobs, progress_bar(1) as watch:
            return await jobs.get(Call(key), link, _job_options(args, settings), watch)

    outcome = _finish(work())
    reply = replies.video_reply(link.given, link, outcome, note)
    if args.json:
        print_json(reply)
    else:
        print_video(reply)
    return outcome.error.exit_code if outcome.error else 0


def _batch(args: argparse.Namespace) -> int:
    from tikhub_mcp.jobs.model import Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools.batch import at_least_none, plan_or_run

    settings, key, given = load_settings(), find_key(), read_links(args.file)

    async def work() -> "BatchReply":
        raw = absolute(args.raw_dir) or settings.raw
        async with _jobs(settings, raw) as jobs:
            return await plan_or_run(
                jobs,
                Call(key, max_api_calls=at_least_none(args.max_api_calls)),
                given,
                _job_options(args, settings),
                raw,
                settings.reports,
                workers=args.max_workers,
                dry_run=args.dry_run,
                progress=progress_bar,
            )

    reply = _finish(work())
    if args.json:
        print_json(reply)
    else:
        print_batch(reply)
    if reply.error and reply.error.stop:
        return 3
    return 0 if reply.succeeded == reply.total or args.dry_run else 1


def _summarize(args: argparse.Namespace) -> int:
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.summary.summarize import summarize

    default = Path() if args.urls is None else None
    source, out_dir, settings = absolute(args.input), absolute(args.out_dir or default), load_settings()
    given = None if args.urls is None else read_links([args.urls], "summarize --urls")
    about, note = (given.posts(), given.posts_note()) if given else ((), "")
    summary = summarize(source or settings.raw, out_dir or settings.selection, args.formats, about=about)
    if args.json:
        from tikhub_mcp.tools.replies import summary_reply

        print_json(summary_reply(summary, note))
    else:
        print_summary(summary, note)
    return 0


def _formats(text: str) -> "tuple[Format, ...]":
    from tikhub_mcp.summary.summarize import FORMATS

    if (given := set(text.replace(",", " ").split())) and given <= set(FORMATS):
        return tuple(name for name in FORMATS if name in given)
    raise argparse.ArgumentTypeError(f"any of {','.join(FORMATS)}, with commas between them")


def _finish(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to completion; SIGTERM and SIGHUP cancel it, as Ctrl-C does.

    Raises:
        KeyboardInterrupt: A signal cancelled it.
    """

    async def guarded() -> T:
        use_many_threads()
        task = asyncio.create_task(work)
        for name in ("SIGTERM", "SIGHUP"):
            with suppress(AttributeError, NotImplementedError, RuntimeError):  # Windows, or not in the main thread
                asyncio.get_running_loop().add_signal_handler(getattr(signal, name), task.cancel)
        return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _demo(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.demo import run

    return run(absolute(args.output_dir))


def _doctor(args: argparse.Namespace) -> int:
    from tikhub_mcp.doctor.checks import examine
    from tikhub_mcp.doctor.findings import as_json, summing_up

    found = []
    for finding in examine(online=args.online):
        found.append(finding)
        if not args.json:
            print(finding, flush=True)
    print(as_json(found) if args.json else summing_up(found))
    return int(any(finding.state == "problem" for finding in found))


def _connect(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.install import run

    with_key = args.adds and args.with_key
    return run(args.host, args.project, args.file, adds=args.adds, with_key=with_key, yes=args.yes)


def _sandbox(args: argparse.Namespace) -> int:
    from threading import Event

    from tikhub_mcp.sandbox import Sandbox

    sandbox = Sandbox(port=args.port, latency=args.latency, rate=args.rate)
    try:
        sandbox.start()
    except OSError as error:
        raise InvalidInput(f"Port {args.port} cannot be used ({error.strerror}). Try --port 0.") from None
    try:
        print("A stand-in for TikHub runs on this machine. Point the server (or `tikhub-mcp one`) at it with\n")
        # A separate folder keeps the sandbox's invented answers apart from those of real posts.
        folder = Path(tempfile.gettempdir()) / "tikhub-mcp-sandbox"
        print(
            f"  export TIKHUB_BASE_URL={sandbox.base_url} TIKHUB_API_KEY=any-key-will-do TIKHUB_OUTPUT_DIR={folder}\n"
        )
        print("and ask for these links; any other id is a good video:\n")
        for link, what in sandbox.describe():
            print(f"  {link:<60} {what}")
        print("\nCtrl-C ends it.", flush=True)
        Event().wait()
    finally:
        sandbox.stop()
    return 0


@asynccontextmanager
async def _jobs(settings: "Settings", raw: Path) -> "AsyncIterator[Jobs]":
    """The jobs of one command, closed on exit; `raw` is the folder for raw answers."""
    from tikhub_mcp.jobs.scheduler import Jobs

    jobs = Jobs.of(settings, raw)
    try:
        yield jobs
    finally:
        await jobs.close()


def _job_options(args: argparse.Namespace, settings: "Settings") -> "Options":
    from tikhub_mcp.jobs.model import Options

    folder, include = absolute(args.output_dir), tuple(sorted(set(args.include)))
    videos, photos = (folder, None) if folder else (settings.videos, settings.photos)
    return Options(
        videos, args.quality, not args.no_save_raw, args.metrics_only, args.refresh, include=include, photos=photos
    )
