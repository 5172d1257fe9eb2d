"""A test server that imitates TikHub and its CDN on the loopback interface, for demos, tests and benchmarks.

It uses real sockets, answers in TikHub's format with invented content, and small MP4 files. `scenarios.py` lists the
posts that can be requested. It imports nothing else of this package, and the MCP server never imports it.

    with Sandbox() as sandbox:
        answer = httpx.get(f"{sandbox.base_url}/api/v1/douyin/app/v3/…", params={"share_url": link("private")}, …)
"""

from tikhub_mcp.sandbox.app import ApiCall, MediaRequest
from tikhub_mcp.sandbox.scenarios import SCENARIOS, Scenario, good_links, link, short_link
from tikhub_mcp.sandbox.server import Sandbox

__all__ = ["SCENARIOS", "ApiCall", "MediaRequest", "Sandbox", "Scenario", "good_links", "link", "short_link"]
