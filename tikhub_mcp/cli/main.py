"""The commands of `tikhub-mcp`.

Without arguments it runs the MCP server on stdio. To keep the server's start fast, each command imports its own
dependencies inside its function.
"""

import os
import sys
from collections.abc import Sequence

from tikhub_mcp.cli.output import print_json
from tikhub_mcp.cli.parser import build_parser
from tikhub_mcp.errors import TikHubMCPError
from tikhub_mcp.stdio.lifetime import begin_log, importing, printing_aside, write_utf8


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
    args = build_parser().parse_args(arguments)
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
