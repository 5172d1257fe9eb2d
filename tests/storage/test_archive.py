"""archive.py: under which names raw answers are kept, and what happens when they cannot be."""

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.support.payloads import DOUYIN_ID, TIKTOK_ID, douyin_post, envelope, private_answer, tiktok_post
from tests.support.raw_answers import DOUYIN, NAME, SHORT, TIKTOK, Restart, answered, desc, other
from tikhub_mcp.errors import DiskFull, NotWritable
from tikhub_mcp.posts.answer import Json, parse_json
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage import archive as module
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
        (envelope(data={"aweme_details": [tiktok_post(aweme_id=DOUYIN_ID), tiktok_post()]}), TIKTOK, NAME),
        ([], TIKTOK, f"raw_unknown_{ten(TIKTOK)}_noreq.json"),
    ],
)
def test_an_answer_is_named_by_post_and_request(
    archive: Archive, folder: Path, value: Json, link: Link, name: str
) -> None:
    answer = answered(value)
    kept = archive.store(link, answer, save=True)
    assert (kept.path, kept.value, kept.received) == (folder / name, value, answer.received)
    assert [path.name for path in folder.glob("*.json")] == [name]
    assert (folder / name).read_bytes() == answer.body


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_can_read_what_is_kept_whatever_the_umask(archive: Archive) -> None:
    before = os.umask(0)
    try:
        path = archive.store(TIKTOK, answered(), save=True).path
    finally:
        os.umask(before)
    assert path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_content_is_one_file_and_other_content_takes_the_next_name(archive: Archive, folder: Path) -> None:
    names = [archive.store(TIKTOK, answer, save=True).path for answer in map(other, "abac")]
    second, third = (folder / NAME.replace(".json", f"_{number}.json") for number in (2, 3))
    assert names == [folder / NAME, second, folder / NAME, third]
    assert [desc(parse_json(path.read_bytes())) for path in (folder / NAME, second, third)] == ["a", "b", "c"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO, and links for few")
def test_what_is_no_file_of_ours_keeps_its_name(archive: Archive, folder: Path, tmp_path: Path) -> None:
    names = [folder / NAME.replace(".json", number) for number in (".json", "_2.json", "_3.json", "_4.json", "_5.json")]
    (tmp_path / "victim").write_bytes(b"untouched")
    names[0].mkdir()
    os.mkfifo(names[1])
    names[2].symlink_to(tmp_path / "victim")
    names[3].symlink_to(tmp_path / "nowhere")
    assert archive.store(TIKTOK, answered(), save=True).path == names[4]
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
    path = archive.store(TIKTOK, answered(), save=True).path
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
            archive.store(TIKTOK, answered(), save=True)
    assert len(asked) == 1


def test_names_come_to_an_end(archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_COPIES", 2)
    for words in ("a", "b"):
        archive.store(TIKTOK, other(words), save=True)
    with pytest.raises(NotWritable, match="No name in"):
        archive.store(TIKTOK, other("c"), save=True)
    assert len(list(folder.glob("*.json"))) == 2


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
            archive.store(TIKTOK, answer, save=True)
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
    folder: Path, restarted: Restart
) -> None:
    folder.write_bytes(b"")
    archive = restarted()
    with pytest.raises(NotWritable):
        archive.check_room()
    assert archive.find(TIKTOK, 0, save=False) is None
    with pytest.raises(NotWritable):
        archive.store(TIKTOK, answered(), save=True)
    assert archive.find(TIKTOK, 0, save=False)


def test_the_folder_is_made_when_the_first_answer_is_to_come(folder: Path, restarted: Restart) -> None:
    assert restarted().find(TIKTOK, 0, save=True) is None
    assert not folder.exists()
    restarted().check_room()
    assert folder.is_dir()
