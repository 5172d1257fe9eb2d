"""The commands `doctor` and `sandbox`."""

import argparse
import tempfile
from pathlib import Path

from tikhub_mcp.errors import InvalidInput


def examine_installation(args: argparse.Namespace) -> int:
    """Check the installation, print the findings, and return the exit code."""
    from tikhub_mcp.doctor.checks import examine
    from tikhub_mcp.doctor.findings import as_json, summing_up

    found = []
    for finding in examine(online=args.online):
        found.append(finding)
        if not args.json:
            print(finding, flush=True)
    print(as_json(found) if args.json else summing_up(found))
    return int(any(finding.state == "problem" for finding in found))


def run_sandbox(args: argparse.Namespace) -> int:
    """Run the stand-in for TikHub until it is interrupted."""
    from threading import Event

    from tikhub_mcp.sandbox import Sandbox

    sandbox = Sandbox(port=args.port, latency=args.latency, rate=args.rate)
    try:
        sandbox.start()
    except OSError as error:
        raise InvalidInput(f"Port {args.port} cannot be used ({error.strerror}). Try --port 0.") from None
    try:
        print("A stand-in for TikHub runs on this machine. Point the server (or `tikhub-mcp one`) at it with\n")
        # A separate folder keeps the sandbox's invented answers apart from those of real posts.
        folder = Path(tempfile.gettempdir()) / "tikhub-mcp-sandbox"
        print(
            f"  export TIKHUB_BASE_URL={sandbox.base_url} TIKHUB_API_KEY=any-key-will-do TIKHUB_OUTPUT_DIR={folder}\n"
        )
        print("and ask for these links; any other id is a good video:\n")
        for link, what in sandbox.describe():
            print(f"  {link:<60} {what}")
        print("\nCtrl-C ends it.", flush=True)
        Event().wait()
    finally:
        sandbox.stop()
    return 0
