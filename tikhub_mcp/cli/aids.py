"""The commands `doctor` and `sandbox`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.cli.output import print_at_once
from tikhub_mcp.cli.terminal import paragraph, put
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.messages import translate


def examine_installation(args: argparse.Namespace) -> int:
    """Check the installation, print the findings, and return the exit code."""
    from tikhub_mcp.doctor.checks import examine
    from tikhub_mcp.doctor.findings import HEADING_COLUMNS, as_json, summing_up

    found = []
    for finding in examine(online=args.online):
        found.append(finding)
        if not args.json:
            print_at_once(finding.heading + paragraph(finding.found, HEADING_COLUMNS, stream=sys.stdout))
            if finding.advice:
                advice = paragraph(finding.advice, HEADING_COLUMNS + len("-> "), stream=sys.stdout)
                print_at_once(f"{'':{HEADING_COLUMNS}}-> {advice}")
    put(as_json(found) if args.json else summing_up(found))
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
        _describe(sandbox, args.json)
        Event().wait()
    finally:
        sandbox.stop()
    return 0


def _describe(sandbox: "Sandbox", as_json: bool) -> None:
    """Print the variables to set and the links to ask for."""
    # Apart from the answers of real posts, and from those of other ports, whose links lead nowhere now.
    folder = str(Path(tempfile.gettempdir()) / f"tikhub-mcp-sandbox-{sandbox.base_url.rpartition(':')[2]}")
    variables = {
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_API_KEY": "any-key-will-do",
        "TIKHUB_OUTPUT_DIR": folder,
    }
    if as_json:
        posts = [{"link": link, "about": about} for link, about in sandbox.describe()]
        print_at_once(json.dumps({"env": variables, "posts": posts}, ensure_ascii=False))
        return
    put(translate("sandbox.begin"))
    put(f"\n  export {' '.join(f'{name}={value}' for name, value in variables.items())}\n")
    put(translate("sandbox.links"))
    for link, about in sandbox.describe():
        put(f"  {link:<60} {about}")
    print_at_once(translate("sandbox.end"))
