"""The command `one`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.jobs.model import Outcome
from tikhub_mcp.cli.inputs import absolute
from tikhub_mcp.cli.output import print_video
from tikhub_mcp.cli.running import Screen, finish, job_options, open_jobs
from tikhub_mcp.cli.terminal import print_json
from tikhub_mcp.errors import InvalidInput


def run(args: argparse.Namespace) -> int:
    """Download one post, print its result, and return the exit code."""
    from tikhub_mcp.jobs.model import Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools import replies
    from tikhub_mcp.tools.batch import Entry, parse_one

    given, args.url = args.url, " ".join(args.url)  # a share text without quotes comes as several arguments
    settings, key = load_settings(), find_key()
    _check_no_file(given)
    link, note = parse_one(args.url)
    call = Call(key)
    screen = Screen([Entry(args.url, link)], call, progress=not args.quiet)

    async def work() -> "Outcome":
        raw = absolute(args.raw_dir) or settings.raw
        async with open_jobs(settings, raw) as jobs, screen.watching() as watch:
            return await jobs.get(call, link, job_options(args, settings), watch)

    outcome = finish(work())
    reply = replies.video_reply(link.given, link, outcome, note)
    if args.json:
        print_json(reply)
    else:
        print_video(reply, quiet=args.quiet)
    return outcome.error.exit_code if outcome.error else 0


def _check_no_file(given: list[str]) -> None:
    """Check that what was given is no list of links.

    Raises:
        InvalidInput: It is the name of a file.
    """
    from tikhub_mcp.posts.finding import find

    if len(given) == 1 and not find(given[0]) and Path(given[0]).is_file():
        raise InvalidInput(f"`one` takes a link, and {given[0]} is a file: run `tikhub-mcp batch {given[0]}`.")
