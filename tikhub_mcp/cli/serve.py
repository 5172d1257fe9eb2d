"""The commands `serve` and `token`."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.serve.tokens import Tokens


def add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the parser of the command line."""
    serve = commands.add_parser("serve", help="run one server for several people, over HTTP")
    serve.add_argument("--host", metavar="HOST", help="name or address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="PORT", help="default: 8000; 0: any free one")
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="HOST",
        help="name by which clients reach it (repeatable)",
    )
    serve.add_argument(
        "--allowed-origin", action="append", default=[], metavar="ORIGIN", help="web page that may call (repeatable)"
    )
    serve.add_argument("--public-url", metavar="URL", help="address by which browsers reach it, behind a proxy")
    serve.set_defaults(command=_serve)

    token = commands.add_parser("token", help="say who may use the server of `serve`")
    actions = token.add_subparsers(metavar="ACTION", required=True)
    for name, what, command in (
        ("add", "let a person in, and print the new token, once", _add_token),
        ("remove", "let a person in no more; the files stay", _remove_token),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("name", metavar="NAME", help="1 to 32 of a to z, 0 to 9 and -")
        action.set_defaults(command=command)
    actions.add_parser("list", help="print who has a token, and since when").set_defaults(command=_list_tokens)


def _serve(args: argparse.Namespace) -> int:
    from tikhub_mcp.settings.serving import load_serve_settings

    settings = load_serve_settings(
        host=args.host,
        port=args.port,
        allowed_hosts=args.allowed_host,
        allowed_origins=args.allowed_origin,
        public_url=args.public_url,
    )
    from tikhub_mcp.serve.run import HttpServer

    server = HttpServer(settings)
    hint = "" if server.has_tokens else " Nobody is let in yet: run `tikhub-mcp token add NAME`."
    print(f"The MCP server listens at {server.url}.{hint} Ctrl-C ends it.", file=sys.stderr, flush=True)
    server.run()
    return 0


def _add_token(args: argparse.Namespace) -> int:
    token = _tokens().add(args.name)
    print(f"The token of {args.name}, which is shown only now:", file=sys.stderr, flush=True)
    print(token)
    return 0


def _remove_token(args: argparse.Namespace) -> int:
    _tokens().remove(args.name)
    print(f"{args.name} is let in no more, and links to the files of {args.name} are not valid.", file=sys.stderr)
    return 0


def _list_tokens(_: argparse.Namespace) -> int:
    for name, entry in sorted(_tokens().entries().items()):
        print(f"{name}  since {entry.created:%Y-%m-%d %H:%M} UTC")
    return 0


def _tokens() -> "Tokens":
    from tikhub_mcp.serve.tokens import Tokens
    from tikhub_mcp.settings.environment import load_settings

    return Tokens(load_settings().root)
