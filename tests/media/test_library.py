"""library.py: finding a video that is in the folder already."""

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest

from tests.support.downloads import VIDEO, rendition
from tests.support.make_media import retouched
from tests.support.payloads import TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.media import library
from tikhub_mcp.media.library import Videos, existing
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.posts.post import Post, parse_post
from tikhub_mcp.storage.database import Database
from tikhub_mcp.storage.filenames import video_name
from tikhub_mcp.storage.moments import Moments

POST = parse_post(envelope(tiktok_post()), parse_link(f"https://www.tiktok.com/@a/video/{TIKTOK_ID}"), 1_760_000_000.0)
TOOK = 0.05  # seconds for a listing
Entries = AbstractContextManager[Iterator["os.DirEntry[str]"]]


def put(folder: Path, author: str, post: Post = POST, quality: str = "compatible") -> Path:
    """A whole video of the post, under the name that it got when the author was called so."""
    path = folder / video_name(post.platform, author, post.video_id, quality)
    path.write_bytes(VIDEO)
    return path


def found(here: Videos, folder: Path, post: Post = POST, quality: str = "compatible") -> Path | None:
    """Where the post's video is."""
    saved = here.find(folder, quality, post, [rendition()])
    return saved.path if saved else None


def videos() -> Videos:
    """Videos of which nothing is stored."""
    return Videos(Moments(Database(Path(os.devnull) / "index.sqlite3"), "accepted"))


def saved(path: Path) -> Saved:
    """What a download of the file returned."""
    there = existing(path, rendition())
    assert there is not None
    return there


