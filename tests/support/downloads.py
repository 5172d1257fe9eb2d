"""What the tests of downloads share: real files, quick limits, and a folder that must end up clean."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

import tikhub_mcp
from tests.support.fault_server import Act
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.links import Platform
from tikhub_mcp.posts.renditions import Rendition

MEDIA = Path(tikhub_mcp.__file__).parent / "sandbox" / "media"
VIDEO, MUSIC = (MEDIA / "h264.mp4").read_bytes(), (MEDIA / "music.m4a").read_bytes()
ENCRYPTED = VIDEO[: VIDEO.index(b"stsd")] + VIDEO[VIDEO.index(b"stsd") :].replace(b"avc1", b"encv", 1)
H266 = VIDEO.replace(b"avc1", b"bvc2")
SIZE = len(VIDEO)
PAGE = b"<!DOCTYPE html><h1>Access Denied</h1>" * 3000
QUICK = Limits(seconds=20, read_timeout=0.3, slow_seconds=0.2, slow_bytes=2000, pause=0.0)
GOOD = Act(body=VIDEO)
UNSIZED = "no size was given for the file"


def rendition(*urls: str, size: int | None = SIZE, file_hash: str = "") -> Rendition:
    """VIDEO on these mirrors, or what is said to be it."""
    return Rendition("h264", 144, 256, 0, size, file_hash, urls, None)


def nothing(_: int) -> None:
    """No progress is wanted."""


async def fetching(
    file: Rendition,
    target: Path,
    limits: Limits = QUICK,
    platform: Platform = "tiktok",
    progress: Callable[[int], None] = nothing,
    transport: httpx.AsyncBaseTransport | None = None,
    others: Sequence[Rendition] = (),
) -> Saved:
    """Download, with limits that make faults quick."""
    network = Network(loopback_media=True, transport=transport)
    return await Downloader(network, limits).fetch(file, platform, target, progress, others=others)


def fetch(
    file: Rendition,
    target: Path,
    limits: Limits = QUICK,
    platform: Platform = "tiktok",
    progress: Callable[[int], None] = nothing,
    transport: httpx.AsyncBaseTransport | None = None,
    others: Sequence[Rendition] = (),
) -> Saved:
    """The same, from where no loop runs."""
    return asyncio.run(fetching(file, target, limits, platform, progress, transport, others))
