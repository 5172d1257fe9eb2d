"""archive.py: which answers are found again, instead of being paid for again, and which are not."""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.payloads import PHOTO_ID, TIKTOK_ID, envelope, private_answer, tiktok_post
from tests.support.raw_answers import DOUYIN, NAME, SHORT, TIKTOK, Restart, age, answered, desc, other
from tikhub_mcp.posts.answer import Answer, Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.storage import archive as module
from tikhub_mcp.storage import reading
from tikhub_mcp.storage.archive import Archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def archive(folder: Path) -> Archive:
    folder.mkdir()
    return Archive(folder, 3600)


@pytest.fixture
def restarted(folder: Path) -> Restart:
    """The archive of a process that starts anew."""
    return lambda: Archive(folder, 3600)


def test_without_saving_an_answer_is_in_memory_only(folder: Path, restarted: Restart) -> None:
    archive, answer = restarted(), answered()
    assert archive.store(TIKTOK, answer, save=False).path is None
    found = archive.find(TIKTOK, 0, save=False)
    assert found
    assert (found.value, found.path) == (answer.value, None)
    assert not folder.exists()
    assert restarted().find(TIKTOK, 0, save=False) is None


@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_is_found_by_its_link_and_by_its_post(archive: Archive, restarted: Restart, restart: bool) -> None:
    path = archive.store(SHORT, answered(link=SHORT), save=True).path
    archive = restarted() if restart else archive
    for link in (SHORT, TIKTOK, parse_link(f"https://m.tiktok.com/v/{TIKTOK_ID}.html")):
        found = archive.find(link, 0, save=True)
        assert found
        assert (found.path, found.value["params"]) == (path, {"share_url": SHORT.url})
    for link in (
        DOUYIN,
        parse_link(f"https://www.douyin.com/video/{TIKTOK_ID}"),
        parse_link("https://vm.tiktok.com/other/"),
    ):
        assert archive.find(link, 0, save=True) is None


@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_without_a_post_and_one_with_another_are_found_as_well(
    archive: Archive, restarted: Restart, restart: bool
) -> None:
    archive.store(DOUYIN, answered(private_answer(params={"share_url": DOUYIN.url})), save=True)
    archive.store(
        TIKTOK, answered(envelope(tiktok_post(aweme_id=PHOTO_ID), params={"share_url": TIKTOK.url})), save=True
    )
    archive = restarted() if restart else archive
    for link in (DOUYIN, TIKTOK, parse_link(f"https://www.tiktok.com/@x/photo/{PHOTO_ID}")):
        assert archive.find(link, 0, save=True)


def test_the_newest_answer_is_the_one_that_is_found(archive: Archive, folder: Path, restarted: Restart) -> None:
    for number, words in enumerate("abc"):
        path = archive.store(TIKTOK, other(words), save=True).path
        assert path
        age(path, 100 - number)
    for found in (archive.find(TIKTOK, 0, save=True), restarted().find(TIKTOK, 0, save=True)):
        assert found
        assert desc(found.value) == "c"


def test_only_what_came_after_the_asked_moment_is_found(archive: Archive) -> None:
    archive.store(TIKTOK, answered(received=1000.0), save=True)
    archive.store(TIKTOK, answered(received=time.time()), save=False)
    moment = time.time()
    archive.store(TIKTOK, answered(received=moment), save=True)
    assert archive.find(TIKTOK, moment - 0.001, save=True)
    assert archive.find(TIKTOK, moment, save=True) is None


NO_TIME = envelope(tiktok_post(), time_stamp=None)


@pytest.mark.parametrize(
    ("reuse", "seconds", "found"), [(3600, 3500, True), (3600, 3700, False), (0, 500, True), (0, 700, False)]
)
def test_a_new_process_reads_files_only_as_old_as_reuse_goes_and_ten_minutes_at_least(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch, reuse: float, seconds: float, found: bool
) -> None:
    (folder / NAME).write_bytes(answered(NO_TIME).body)
    age(folder / NAME, seconds)
    read, real = list[str](), reading.read_regular

    def noted(path: Path, largest: int) -> bytes:
        read.append(path.name)
        return real(path, largest)

    monkeypatch.setattr(module, "read_regular", noted)
    again = Archive(folder, reuse).find(TIKTOK, 0, save=True)
    assert (again is not None) is found
    assert set(read) == ({NAME} if found else set())
    if again:
        assert again.received == pytest.approx(time.time() - seconds, abs=5)


def test_a_file_from_the_future_is_not_taken_for_fresh(folder: Path, restarted: Restart) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(answered(NO_TIME).body)
    age(folder / NAME, -3600)
    assert restarted().find(TIKTOK, time.time(), save=True) is None


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b'{"cut": '), lambda path: path.write_bytes(b"")]
)
@pytest.mark.parametrize("restart", [False, True])
def test_what_vanished_or_broke_is_not_found(
    archive: Archive, folder: Path, restarted: Restart, harm: Callable[[Path], object], restart: bool
) -> None:
    archive.store(TIKTOK, answered(), save=True)
    archive = restarted() if restart else archive
    assert archive.find(TIKTOK, 0, save=True)
    harm(folder / NAME)
    assert archive.find(TIKTOK, 0, save=True) is None


