"""The command `batch`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.tools.schemas import BatchReply
from tikhub_mcp.cli.inputs import absolute, read_links
from tikhub_mcp.cli.output import print_batch, print_json, progress_bar
from tikhub_mcp.cli.running import finish, job_options, open_jobs


def run(args: argparse.Namespace) -> int:
    """Download many posts, print their results, and return the exit code."""
    from tikhub_mcp.jobs.model import Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools.batch import at_least_none, plan_or_run

    settings, key, given = load_settings(), find_key(), read_links(args.file)

    async def work() -> "BatchReply":
        raw = absolute(args.raw_dir) or settings.raw
        async with open_jobs(settings, raw) as jobs:
            return await plan_or_run(
                jobs,
                Call(key, max_api_calls=at_least_none(args.max_api_calls)),
                given,
                job_options(args, settings),
                raw,
                settings.reports,
                workers=args.max_workers,
                dry_run=args.dry_run,
                progress=progress_bar,
            )

    reply = finish(work())
    if args.json:
        print_json(reply)
    else:
        print_batch(reply)
    if reply.error and reply.error.stop:
        return 3
    return 0 if reply.succeeded == reply.total or args.dry_run else 1
