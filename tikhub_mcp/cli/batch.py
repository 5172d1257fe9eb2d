"""The command `batch`."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.tools.schemas import BatchReply
from tikhub_mcp.cli.inputs import absolute, read_links
from tikhub_mcp.cli.output import print_batch
from tikhub_mcp.cli.running import Screen, finish, job_options, open_jobs
from tikhub_mcp.cli.terminal import print_json, print_note
from tikhub_mcp.messages import translate


def run(args: argparse.Namespace) -> int:
    """Download many posts, print their results, and return the exit code."""
    from tikhub_mcp.jobs.model import MAX_TRANSFERS, Call
    from tikhub_mcp.settings.api_key import find_key
    from tikhub_mcp.settings.environment import load_settings
    from tikhub_mcp.tools.batch import at_least_none, plan_or_run

    settings, key, given = load_settings(), find_key(), read_links(args.links)
    call = Call(key, max_api_calls=at_least_none(args.max_api_calls))
    if not 1 <= args.max_workers <= MAX_TRANSFERS and not (args.quiet or args.json):
        used = min(max(args.max_workers, 1), MAX_TRANSFERS)
        print_note(translate("batch.workers", given=args.max_workers, used=used, most=MAX_TRANSFERS))
    rows = not (args.json or args.quiet or args.dry_run)
    screen = Screen(given.entries, call, rows=rows, progress=not args.quiet, full=args.verbose)

    async def work() -> "BatchReply":
        raw = absolute(args.raw_dir) or settings.raw
        async with open_jobs(settings, raw) as jobs:
            return await plan_or_run(
                jobs,
                call,
                given,
                job_options(args, settings),
                raw,
                settings.reports,
                workers=args.max_workers,
                dry_run=args.dry_run,
                progress=screen.watching,
            )

    try:
        reply = finish(work())
    except KeyboardInterrupt:
        print(screen.counts(), file=sys.stderr)
        raise
    if args.json:
        print_json(reply)
    else:
        print_batch(reply, shown=rows, quiet=args.quiet)
    return _exit_code(reply)


def _exit_code(reply: "BatchReply") -> int:
    if reply.error and reply.error.stop:
        return 3
    done = reply.succeeded if reply.calls_needed is None else reply.total - reply.failed
    return 0 if done == reply.total else 1
