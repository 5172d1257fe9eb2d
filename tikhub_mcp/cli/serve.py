"""The commands `serve` and `token`."""

import argparse
import sys
from typing import TYPE_CHECKING

from tikhub_mcp.cli.terminal import put
from tikhub_mcp.messages import translate

if TYPE_CHECKING:
    from tikhub_mcp.serve.tokens import Tokens


def run_server(args: argparse.Namespace) -> int:
    """Run the HTTP server; does not return."""
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
    hint = "" if server.has_tokens else translate("serve.no_tokens")
    print(translate("serve.begin", url=server.url, hint=hint), file=sys.stderr, flush=True)
    server.run()
    return 0


def add_token(args: argparse.Namespace) -> int:
    """Let a person in, and print the new token."""
    token = _tokens().add(args.name)
    print(translate("serve.token", name=args.name), file=sys.stderr, flush=True)
    put(token)
    return 0


def remove_token(args: argparse.Namespace) -> int:
    """Let a person in no more."""
    _tokens().remove(args.name)
    print(translate("serve.removed", name=args.name), file=sys.stderr)
    return 0


def list_tokens(_: argparse.Namespace) -> int:
    """Print who has a token, and since when."""
    for name, entry in sorted(_tokens().entries().items()):
        put(translate("serve.person", name=name, since=entry.created))
    return 0


def _tokens() -> "Tokens":
    from tikhub_mcp.serve.tokens import Tokens
    from tikhub_mcp.settings.environment import load_settings

    return Tokens(load_settings().root)
