"""The command `summarize`."""

import argparse
from pathlib import Path

from tikhub_mcp.cli.inputs import absolute, read_links
from tikhub_mcp.cli.output import print_summary
from tikhub_mcp.cli.terminal import print_error, print_json, print_note
from tikhub_mcp.messages import translate


def run(args: argparse.Namespace) -> int:
    """Write the tables of saved answers, print the totals, and return the exit code."""
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.summary.summarize import CSV_NAME, JSON_NAME, summarize

    default = Path() if args.urls is None else None
    source, out_dir, settings = absolute(args.input), absolute(args.output_dir or default), load_settings()
    given = None if args.urls is None else read_links(args.urls)
    about, note = (given.posts(), given.posts_note()) if given else ((), "")
    target = out_dir or settings.selection
    replaced = [path for path in (target / CSV_NAME, target / JSON_NAME) if given and out_dir and path.is_file()]
    summary = summarize(source or settings.raw, target, args.formats, about=about)
    if args.json:
        from tikhub_mcp.tools.replies import summary_reply

        print_json(summary_reply(summary, note))
    elif not args.quiet:
        print_summary(summary, note)
        if replaced:
            print_note(translate("summary.replaced", folder=target))
    if summary.error:
        print_error(summary.error.code, summary.error.message)
        return summary.error.exit_code
    return 0
