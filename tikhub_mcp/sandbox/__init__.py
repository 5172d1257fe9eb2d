"""A stand-in for TikHub and its CDN on the loopback interface, for demos, tests and benchmarks.

Real sockets, real-shaped answers, small real MP4s; nothing real in them. What can be asked for, and what happens
then, is the table in `scenarios.py`. Imports nothing else of this package, and the server never imports it.

    with Sandbox() as sandbox:
        answer = httpx.get(f"{sandbox.base_url}/api/v1/douyin/app/v3/…", params={"share_url": link("private")}, …)
"""

from tikhub_mcp.sandbox.app import ApiCall, MediaRequest
from tikhub_mcp.sandbox.scenarios import SCENARIOS, Scenario, good_links, link, short_link
from tikhub_mcp.sandbox.server import Sandbox

__all__ = ["SCENARIOS", "ApiCall", "MediaRequest", "Sandbox", "Scenario", "good_links", "link", "short_link"]
