"""The command `summarize`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.summary.summarize import Format
from tikhub_mcp.cli.inputs import absolute, read_links
from tikhub_mcp.cli.output import print_json, print_summary


def run(args: argparse.Namespace) -> int:
    """Write the tables of saved answers, print the totals, and return the exit code."""
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


def parse_formats(text: str) -> "tuple[Format, ...]":
    """Return the formats named in a text, in their order.

    Raises:
        ArgumentTypeError: It names others, or none.
    """
    from tikhub_mcp.summary.summarize import FORMATS

    if (given := set(text.replace(",", " ").split())) and given <= set(FORMATS):
        return tuple(name for name in FORMATS if name in given)
    raise argparse.ArgumentTypeError(f"any of {','.join(FORMATS)}, with commas between them")