def test_an_answer_that_was_no_json_is_asked_for_again_but_odd_json_is_not(archive: Archive) -> None:
    archive.store(TIKTOK, Answer(b"<html>", object(), time.time(), None), save=True)
    assert archive.find(TIKTOK, 0, save=True) is None
    archive.store(TIKTOK, Answer(b'{"desc": "caf\xe9", "n": NaN}', {}, time.time(), None), save=True)
    found = archive.find(TIKTOK, 0, save=True)
    assert found
    assert found.value["desc"] == "caf\ufffd"


NO_LINKS: list[Json] = [None, 5, [TIKTOK.url], "", "https://example.com/video/1", "\x00"]
NO_ROUTERS: list[Json] = [None, 5, [], "/api/v1/hybrid/video_data", "tiktok"]
FOREIGN: list[Json] = [
    *([], None, 5, "x", {}, {"params": None}, {"params": []}, {"params": "share_url"}, {"params": {}}),
    *({"params": {"share_url": url}} for url in NO_LINKS),
    *({"router": router, "data": tiktok_post()} for router in NO_ROUTERS),
    {"router": "/api/v1/tiktok/x", "data": {"aweme_id": None}},
    {"detail": {"params": {"share_url": TIKTOK.url}, "router": "/api/v1/tiktok/x"}},
]


def test_foreign_files_are_passed_over_and_hurt_nothing(
    archive: Archive, folder: Path, tmp_path: Path, restarted: Restart
) -> None:
    good = answered().body
    for number, value in enumerate(FOREIGN):
        (folder / f"{number}.json").write_text(json.dumps(value))
    for name, body in {
        "a.json": b"\xff\xfe\xff",
        "b.json": b"[" * 100_000,
        "c.json": b"",
        "d.txt": good,
        "e.json.part": good,
    }.items():
        (folder / name).write_bytes(body)
    (folder / "f.json").mkdir()
    if os.name != "nt":  # Windows has no FIFO, and links for few
        (tmp_path / "outside").write_bytes(good)
        (folder / "g.json").symlink_to(tmp_path / "outside")
        (folder / "h.json").symlink_to(tmp_path / "nowhere")
        os.mkfifo(folder / "i.json")
    assert restarted().find(TIKTOK, 0, save=True) is None
    archive.store(TIKTOK, answered(), save=True)
    found = restarted().find(TIKTOK, 0, save=True)
    assert found
    assert found.path == folder / NAME


def test_a_file_larger_than_any_answer_is_not_read(
    archive: Archive, folder: Path, restarted: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(TIKTOK, answered(), save=True)
    monkeypatch.setattr(module, "_MAX_FILE_BYTES", (folder / NAME).stat().st_size - 1)
    assert restarted().find(TIKTOK, 0, save=True) is None


# The index


def test_the_folder_is_scanned_once_and_a_file_that_vanishes_meanwhile_is_passed_over(
    archive: Archive, restarted: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.store(TIKTOK, answered(), save=True)
    scans: list[object] = []
    real = os.scandir

    class Scan:
        """A scan during which every file but ours is removed."""

        def __init__(self, folder: Path) -> None:
            scans.append(folder)
            (folder / "gone.json").touch()
            self.entries = list(real(folder))
            (folder / "gone.json").unlink()

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(os, "scandir", Scan)
    again = restarted()
    for link in (TIKTOK, SHORT, TIKTOK, DOUYIN):
        assert (again.find(link, 0, save=True) is not None) is (link is TIKTOK)
        again.store(parse_link("https://vm.tiktok.com/other/"), other("x"), save=True)
    assert len(scans) == 1


def test_a_folder_that_cannot_be_read_holds_nothing(
    folder: Path, restarted: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(answered(NO_TIME).body)

    def refused(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    assert restarted().find(TIKTOK, 0, save=True) is None


def test_what_is_in_memory_alone_is_forgotten_when_it_is_old(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number in range(20):
        monkeypatch.setattr("tikhub_mcp.storage.archive.time.time", lambda number=number: now + 1000 * number)
        link = parse_link(f"https://vm.tiktok.com/code{number}/")
        archive.store(link, answered(private_answer(), received=now + 1000 * number), save=False)
        archive.store(TIKTOK, answered(received=now + 1000 * number), save=False)
    assert len(archive._unsaved) == 9
    assert archive.find(parse_link("https://vm.tiktok.com/code11/"), 0, save=False) is None
    assert archive.find(parse_link("https://vm.tiktok.com/code12/"), 0, save=False)