class Disk:
    """Folders on a drive where a listing takes TOOK seconds, by a clock that nothing else moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.listed, self.broken = 100.0, list[Path](), False
        self._scandir = os.scandir
        monkeypatch.setattr(os, "scandir", self.scandir)
        monkeypatch.setattr(library, "time", SimpleNamespace(monotonic=lambda: self.now))

    def scandir(self, folder: Path) -> Entries:
        self.now += TOOK
        self.listed.append(folder)
        if self.broken:
            raise OSError(errno.EIO, "made up")
        return self._scandir(folder)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_video_is_found_under_a_former_name_of_its_author(tmp_path: Path) -> None:
    assert found(videos(), tmp_path) is None
    former = put(tmp_path, "somebody else then")
    assert found(videos(), tmp_path) == former
    assert found(videos(), tmp_path, replace(POST, video_id="7300000000000000009")) is None
    assert found(videos(), tmp_path, quality="best") is None


def test_of_two_the_one_with_the_name_it_would_get_now_counts(tmp_path: Path) -> None:
    put(tmp_path, "a name before")
    now = put(tmp_path, POST.author)
    assert found(videos(), tmp_path) == now


def test_a_broken_one_is_passed_over_for_a_whole_one(tmp_path: Path) -> None:
    put(tmp_path, POST.author).write_bytes(VIDEO[:-1])
    put(tmp_path, "half").write_bytes(VIDEO[: len(VIDEO) // 2])
    whole = put(tmp_path, "whole")
    assert found(videos(), tmp_path) == whole


def test_a_folder_is_not_listed_for_each_video(tmp_path: Path, disk: Disk) -> None:
    here = videos()
    for number in range(100):
        post = replace(POST, video_id=str(7_300_000_000_000_000_000 + number))
        assert found(here, tmp_path, post) is None
        path = put(tmp_path, post.author, post)
        assert found(here, tmp_path, post) == path  # also what came after the listing
    assert disk.listed == [tmp_path]


def test_one_listing_serves_every_quality_and_each_folder_has_its_own(tmp_path: Path, disk: Disk) -> None:
    here, other = videos(), tmp_path / "other"
    other.mkdir()
    best, usual = put(tmp_path, "then", quality="best"), put(other, "then")
    for _ in range(3):
        assert found(here, tmp_path) is None
        assert found(here, tmp_path, quality="best") == best
        assert found(here, other) == usual
    assert disk.listed == [tmp_path, other]


@pytest.mark.parametrize(("took", "good"), [(0.001, 0.05), (0.05, 2.5), (0.5, 5.0), (30.0, 5.0)])
def test_a_listing_is_good_for_fifty_times_as_long_as_it_took_and_five_seconds_at_most(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, took: float, good: float
) -> None:
    monkeypatch.setattr("tests.media.test_library.TOOK", took)
    here = videos()
    assert found(here, tmp_path) is None
    former = put(tmp_path, "somebody else then")
    disk.now += 0.99 * good
    assert found(here, tmp_path) is None
    disk.now += 0.02 * good
    assert found(here, tmp_path) == former
    assert len(disk.listed) == 2


def test_what_this_process_put_there_is_found_although_its_author_is_called_otherwise_now(
    tmp_path: Path, disk: Disk
) -> None:
    here = videos()
    assert found(here, tmp_path) is None
    here.add(POST, saved(put(tmp_path, "somebody else then")))
    assert found(here, tmp_path)
    here.add(POST, saved(put(tmp_path / "..", "in a folder that nobody listed")))
    assert disk.listed == [tmp_path]


def test_a_folder_that_could_not_be_listed_is_listed_again(tmp_path: Path, disk: Disk) -> None:
    here, former = videos(), put(tmp_path, "somebody else then")
    disk.broken = True
    assert found(here, tmp_path) is None
    disk.broken = False
    assert found(here, tmp_path) == former


def test_of_many_threads_one_lists(tmp_path: Path, disk: Disk) -> None:
    here, former, together = videos(), put(tmp_path, "somebody else then"), Barrier(8)

    def scandir(folder: Path) -> Entries:
        time.sleep(0.1)  # time for the others to come
        return disk.scandir(folder)

    def look(_: int) -> Path | None:
        together.wait(10)
        return found(here, tmp_path)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as threads:
        patch.setattr(os, "scandir", scandir)
        assert set(threads.map(look, range(8))) == {former}
    assert disk.listed == [tmp_path]


def test_the_identities_are_those_of_the_names_that_are_there_now(tmp_path: Path, disk: Disk) -> None:
    here = videos()
    assert set(here.identities(tmp_path / "missing", "compatible")) == set()
    assert found(here, tmp_path) is None
    first = put(tmp_path, "a")
    put(tmp_path, "b")
    put(tmp_path, "a", replace(POST, video_id="7300000000000000009"), quality="best")
    (tmp_path / "notes.txt").touch()
    assert set(here.identities(tmp_path, "compatible")) == {("tiktok", TIKTOK_ID)}
    for path in (first, tmp_path / first.name.replace("_a_", "_b_")):
        path.unlink()
    assert set(here.identities(tmp_path, "compatible")) == set()
    assert len(disk.listed) == 4


@pytest.mark.parametrize("restarted", [False, True])
def test_a_video_of_the_right_size_with_another_hash_is_found_only_if_it_was_downloaded_for_the_post(
    tmp_path: Path, restarted: bool
) -> None:
    index = tmp_path / "index.sqlite3"
    here, path = Videos(Moments(Database(index), "accepted")), put(tmp_path, POST.author)
    other = rendition(file_hash="0" * 32)
    assert here.find(tmp_path, "compatible", POST, [other]) is None
    downloaded = existing(path, other)
    assert downloaded is not None
    here.add(POST, downloaded)
    if restarted:
        here = Videos(Moments(Database(index), "accepted"))
    for _ in range(3):
        assert here.find(tmp_path, "compatible", POST, [other]) == downloaded
    assert here.find(tmp_path, "compatible", POST, [rendition(file_hash="1" * 32)]) is not None
    path.write_bytes(retouched(VIDEO))
    os.utime(path, ns=(1, 1))
    assert here.find(tmp_path, "compatible", POST, [other]) is None
    right = rendition(file_hash=hashlib.md5(retouched(VIDEO)).hexdigest())
    assert here.find(tmp_path, "compatible", POST, [right]) is not None
