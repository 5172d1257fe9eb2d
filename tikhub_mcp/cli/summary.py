"""The command `summarize`."""

from pathlib import Path
from typing import TYPE_CHECKING

from tikhub_mcp.cli.inputs import read_links
from tikhub_mcp.cli.output import print_json, print_summary
from tikhub_mcp.settings.environment import load_settings
from tikhub_mcp.summary.summarize import Format, summarize

if TYPE_CHECKING:
    from tikhub_mcp.posts.links import Link


def run(
    source: Path | None, out_dir: Path | None, urls: str | None, formats: tuple[Format, ...], *, as_json: bool
) -> int:
    """Summarise, print the result, and return the exit code.

    Args:
        source: A raw file or a folder of them; by default the folder of raw answers.
        out_dir: The folder of the outputs; by default the one for selections.
        urls: A file with links to the only posts that the summary is about.
        formats: The outputs.
        as_json: Whether to print the reply as JSON.
    """
    settings = load_settings()
    about: tuple[Link, ...] = ()
    note = ""
    if urls is not None:
        given = read_links([urls], "summarize --urls")
        about, note = given.posts(), given.posts_note()
    summary = summarize(source or settings.raw, out_dir or settings.selection, formats, about=about)
    if as_json:
        from tikhub_mcp.tools.replies import summary_reply

        print_json(summary_reply(summary, note))
    else:
        print_summary(summary, note)
    return 0
