"""Jobs about photo posts that have nothing to download; the others are in tests/tools/test_server_photos.py."""

from pathlib import Path

import pytest

from tests.support.fake_tikhub import FIRST, World, call, link, show
from tests.support.payloads import photo_post
from tikhub_mcp.posts.answer import Json


@pytest.mark.parametrize(
    ("images", "code"),
    [
        ([{}, {"owner_watermark_image": {"url_list": ["https://img.example/1.jpeg"]}}], "post_unavailable"),
        ([], "not_a_video"),
    ],
)
def test_a_photo_post_without_a_link_to_a_picture_is_final(tmp_path: Path, images: Json, code: str) -> None:
    async def story(world: World) -> None:
        world.tikhub.posts[link().key] = photo_post(aweme_id=str(FIRST), image_post_info={"images": images})
        outcome = await world.get(call(), link())
        assert outcome.error is not None
        assert (outcome.status, outcome.error.code, outcome.error.retryable) == ("failed", code, False)
        assert (outcome.photos, world.downloader.targets) == (None, [])

    show(tmp_path, story)
