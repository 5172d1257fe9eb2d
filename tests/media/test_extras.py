"""extras.py: the files beside a video, from a server, and from a folder in which other things have their names."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import pytest

from tests.support.downloads import MUSIC, PAGE, QUICK
from tests.support.fault_server import Act, Faulty
from tests.support.make_pictures import PICTURES
from tests.support.payloads import ANSWERED, envelope, tiktok_post, video
from tests.support.photo_posts import as_type
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.extras import SavedExtra, save_extras, spoken_text
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.media.size_limit import SizeLimit
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.extras import Extra
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.post import Post, parse_post
from tikhub_mcp.posts.renditions import Rendition

SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
WORDS = b"WEBVTT\n\n00:00.000 --> 00:01.000\nPaper boats\n"
OTHER = WORDS.replace(b"Paper boats", b"private words")
JPEG, WEBP, HEIC = (PICTURES[name]() for name in ("JPEG baseline", "WebP lossy", "HEIC"))


def post(server: Faulty, *covers: str) -> Post:
    captions: Json = {"caption_infos": [{"language_code": "en", "url": server.on("/en", as_type(WORDS, "text/vtt"))}]}
    return parse_post(
        envelope(
            tiktok_post(
                music={"play_url": {"url_list": [server.on("/music", as_type(MUSIC, "audio/mp4"))]}},
                video=video(
                    cla_info=captions, cover={"url_list": list(covers) or [server.on("/cover.jpeg", as_type(JPEG))]}
                ),
            )
        ),
        SHORT,
        ANSWERED,
    )


def save(
    root: Path, wanted: Post, include: Sequence[Extra] = get_args(Extra), most: int = 1 << 30, newer_than: float = 0.0
) -> tuple[tuple[SavedExtra, ...], tuple[str, ...]]:
    downloader = Downloader(Network(loopback_media=True), QUICK)

    async def fetch(
        files: tuple[Rendition, ...], target: Path, staging: Path, name: str, progress: Callable[[int], None]
    ) -> Saved:
        first, *others = files
        return await downloader.fetch(first, "tiktok", target, progress, others=others, staging=staging, name=name)

    limit = SizeLimit(most, {})
    return asyncio.run(save_extras(wanted, include, root / "v", limit, fetch, newer_than))


def asked(server: Faulty) -> list[str]:
    paths = sorted(request.path for request in server.requests)
    server.requests.clear()
    return paths


def test_what_is_there_is_fetched_again_only_if_it_is_old(server: Faulty, tmp_path: Path) -> None:
    wanted = post(server)
    first = save(tmp_path, wanted)
    assert [extra.path.name for extra in first[0]] == ["v.m4a", "v.cover.jpg", "v.en.vtt"]
    assert (first[1], len(asked(server)), save(tmp_path, wanted), asked(server)) == ((), 3, first, [])
    os.utime(tmp_path / "v.en.vtt", (1.0, 1.0))
    assert (save(tmp_path, wanted, newer_than=2.0), asked(server)) == (first, ["/en"])


@pytest.mark.parametrize(
    "put",
    [
        lambda path, other: path.symlink_to(other),
        pytest.param(lambda path, _: os.mkfifo(path), marks=pytest.mark.skipif(os.name == "nt", reason="no pipes")),
        lambda path, _: path.write_bytes(PAGE),
        lambda path, _: path.write_bytes(WORDS[:3]),
    ],
)
def test_what_has_the_name_of_an_extra_and_is_none_is_neither_read_nor_waited_for(
    server: Faulty, tmp_path: Path, put: Callable[[Path, Path], object]
) -> None:
    (other := tmp_path / "other").write_bytes(OTHER)
    (folder := tmp_path / "videos").mkdir()
    put(folder / "v.en.vtt", other)
    extras, warnings = save(folder, post(server))
    spoken = spoken_text(extras)
    assert spoken is not None
    assert (spoken.text, warnings, (folder / "v.en.vtt").read_bytes()) == ("Paper boats", (), WORDS)
    assert other.read_bytes() == OTHER


def test_a_cover_in_heic_is_never_saved_whatever_its_link_says(server: Faulty, tmp_path: Path) -> None:
    heic = server.on("/heic.jpeg", as_type(HEIC, "image/heic"))
    _, (warning,) = save(tmp_path, post(server, heic))
    assert warning.startswith("The cover of post 7300000000000000001 could not be downloaded")
    assert warning.endswith("it is in HEIC, which few programs open.")
    assert not [path.name for path in tmp_path.iterdir() if "cover" in path.name]
    assert save(tmp_path, post(server, heic, server.on("/cover.jpeg", as_type(JPEG))))[1] == ()
    assert (tmp_path / "v.cover.jpg").read_bytes() == JPEG


def test_an_extra_that_does_not_fit_the_limit_is_left_out(server: Faulty, tmp_path: Path) -> None:
    extras, (warning,) = save(tmp_path, post(server), ["music"], most=len(MUSIC) - 1)
    assert (extras, list(tmp_path.iterdir())) == ((), [])
    assert warning.startswith("The music of post 7300000000000000001 is left out. The files of post")


def test_a_warning_about_an_extra_that_was_fetched_names_it(server: Faulty, tmp_path: Path) -> None:
    wanted = post(server, server.on("/a.jpeg", Act(status=403)), server.on("/a.webp", as_type(WEBP, "image/webp")))
    server.on("/en", Act(status=404))
    server.on("/music", Act(body=MUSIC, headers=[("Content-Type", "audio/mp4")], framing="none"))
    extras, warnings = save(tmp_path, wanted)
    assert [extra.path.name for extra in extras] == ["v.m4a", "v.cover.webp"]
    about = "of post 7300000000000000001"
    assert warnings == (
        f"The captions in en {about} could not be downloaded (mirrors: 1, attempts: 2): the CDN answered HTTP 404.",
        f"The music {about}: no size was given for the file, so its size is not confirmed",
        f"The cover {about}: this is not the first choice (jpeg): the CDN answered HTTP 403",
    )
