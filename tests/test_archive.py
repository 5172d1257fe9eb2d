"""archive.py: raw answers get their names, are whole or not there, and are found again instead of being paid for again."""

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.payloads import (
    DOUYIN_ID,
    PHOTO_ID,
    REQUEST_ID,
    TIKTOK_ID,
    douyin_post,
    envelope,
    private_answer,
    tiktok_post,
)
from tikhub_mcp import archive as module
from tikhub_mcp.answer import Json, write
from tikhub_mcp.archive import Archive
from tikhub_mcp.client import Answer
from tikhub_mcp.errors import DiskFull, NotWritable
from tikhub_mcp.links import Link, parse

TIKTOK = parse(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
DOUYIN = parse(f"https://www.douyin.com/video/{DOUYIN_ID}")
SHORT = parse("https://vm.tiktok.com/ZMmadeup1/")
NAME = f"raw_{TIKTOK_ID}_0a1b2c3d00004000.json"
Remake = Callable[[], Archive]


def answered(value: Json = None, link: Link = TIKTOK, received: float | None = None) -> Answer:
    value = envelope(tiktok_post(), params={"share_url": link.url}) if value is None else value
    request_id = value.get("request_id") if isinstance(value, dict) else None
    return Answer(write(value), value, time.time() if received is None else received, request_id)


def other(desc: str) -> Answer:
    return answered(envelope(tiktok_post(desc=desc), params={"share_url": TIKTOK.url}))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def archive(folder: Path) -> Archive:
    folder.mkdir()
    return Archive(folder, 3600)


@pytest.fixture
def restarted(folder: Path) -> Remake:
    """The archive of a process that starts anew."""
    return lambda: Archive(folder, 3600)


# Names and files


def ten(link: Link) -> str:
    return hashlib.sha256(link.url.encode()).hexdigest()[:10]


EVIL = hashlib.sha256(b"../../x").hexdigest()[:16]


@pytest.mark.parametrize(
    ("value", "link", "name"),
    [
        (envelope(tiktok_post()), TIKTOK, NAME),
        (envelope(tiktok_post(aweme_id=int(TIKTOK_ID))), SHORT, NAME),
        (envelope(douyin_post(), douyin=True), DOUYIN, f"raw_{DOUYIN_ID}_0a1b2c3d00004000.json"),
        (envelope(tiktok_post(aweme_id="../../x")), TIKTOK, f"raw_{EVIL}_0a1b2c3d00004000.json"),
        (private_answer(), DOUYIN, f"raw_unknown_{ten(DOUYIN)}_0a1b2c3d00004000.json"),
        (envelope(tiktok_post(aweme_id=None)), SHORT, f"raw_unknown_{ten(SHORT)}_0a1b2c3d00004000.json"),
        (envelope(tiktok_post(), request_id=None), TIKTOK, f"raw_{TIKTOK_ID}_noreq.json"),
        (envelope(tiktok_post(), request_id="../../x"), TIKTOK, f"raw_{TIKTOK_ID}_{EVIL}.json"),
        ([], TIKTOK, f"raw_unknown_{ten(TIKTOK)}_noreq.json"),
    ],
)
def test_an_answer_is_named_by_post_and_request(
    archive: Archive, folder: Path, value: Json, link: Link, name: str
) -> None:
    answer = answered(value)
    kept = archive.keep(link, answer, save=True)
    assert (kept.path, kept.value, kept.received) == (folder / name, value, answer.received)
    assert os.listdir(folder) == [name]
    assert (folder / name).read_bytes() == answer.body


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_can_read_what_is_kept_whatever_the_umask(archive: Archive) -> None:
    before = os.umask(0)
    try:
        path = archive.keep(TIKTOK, answered(), save=True).path
    finally:
        os.umask(before)
    assert path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_content_is_one_file_and_other_content_takes_the_next_name(archive: Archive, folder: Path) -> None:
    names = [
        archive.keep(TIKTOK, answer, save=True).path for answer in (other("a"), other("b"), other("a"), other("c"))
    ]
    second, third = (folder / NAME.replace(".json", f"_{number}.json") for number in (2, 3))
    assert names == [folder / NAME, second, folder / NAME, third]
    assert [
        json.loads(path.read_bytes())["data"]["aweme_details"][0]["desc"] for path in (folder / NAME, second, third)
    ] == ["a", "b", "c"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO, and links for few")
def test_what_is_no_file_of_ours_keeps_its_name(archive: Archive, folder: Path, tmp_path: Path) -> None:
    names = [folder / NAME.replace(".json", number) for number in (".json", "_2.json", "_3.json", "_4.json", "_5.json")]
    (tmp_path / "victim").write_bytes(b"untouched")
    names[0].mkdir()
    os.mkfifo(names[1])
    names[2].symlink_to(tmp_path / "victim")
    names[3].symlink_to(tmp_path / "nowhere")
    assert archive.keep(TIKTOK, answered(), save=True).path == names[4]
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_of_somebody_else_keeps_its_name(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / NAME).write_bytes(b"theirs")
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == NAME:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    path = archive.keep(TIKTOK, answered(), save=True).path
    assert path == folder / NAME.replace(".json", "_2.json")
    assert read(folder / NAME) == b"theirs"


# What cannot be written


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ENAMETOOLONG])
def test_a_name_of_which_nothing_can_be_told_is_an_error_at_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked: list[Path] = []

    def broken(path: Path) -> os.stat_result:
        asked.append(path)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", broken)
        with pytest.raises(NotWritable, match=os.strerror(code)):
            archive.keep(TIKTOK, answered(), save=True)
    assert len(asked) == 1


