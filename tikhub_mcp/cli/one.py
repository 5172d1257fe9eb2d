"""The command `one`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.jobs.model import Outcome
from tikhub_mcp.cli.inputs import absolute
from tikhub_mcp.cli.output import print_json, print_video, progress_bar
from tikhub_mcp.cli.running import finish, job_options, open_jobs


def run(args: argparse.Namespace) -> int:
    """Download one post, print its result, and return the exit code."""
    from tikhub_mcp.jobs.model import Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools import replies
    from tikhub_mcp.tools.batch import parse_one

    args.url = " ".join(args.url)  # a share text without quotes comes as several arguments
    settings, key, (link, note) = load_settings(), find_key(), parse_one(args.url)

    async def work() -> "Outcome":
        raw = absolute(args.raw_dir) or settings.raw
        async with open_jobs(settings, raw) as jobs, progress_bar(1) as watch:
            return await jobs.get(Call(key), link, job_options(args, settings), watch)

    outcome = finish(work())
    reply = replies.video_reply(link.given, link, outcome, note)
    if args.json:
        print_json(reply)
    else:
        print_video(reply)
    return outcome.error.exit_code if outcome.error else 0
