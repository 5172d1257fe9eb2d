"""The command line's arguments: every command with its options and its help."""

import argparse
from pathlib import Path

from tikhub_mcp import __version__
from tikhub_mcp.cli import aids, batch, one, summarize
from tikhub_mcp.cli.inputs import absolute

EXITS = """Exit codes: 0 done, 1 some failed, 2 usage or no input, 3 no usable key, 4 the post has neither a video nor
pictures, or is not available."""
CLIENT_EXITS = """Exit codes: 0 done, or nothing to do; 1 it could not be written; 2 usage, not confirmed, or no such
client here; 3 no usable key."""
CLIENT_NAMES = ("claude-desktop", "claude-code", "cursor", "vscode")  # as in install/clients.py


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `command` in its result runs the command."""
    parser = argparse.ArgumentParser(
        prog="tikhub-mcp",
        description="TikTok and Douyin links in, verified files and honest metrics out, through the TikHub API. "
        "Without arguments: the MCP server on standard input and output.",
        epilog=EXITS,
    )
    parser.add_argument("--version", action="version", version=f"tikhub-mcp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    one_post = commands.add_parser("one", help="download one post", epilog=EXITS)
    one_post.add_argument("url", metavar="URL", nargs="+", help="a link to one post, or share text with the link in it")
    _add_options(one_post)
    one_post.set_defaults(command=one.run, tool="download_video")

    many = commands.add_parser("batch", help="download many posts, 10 transfers at once", epilog=EXITS)
    about = "a text file with one link a line, # starts a comment; - is standard input"
    many.add_argument("file", metavar="FILE", nargs="+", help=about)
    _add_options(many)
    many.add_argument("--max-workers", type=int, default=10, metavar="N", help="downloads at once, 1 to 10")
    many.add_argument("--dry-run", action="store_true", help="only count posts, files on disk and paid calls needed")
    many.add_argument("--max-api-calls", type=int, default=0, metavar="N", help="most paid API calls; 0: no cap")
    many.set_defaults(command=batch.run, tool="batch_download")

    table = commands.add_parser("summarize", help="make a table of saved raw answers (offline, free)")
    table.add_argument("-i", "--input", type=Path, metavar="PATH", help="a raw file or a folder (default: raw/)")
    table.add_argument(
        "-o", "--out-dir", type=Path, metavar="DIR", help="default: here; with --urls reports/selection/"
    )
    table.add_argument("--urls", metavar="FILE", help="only the posts of the links in this text file")
    table.add_argument(
        "--formats",
        type=summarize.parse_formats,
        default=("csv", "json"),
        metavar="LIST",
        help="of csv,json,xlsx,html (default: csv,json)",
    )
    table.add_argument("--json", action="store_true", help="print the reply as JSON")
    table.set_defaults(command=summarize.run, tool="summarize_raw")
    _add_aids(commands)
    return parser


def _add_aids(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="see it work: no key, no network, nothing to pay")
    demo.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help="where files go (default: a new folder)")
    demo.set_defaults(command=_demo)

    doctor = commands.add_parser("doctor", help="find out what is wrong, in lines fit for a bug report")
    doctor.add_argument("--online", action="store_true", help="also ask TikHub about the key (free; sends the key)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(command=aids.examine_installation)

    for name, what in (("install", "put the server into a client's settings"), ("uninstall", "take it out of them")):
        _add_client(commands.add_parser(name, help=what, epilog=CLIENT_EXITS), name)

    sandbox = commands.add_parser("sandbox", help="run the stand-in for TikHub that the demo uses")
    sandbox.add_argument("--port", type=int, default=8765, help="default: 8765; 0: any free one")
    sandbox.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="delay of each API answer")
    sandbox.add_argument("--rate", type=float, default=0.0, metavar="N", help="API calls a second before HTTP 429")
    sandbox.set_defaults(command=aids.run_sandbox)


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


def _demo(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.demo import run

    return run(absolute(args.output_dir))


def _connect(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.install import run

    with_key = args.adds and args.with_key
    return run(args.host, args.project, args.file, adds=args.adds, with_key=with_key, yes=args.yes)