def test_names_come_to_an_end(archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_COPIES", 2)
    for desc in ("a", "b"):
        archive.keep(TIKTOK, other(desc), save=True)
    with pytest.raises(NotWritable, match="No name in"):
        archive.keep(TIKTOK, other("c"), save=True)
    assert len(os.listdir(folder)) == 2


@pytest.mark.parametrize("kind", [DiskFull, NotWritable])
def test_an_answer_that_could_not_be_written_is_in_memory_and_written_when_that_is_possible(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise kind("made up")

    answer = answered()
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_whole", fail)
        with pytest.raises(kind, match="made up"):
            archive.keep(TIKTOK, answer, save=True)
        with pytest.raises(kind, match="made up"):
            archive.find(TIKTOK, 0, save=True)
        found = archive.find(TIKTOK, 0, save=False)
    assert found
    assert (found.value, found.path, found.received) == (answer.value, None, answer.received)
    written = archive.find(TIKTOK, 0, save=True)
    assert written
    assert (written.path, written.received, written.value) == (folder / NAME, answer.received, answer.value)
    assert (folder / NAME).read_bytes() == answer.body


def test_where_the_folder_is_a_file_nothing_can_be_kept_and_that_is_known_beforehand(
    folder: Path, restarted: Remake
) -> None:
    folder.write_bytes(b"")
    archive = restarted()
    with pytest.raises(NotWritable):
        archive.check()
    assert archive.find(TIKTOK, 0, save=False) is None
    with pytest.raises(NotWritable):
        archive.keep(TIKTOK, answered(), save=True)
    assert archive.find(TIKTOK, 0, save=False)


def test_the_folder_is_made_when_the_first_answer_is_to_come(folder: Path, restarted: Remake) -> None:
    assert restarted().find(TIKTOK, 0, save=True) is None
    assert not folder.exists()
    restarted().check()
    assert folder.is_dir()


# Finding


def test_without_saving_an_answer_is_in_memory_only(folder: Path, restarted: Remake) -> None:
    archive, answer = restarted(), answered()
    assert archive.keep(TIKTOK, answer, save=False).path is None
    found = archive.find(TIKTOK, 0, save=False)
    assert found
    assert (found.value, found.path) == (answer.value, None)
    assert not folder.exists()
    assert restarted().find(TIKTOK, 0, save=False) is None


@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_is_found_by_its_link_and_by_its_post(archive: Archive, restarted: Remake, restart: bool) -> None:
    path = archive.keep(SHORT, answered(link=SHORT), save=True).path
    archive = restarted() if restart else archive
    for link in (SHORT, TIKTOK, parse(f"https://m.tiktok.com/v/{TIKTOK_ID}.html")):
        found = archive.find(link, 0, save=True)
        assert found
        assert (found.path, found.value["params"]) == (path, {"share_url": SHORT.url})
    for link in (DOUYIN, parse(f"https://www.douyin.com/video/{TIKTOK_ID}"), parse("https://vm.tiktok.com/other/")):
        assert archive.find(link, 0, save=True) is None


@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_without_a_post_and_one_with_another_are_found_as_well(
    archive: Archive, restarted: Remake, restart: bool
) -> None:
    archive.keep(DOUYIN, answered(private_answer(params={"share_url": DOUYIN.url})), save=True)
    archive.keep(
        TIKTOK, answered(envelope(tiktok_post(aweme_id=PHOTO_ID), params={"share_url": TIKTOK.url})), save=True
    )
    archive = restarted() if restart else archive
    for link in (DOUYIN, TIKTOK, parse(f"https://www.tiktok.com/@x/photo/{PHOTO_ID}")):
        assert archive.find(link, 0, save=True)


def test_the_newest_answer_is_the_one_that_is_found(archive: Archive, folder: Path, restarted: Remake) -> None:
    for number, desc in enumerate("abc"):
        path = archive.keep(TIKTOK, other(desc), save=True).path
        assert path
        age(path, 100 - number)
    for found in (archive.find(TIKTOK, 0, save=True), restarted().find(TIKTOK, 0, save=True)):
        assert found
        assert found.value["data"]["aweme_details"][0]["desc"] == "c"


def test_only_what_came_after_the_asked_moment_is_found(archive: Archive) -> None:
    archive.keep(TIKTOK, answered(received=1000.0), save=True)
    archive.keep(TIKTOK, answered(received=time.time()), save=False)
    moment = time.time() + 5
    archive.keep(TIKTOK, answered(received=moment), save=True)
    assert archive.find(TIKTOK, moment - 0.001, save=True)
    assert archive.find(TIKTOK, moment, save=True) is None


@pytest.mark.parametrize(
    ("reuse", "seconds", "found"), [(3600, 3500, True), (3600, 3700, False), (0, 500, True), (0, 700, False)]
)
def test_a_new_process_reads_files_only_as_old_as_reuse_goes_and_ten_minutes_at_least(
    archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch, reuse: float, seconds: float, found: bool
) -> None:
    archive.keep(TIKTOK, answered(), save=True)
    age(folder / NAME, seconds)
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or real(path))
    again = Archive(folder, reuse).find(TIKTOK, 0, save=True)
    assert (again is not None) is found
    assert set(read) == ({NAME} if found else set())
    if again:
        assert again.received == pytest.approx(time.time() - seconds, abs=5)


def test_a_file_from_the_future_is_not_taken_for_fresh(archive: Archive, folder: Path, restarted: Remake) -> None:
    archive.keep(TIKTOK, answered(), save=True)
    age(folder / NAME, -3600)
    assert restarted().find(TIKTOK, time.time(), save=True) is None


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b'{"cut": '), lambda path: path.write_bytes(b"")]
)
@pytest.mark.parametrize("restart", [False, True])
def test_what_vanished_or_broke_is_not_found(
    archive: Archive, folder: Path, restarted: Remake, harm: Callable[[Path], object], restart: bool
) -> None:
    archive.keep(TIKTOK, answered(), save=True)
    archive = restarted() if restart else archive
    assert archive.find(TIKTOK, 0, save=True)
    harm(folder / NAME)
    assert archive.find(TIKTOK, 0, save=True) is None


