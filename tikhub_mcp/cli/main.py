"""The commands of `tikhub-mcp`.

Without arguments it runs the MCP server on stdio. To keep the server's start fast, each command imports its own
dependencies inside its function.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress

from tikhub_mcp.cli.parser import build_parser
from tikhub_mcp.cli.terminal import flush_output, print_error, print_json
from tikhub_mcp.errors import NotWritable, TikHubMCPError
from tikhub_mcp.messages import translate
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
        if sys.stdin is None:  # it was closed before Python started: the input has ended
            return 0
        with printing_aside(), importing():
            from tikhub_mcp.server import run

        if sys.stdin.isatty():
            print(translate("cli.server_waits"), file=sys.stderr)
        run()
        return 0
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    """Run a command, and return its exit code; this is the boundary of the errors of all commands."""
    args = argparse.Namespace()
    try:
        try:
            args = build_parser().parse_args(arguments)
        finally:
            flush_output()  # the help
        begin_log()
        if getattr(args, "verbose", False):
            logging.getLogger("tikhub_mcp").setLevel(logging.INFO)
        exit_code: int = args.command(args)
        flush_output()
    except TikHubMCPError as error:
        if getattr(args, "json", False):
            from tikhub_mcp.tools.replies import refusal

            print_json(refusal(args.tool, error, getattr(args, "url", "")))
        print_error(error.code, error.tell_human or error.message)
        return error.exit_code
    except KeyboardInterrupt:
        print(translate("cli.interrupted"), file=sys.stderr)
        with suppress(BrokenPipeError, NotWritable):  # Python would end with another code for it
            flush_output()
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        return 1
    return exit_code
