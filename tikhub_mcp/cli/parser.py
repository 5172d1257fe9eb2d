"""The command line's arguments: every command with its options and its help."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from tikhub_mcp.summary.summarize import Format
from tikhub_mcp import __version__
from tikhub_mcp.cli import aids, batch, one, serve, summarize
from tikhub_mcp.cli.inputs import absolute
from tikhub_mcp.cli.terminal import print_error, put, wrapped
from tikhub_mcp.messages import for_person, translate

T = TypeVar("T", bound=str)

CLIENT_NAMES = ("claude-desktop", "claude-code", "cursor", "vscode")  # as in install/clients.py
_INCLUDE = ("music", "cover", "captions")  # as Extra in posts/extras.py
_QUALITIES = ("compatible", "best", "smallest")  # as Quality in posts/renditions.py


class _Help(argparse.HelpFormatter):
    """The help of a command in the language of the locale, wrapped by columns; indented lines stay as they are."""

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:  # noqa: ANN401
        super().add_usage(usage, actions, groups, translate("help.usage") if prefix is None else prefix)

    def start_section(self, heading: str | None) -> None:
        super().start_section(for_person(heading or ""))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = (wrapped(line, width) if line[:1].strip() else [line] for line in text.splitlines())
        return "\n".join(f"{indent}{line}" for several in lines for line in several)


class _Parser(argparse.ArgumentParser):
    """A parser whose help and errors are in the language of the locale."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of argparse
        super().__init__(**options, formatter_class=_Help, add_help=False)
        self.add_argument("-h", "--help", action="help", help=translate("help.help"))

    def _print_message(self, message: str, file: Any = None) -> None:  # noqa: ANN401 - as argparse has it
        if file is sys.stdout:
            put(message, "")  # argparse ignores that it cannot be written
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print_error("usage", message)
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `command` in its result runs the command."""
    common = translate("help.variables"), translate("help.exits")
    end = _end(translate("help.examples"), *common)
    parser = _Parser(prog="tikhub-mcp", description=translate("help.about"), epilog=end)
    version = f"tikhub-mcp {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version, help=translate("help.version"))
    commands = parser.add_subparsers(metavar="COMMAND", title=translate("help.commands"), required=True)
    for name, tool, command in (("one", "download_video", one.run), ("batch", "batch_download", batch.run)):
        _add_download(_add(commands, name, *common), name, tool, command)
    _add_summarize(_add(commands, "summarize", *common))
    _add_aids(commands)
    _add_serve(_add(commands, "serve", translate("help.serve_variables")))
    _add_token(_add(commands, "token"))
    return parser


def _add(commands: "argparse._SubParsersAction[_Parser]", name: str, *more: str) -> argparse.ArgumentParser:
    """Add a command with its help from the table of messages; `more` goes behind the examples."""
    what, examples = translate(f"help_about.{name}"), translate(f"help_examples.{name}")
    return commands.add_parser(name, help=what, description=what, epilog=_end(examples, *more))


def _end(examples: str, *more: str) -> str:
    return "\n\n".join((translate("help.two", examples=examples), *more))


def _add_download(command: argparse.ArgumentParser, name: str, tool: str, run: Any) -> None:  # noqa: ANN401
    if name == "one":
        command.add_argument("url", metavar="URL", nargs="+", help=translate("help.url"))
    else:
        command.add_argument("links", metavar="LINK_OR_FILE", nargs="+", help=translate("help.links"))
    _add_output_dir(command, translate("help.output_dir"))
    command.add_argument("--raw-dir", type=Path, metavar="DIR", help=translate("help.raw_dir"))
    command.add_argument("--no-save-raw", action="store_true", help=translate("help.no_save_raw"))
    command.add_argument(
        "--quality", choices=_QUALITIES, default="compatible", metavar="NAME", help=translate("help.quality")
    )
    command.add_argument("--metrics-only", action="store_true", help=translate("help.metrics_only"))
    command.add_argument(
        "--include", action="extend", type=_include, default=[], metavar="LIST", help=translate("help.include")
    )
    command.add_argument("--refresh", action="store_true", help=translate("help.refresh"))
    if name == "batch":
        command.add_argument("--max-workers", type=int, default=10, metavar="N", help=translate("help.max_workers"))
        command.add_argument("--dry-run", action="store_true", help=translate("help.dry_run"))
        command.add_argument("--max-api-calls", type=int, default=0, metavar="N", help=translate("help.max_api_calls"))
    _add_reporting(command)
    command.set_defaults(command=run, tool=tool)


def _add_summarize(command: argparse.ArgumentParser) -> None:
    command.add_argument("-i", "--input", type=Path, metavar="PATH", help=translate("help.input"))
    _add_output_dir(command, translate("help.tables_dir"))
    command.add_argument("--urls", metavar="LINK_OR_FILE", nargs="+", help=translate("help.urls"))
    command.add_argument(
        "--formats", type=_formats, default=("csv", "json"), metavar="LIST", help=translate("help.formats")
    )
    _add_reporting(command)
    command.set_defaults(command=summarize.run, tool="summarize_raw")


def _add_output_dir(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("-o", "--output-dir", type=Path, metavar="DIR", help=what)
    command.add_argument("--out-dir", type=Path, dest="output_dir", help=argparse.SUPPRESS)  # summarize's earlier name


def _add_reporting(command: argparse.ArgumentParser) -> None:
    command.add_argument("-q", "--quiet", action="store_true", help=translate("help.quiet"))
    command.add_argument("-v", "--verbose", action="store_true", help=translate("help.verbose"))
    command.add_argument("--json", action="store_true", help=translate("help.json"))


def _add_aids(commands: "argparse._SubParsersAction[_Parser]") -> None:
    for name in ("install", "uninstall"):
        _add_client(_add(commands, name, translate("help.client_exits")), name)

    doctor = _add(commands, "doctor")
    doctor.add_argument("--online", action="store_true", help=translate("help.online"))
    doctor.add_argument("--json", action="store_true", help=translate("help.json"))
    doctor.set_defaults(command=aids.examine_installation)

    demo = _add(commands, "demo")
    _add_output_dir(demo, translate("help.demo_dir"))
    demo.set_defaults(command=_demo)

    sandbox = _add(commands, "sandbox")
    sandbox.add_argument("--port", type=int, default=8765, metavar="N", help=translate("help.port"))
    sandbox.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help=translate("help.latency"))
    sandbox.add_argument("--rate", type=float, default=0.0, metavar="N", help=translate("help.rate"))
    sandbox.add_argument("--json", action="store_true", help=translate("help.sandbox_json"))
    sandbox.set_defaults(command=aids.run_sandbox)


def _add_client(command: argparse.ArgumentParser, change: str) -> None:
    names = ", ".join(CLIENT_NAMES)
    command.add_argument("host", metavar="HOST", choices=CLIENT_NAMES, help=translate("help.host", names=names))
    where = command.add_mutually_exclusive_group()
    where.add_argument("--project", type=Path, metavar="DIR", help=translate("help.project"))
    where.add_argument("--file", type=Path, metavar="PATH", help=translate("help.file"))
    command.add_argument("-y", "--yes", action="store_true", help=translate("help.yes"))
    if change == "install":
        command.add_argument("--with-key", action="store_true", help=translate("help.with_key"))
    command.set_defaults(command=_connect, adds=change == "install")


def _add_serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", metavar="HOST", help=translate("help.serve_host"))
    command.add_argument("--port", metavar="PORT", help=translate("help.serve_port"))
    for name, metavar in (("host", "HOST"), ("origin", "ORIGIN")):
        what = translate(f"help.allowed_{name}")
        command.add_argument(f"--allowed-{name}", action="append", default=[], metavar=metavar, help=what)
    command.add_argument("--public-url", metavar="URL", help=translate("help.public_url"))
    command.set_defaults(command=serve.run_server)


def _add_token(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(metavar="ACTION", title=translate("help.commands"), required=True)
    for name, run in (("add", serve.add_token), ("remove", serve.remove_token)):
        action = actions.add_parser(name, help=translate(f"help.token_{name}"))
        action.add_argument("name", metavar="NAME", help=translate("help.token_name"))
        action.set_defaults(command=run)
    actions.add_parser("list", help=translate("help.token_list")).set_defaults(command=serve.list_tokens)


def _formats(text: str) -> "tuple[Format, ...]":
    from tikhub_mcp.summary.summarize import FORMATS

    return tuple(_listed(text, FORMATS))


def _include(text: str) -> list[str]:
    return _listed(text, _INCLUDE)


def _listed(text: str, known: Iterable[T]) -> list[T]:
    """Return the names in a list, in the order in which they are known; commas or blanks are between them."""
    if (given := set(text.replace(",", " ").split())) and given <= set(known):
        return [name for name in known if name in given]
    raise argparse.ArgumentTypeError(f"any of {','.join(known)}, with commas between them")


def _demo(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.demo import run

    return run(absolute(args.output_dir))


def _connect(args: argparse.Namespace) -> int:
    from tikhub_mcp.cli.install import run

    with_key = args.adds and args.with_key
    return run(args.host, args.project, args.file, adds=args.adds, with_key=with_key, yes=args.yes)
