"""videos.py: finding a video that is in the folder already."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.downloading import VIDEO, rendition
from tests.payloads import TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.links import parse as parse_link
from tikhub_mcp.names import video_name
from tikhub_mcp.post import Post, read
from tikhub_mcp.videos import GOOD_FOR, Videos

POST = read(envelope(tiktok_post()), parse_link(f"https://www.tiktok.com/@a/video/{TIKTOK_ID}"), 1_760_000_000.0)
TOOK = 0.05  # seconds for a listing
Entries = AbstractContextManager[Iterator["os.DirEntry[str]"]]


def put(folder: Path, author: str, post: Post = POST, quality: str = "compatible") -> Path:
    """A whole video of the post, under the name that it got when the author was called so."""
    path = folder / video_name(post.platform, author, post.video_id, quality)
    path.write_bytes(VIDEO)
    return path


def found(videos: Videos, folder: Path, post: Post = POST, quality: str = "compatible") -> Path | None:
    """Where the post's video is."""
    saved = videos.find(folder, quality, post, rendition())
    return saved.path if saved else None


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are listed, each in TOOK seconds."""
    seen: list[Path] = []
    scandir = os.scandir

    def slow(folder: Path) -> Entries:
        seen.append(folder)
        time.sleep(TOOK)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", slow)
    return seen


def test_a_video_is_found_under_a_former_name_of_its_author(tmp_path: Path) -> None:
    assert found(Videos(), tmp_path) is None
    former = put(tmp_path, "somebody else then")
    assert found(Videos(), tmp_path) == former
    assert found(Videos(), tmp_path, replace(POST, video_id="7300000000000000009")) is None
    assert found(Videos(), tmp_path, quality="best") is None


def test_of_two_the_one_with_the_name_it_would_get_now_counts(tmp_path: Path) -> None:
    put(tmp_path, "a name before")
    now = put(tmp_path, POST.author)
    assert found(Videos(), tmp_path) == now


def test_a_broken_one_is_passed_over_for_a_whole_one(tmp_path: Path) -> None:
    put(tmp_path, POST.author).write_bytes(VIDEO[:-1])
    put(tmp_path, "half").write_bytes(VIDEO[: len(VIDEO) // 2])
    whole = put(tmp_path, "whole")
    assert found(Videos(), tmp_path) == whole


def test_a_folder_is_not_listed_for_each_video(tmp_path: Path, listings: list[Path]) -> None:
    videos = Videos()
    for number in range(100):
        post = replace(POST, video_id=str(7_300_000_000_000_000_000 + number))
        assert found(videos, tmp_path, post) is None
        path = put(tmp_path, post.author, post)
        assert found(videos, tmp_path, post) == path  # also what came after the listing
    assert listings == [tmp_path]


def test_a_listing_is_good_for_so_many_times_as_long_as_it_took(
    tmp_path: Path, listings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = Videos()
    assert found(videos, tmp_path) is None
    former = put(tmp_path, "somebody else then")
    begun = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun + GOOD_FOR * TOOK / 2)
    assert found(videos, tmp_path) is None
    monkeypatch.setattr(time, "monotonic", lambda: begun + GOOD_FOR * TOOK * 20)
    assert found(videos, tmp_path) == former
    assert len(listings) == 2


def test_another_folder_or_quality_is_listed_at_once(tmp_path: Path, listings: list[Path]) -> None:
    videos, other = Videos(), tmp_path / "other"
    other.mkdir()
    put(tmp_path, "then", quality="best")
    put(other, "then")
    assert found(videos, tmp_path) is None
    assert found(videos, tmp_path, quality="best")
    assert found(videos, other)
    assert listings == [tmp_path, tmp_path, other]


def test_the_identities_are_those_of_the_names(tmp_path: Path) -> None:
    assert set(Videos().identities(tmp_path / "missing", "compatible")) == set()
    put(tmp_path, "a")
    put(tmp_path, "b")
    (tmp_path / "notes.txt").touch()
    assert set(Videos().identities(tmp_path, "compatible")) == {("tiktok", TIKTOK_ID)}