def test_an_answer_that_was_no_json_is_asked_for_again_but_odd_json_is_not(archive: Archive) -> None:
    archive.keep(TIKTOK, Answer(b"<html>", object(), time.time(), None), save=True)
    assert archive.find(TIKTOK, 0, save=True) is None
    archive.keep(TIKTOK, Answer(b'{"desc": "caf\xe9", "n": NaN}', {}, time.time(), None), save=True)
    found = archive.find(TIKTOK, 0, save=True)
    assert found
    assert found.value["desc"] == "caf\ufffd"


FOREIGN: list[Json] = [
    *([], None, 5, "x", {}, {"params": None}, {"params": []}, {"params": "share_url"}, {"params": {}}),
    *({"params": {"share_url": value}} for value in (None, 5, [TIKTOK.url], "", "https://example.com/video/1", "\x00")),
    *({"router": value, "data": tiktok_post()} for value in (None, 5, [], "/api/v1/hybrid/video_data", "tiktok")),
    {"router": "/api/v1/tiktok/x", "data": {"aweme_id": None}},
    {"detail": {"params": {"share_url": TIKTOK.url}, "router": "/api/v1/tiktok/x"}},
]


def test_foreign_files_are_passed_over_and_hurt_nothing(
    archive: Archive, folder: Path, tmp_path: Path, restarted: Remake
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
    (tmp_path / "outside").write_bytes(good)
    (folder / "g.json").symlink_to(tmp_path / "outside")
    (folder / "h.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "i.json")
    assert restarted().find(TIKTOK, 0, save=True) is None
    archive.keep(TIKTOK, answered(), save=True)
    found = restarted().find(TIKTOK, 0, save=True)
    assert found
    assert found.path == folder / NAME


def test_a_file_larger_than_any_answer_is_not_read(
    archive: Archive, folder: Path, restarted: Remake, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.keep(TIKTOK, answered(), save=True)
    monkeypatch.setattr(module, "_LARGEST_FILE", (folder / NAME).stat().st_size - 1)
    assert restarted().find(TIKTOK, 0, save=True) is None


# The index


def test_the_folder_is_scanned_once_and_a_file_that_vanishes_meanwhile_is_passed_over(
    archive: Archive, restarted: Remake, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.keep(TIKTOK, answered(), save=True)
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
        again.keep(parse("https://vm.tiktok.com/other/"), other("x"), save=True)
    assert len(scans) == 1


def test_a_folder_that_cannot_be_read_holds_nothing(
    archive: Archive, restarted: Remake, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.keep(TIKTOK, answered(), save=True)

    def refused(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    assert restarted().find(TIKTOK, 0, save=True) is None


def test_the_index_forgets_what_has_grown_old(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for number in range(20):
        monkeypatch.setattr("tikhub_mcp.archive.time.time", lambda number=number: now + 1000 * number)
        link = parse(f"https://vm.tiktok.com/code{number}/")
        archive.keep(link, answered(private_answer(), received=now + 1000 * number), save=False)
        archive.keep(TIKTOK, answered(received=now + 1000 * number), save=False)
    assert archive._index is not None
    assert len(archive._index) == 5
    assert archive.find(parse("https://vm.tiktok.com/code15/"), 0, save=False) is None
    assert archive.find(parse("https://vm.tiktok.com/code16/"), 0, save=False)
