"""Photo posts whose files are on a server of the tests, and their download."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.support.downloads import QUICK, nothing
from tests.support.fault_server import Act
from tests.support.make_pictures import PICTURES
from tests.support.payloads import ANSWERED, envelope, photo_post
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.photos.folder import find_folder
from tikhub_mcp.media.photos.save import SavedPhotos, save_photos
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.post import Post, parse_post
from tikhub_mcp.posts.renditions import Quality, Rendition

SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
JPEG = PICTURES["JPEG baseline"]()


def as_type(body: bytes, kind: str = "image/jpeg") -> Act:
    return Act(body=body, headers=[("Content-Type", kind)])


GOOD = as_type(JPEG)


def picture(*urls: str, uri: str = "", clip: str = "") -> Json:
    image = {"display_image": {"uri": uri or urls[0], "url_list": list(urls), "width": 117, "height": 83}}
    return image | ({"video": {"play_addr": {"url_list": [clip]}}} if clip else {})


def post(*pictures: Json, **over: Json) -> Post:
    made = photo_post(image_post_info={"images": list(pictures)}, video=None, **over)
    return parse_post(envelope(made), SHORT, ANSWERED)


async def saving(
    root: Path,
    wanted: Post,
    quality: Quality = "compatible",
    *,
    music: bool = False,
    most: int = 1 << 30,
    received: Callable[[int], None] = nothing,
) -> SavedPhotos:
    downloader = Downloader(Network(loopback_media=True), QUICK)

    async def fetch(
        files: tuple[Rendition, ...], target: Path, staging: Path, name: str, progress: Callable[[int], None]
    ) -> Saved:
        def note(size: int) -> None:
            received(size)
            progress(size)

        first, *others = files
        return await downloader.fetch(first, "tiktok", target, note, others=others, staging=staging, name=name)

    folder = find_folder(root, wanted, quality, music=music)
    return await save_photos(folder, wanted, most, fetch, lambda *_: None)


def save(
    root: Path, wanted: Post, quality: Quality = "compatible", *, music: bool = False, most: int = 1 << 30
) -> SavedPhotos:
    return asyncio.run(saving(root, wanted, quality, music=music, most=most))
