"""database.py and the index in it: what processes that share a raw folder learn of each other, whatever befalls it."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.payloads import TIKTOK_ID, envelope, tiktok_post
from tests.support.raw_answers import DOUYIN, NAME, SHORT, TIKTOK, Restart, answered, change_index, desc
from tikhub_mcp.errors import NotWritable
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.database import INDEX_NAME, Database
from tikhub_mcp.storage.filenames import raw_name
from tikhub_mcp.storage.moments import Moments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def index(folder: Path) -> Path:
    return folder / INDEX_NAME


@pytest.fixture
def archives(folder: Path) -> Restart:
    """As many processes as one likes, which share the folder and nothing else."""
    return lambda: Archive(folder, 3600)


def said(text: str, ago: float = 0.0) -> Answer:
    """An answer with this text, which came so long ago."""
    at = time.time() - ago
    return answered(envelope(tiktok_post(desc=text), params={"share_url": TIKTOK.url}, time_stamp=int(at)), received=at)


def found(archive: Archive, link: Link = TIKTOK, newer_than: float = 0) -> str | None:
    """The text of the answer that is found, if there is one."""
    stored = archive.find(link, newer_than, save=True)
    return None if stored is None else str(desc(stored.value))


def unreadable_folder(_: object) -> NoReturn:
    raise AssertionError("the folder is read again")


# What others stored


def test_what_another_process_stores_is_found_without_reading_the_folder_again(
    archives: Restart, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = archives(), archives()
    assert found(ours) is None
    monkeypatch.setattr(os, "scandir", unreadable_folder)
    stored = theirs.store(SHORT, said("theirs"), save=True)
    for link in (SHORT, TIKTOK):  # the one that was asked for, and the post that came
        again = ours.find(link, 0, save=True)
        assert again is not None
        assert (again.value, again.path, again.received) == (stored.value, stored.path, stored.received)
    assert found(ours, DOUYIN) is None
    assert found(archives()) == "theirs"


def test_of_all_answers_about_a_post_the_newest_is_found_in_whichever_order_they_are_stored(archives: Restart) -> None:
    crowd = [archives() for _ in range(3)]
    for turn, ago in enumerate((50, 10, 40, 20, 30)):
        crowd[turn % 3].store(TIKTOK, said(f"{ago}", ago=ago), save=True)
    assert [found(archive) for archive in crowd] == ["10"] * 3


def test_an_older_answer_counts_for_the_links_that_no_newer_one_is_known_for(archives: Restart) -> None:
    archives().store(TIKTOK, said("newer"), save=True)
    archives().store(SHORT, said("older", ago=60), save=True)  # the same post
    ours = archives()
    assert (found(ours), found(ours, SHORT)) == ("newer", "older")


def test_an_answer_of_the_future_is_not_found_and_gives_way_to_the_next(archives: Restart) -> None:
    ours = archives()
    assert found(ours) is None
    ours.store(TIKTOK, said("to come", ago=-3600), save=True)
    assert found(ours) is None
    ours.store(TIKTOK, said("now"), save=True)
    assert found(ours) == "now"


def test_answers_are_forgotten_after_a_day(archives: Restart, monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    now = time.time()
    for hours in range(0, 48, 6):
        monkeypatch.setattr("tikhub_mcp.storage.archive.time.time", lambda hours=hours: now + 3600 * hours)
        link = parse_link(f"https://vm.tiktok.com/code{hours}/")
        archives().store(link, answered({}, link, now + 3600 * hours), save=True)
    with sqlite3.connect(index) as connection:
        (number,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    assert number == 5


# The index anew


@pytest.mark.parametrize("removed", ["before the start", "under a running process"])
def test_an_index_that_was_removed_is_made_again_from_the_files(archives: Restart, index: Path, removed: str) -> None:
    ours = archives()
    ours.store(TIKTOK, said("old"), save=True)
    index.unlink()
    ours = archives() if removed == "before the start" else ours
    assert found(ours) == "old"
    assert index.exists()
    assert found(archives()) == "old"


def test_files_are_read_once_and_only_for_a_new_index(
    archives: Restart, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / NAME).write_bytes(said("restored").body)
    assert found(archives()) == "restored"
    monkeypatch.setattr(os, "scandir", unreadable_folder)
    assert found(archives()) == "restored"


@pytest.mark.parametrize(("ago", "expected"), [(60, "x"), (7200, None)])
def test_an_answer_is_as_old_as_it_says_where_the_file_is_a_younger_copy(
    archives: Restart, folder: Path, ago: float, expected: str | None
) -> None:
    (folder / NAME).write_bytes(said("x", ago).body)
    assert found(archives(), newer_than=time.time() - 3600) == expected


@pytest.mark.parametrize("copied", ["as a folder", "as files"])
def test_a_folder_that_is_moved_or_mounted_elsewhere_keeps_its_answers(
    archives: Restart, folder: Path, copied: str
) -> None:
    archives().store(TIKTOK, said("moved"), save=True)
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    if copied == "as files":
        (elsewhere / INDEX_NAME).unlink()
    assert found(Archive(elsewhere, 3600)) == "moved"


def test_a_file_whose_name_is_not_utf_8_is_found(archives: Restart, folder: Path) -> None:
    archives().store(TIKTOK, said("renamed"), save=True)
    (folder / NAME).rename(folder / os.fsdecode(b"raw_\xff.json"))
    (folder / INDEX_NAME).unlink()
    assert found(archives()) == "renamed"
    assert found(archives()) == "renamed"  # from the file of the index
    archives().store(TIKTOK, said("again"), save=True)
    assert found(archives()) == "again"


def test_without_a_folder_nothing_is_made_and_answers_are_in_memory(folder: Path) -> None:
    folder.rmdir()
    archive = Archive(folder, 3600)
    archive.store(TIKTOK, said("mine"), save=False)
    assert archive.find(TIKTOK, 0, save=False)
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_the_index_is_its_owners_alone(archives: Restart, folder: Path) -> None:
    archives().store(TIKTOK, said("mine"), save=True)
    assert {path.stat().st_mode & 0o77 for path in folder.glob(f"{INDEX_NAME}*")} == {0}


# What befalls the file


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return harm


def make_pipe_beside(end: str, path: Path) -> None:
    os.mkfifo(f"{path}{end}")


HARMS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"what is this\n" * 5000),
    "a database cut in half": cut,
    "a database of zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another database": replaced(lambda path: run(path, "CREATE TABLE answers (x)")),
    "a table that takes no rows": replaced(
        lambda path: run(path, "CREATE TABLE answers (key TEXT PRIMARY KEY CHECK (0), file, received)")
    ),
    "another version": replaced(lambda path: run(path, "PRAGMA user_version = 7")),
    "a folder": replaced(Path.mkdir),
    "a link": replaced(lambda path: path.symlink_to(path.parent.parent / "victim")),
    "a link to nowhere": replaced(lambda path: path.symlink_to(path.parent.parent / "nowhere")),
    "a pipe": replaced(os.mkfifo),
    **{f"a pipe as {end}": partial(make_pipe_beside, end) for end in ("-wal", "-shm", "-journal")},
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO, and links for few")
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("name", HARMS)
def test_whatever_stands_in_the_place_of_the_index_no_answer_is_lost_and_nothing_waits(
    archives: Restart, folder: Path, index: Path, name: str, running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    victim = folder.parent / "victim"
    victim.write_bytes(b"as it was")
    ours = archives()
    ours.store(TIKTOK, said("old"), save=True)
    ours.database.close()  # as the last process does, so that all is in the file
    HARMS[name](index)
    ours = ours if running else archives()
    began = time.monotonic()
    assert found(ours) == "old"
    assert found(archives()) == "old"
    ours.store(SHORT, said("new"), save=True)
    assert [found(ours), found(ours, SHORT)] == ["new"] * 2
    moments = Moments(ours.database, "call")
    moments.put(100.0, "name")
    moments.touch("name")
    moment = moments.get("name")
    assert moment is not None
    assert moment.at == 100.0
    moments.remove("name")
    assert moments.get("name") is None
    assert time.monotonic() - began < 5
    assert victim.read_bytes() == b"as it was"
    assert not (folder.parent / "nowhere").exists()
    assert found(archives()) == "new"
    if name != "empty":
        assert "index" in caplog.text


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX's users")
def test_an_index_of_another_user_is_not_used(
    archives: Restart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archives().store(TIKTOK, said("theirs"), save=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    ours = archives()
    assert found(ours) == "theirs"  # the files are read instead
    ours.store(SHORT, said("mine"), save=True)
    assert found(ours, SHORT) == "mine"
    monkeypatch.undo()
    assert found(archives(), SHORT) is None
    assert "not a file of this user" in caplog.text


ROWS: dict[str, tuple[object, object]] = {
    "a way out": ("../a.json", 1.0),
    "an absolute path": ("/etc/hostname", 1.0),
    "below the folder": ("deeper/a.json", 1.0),
    "no name": (None, 1.0),
    "an empty name": ("", 1.0),
    "a NUL": ("a\0.json", 1.0),
    "bytes": (b"a.json", 1.0),
    "a link": ("link.json", 1.0),
    "a time that is a text": (NAME, "soon"),
    "no time": (NAME, None),
    "the end of time": (NAME, float("inf")),
}


@pytest.mark.skipif(os.name == "nt", reason="links for few")
@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_leads_out_of_the_folder_or_makes_no_sense_is_not_followed(
    archives: Restart, folder: Path, name: str
) -> None:
    body = said("outside").body
    (folder / "deeper").mkdir()
    for path in (folder.parent / "a.json", folder / "deeper" / "a.json"):
        path.write_bytes(body)
    (folder / "link.json").symlink_to(folder.parent / "a.json")
    ours = archives()
    assert found(ours) is None
    ours.store(TIKTOK, said("inside"), save=True)
    assert found(ours) == "inside"
    file, received = ROWS[name]
    change_index(folder, "UPDATE answers SET file = ?, received = ?", file, received)
    assert found(ours) is None
    ours.store(TIKTOK, said("again"), save=True)
    assert found(ours) == "again"


@pytest.mark.parametrize("ended", [False, True])
def test_a_process_that_holds_the_file_is_not_waited_for_and_gets_the_rows_when_it_lets_go(
    archives: Restart, index: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    ours = archives()
    ours.store(TIKTOK, said("before"), save=True)
    moments = Moments(ours.database, "call")
    moments.put(100.0, "name")
    stopped = sqlite3.connect(index, isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for number in range(5):
        ours.store(SHORT, said(f"{number}"), save=True)
        assert found(ours, SHORT) == f"{number}"
        moments.put(200.0 + number, "name")
    assert time.monotonic() - began < 2
    assert "locked" in caplog.text
    stopped.close()
    if ended:
        ours.database.close()
    else:
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert found(ours, SHORT) == "4"
    theirs = archives()
    assert [found(theirs, SHORT), found(theirs)] == ["4", "4"]
    moment = Moments(theirs.database, "call").get("name")
    assert moment is not None
    assert moment.at == 204.0


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_folder_that_cannot_be_read_for_want_of_resources_counts_as_unread_and_nothing_is_paid(
    archives: Restart, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        ours = archives()
        with pytest.raises(NotWritable, match="Nothing was paid for"):
            found(ours)
    archives().store(TIKTOK, said("theirs"), save=True)
    assert found(ours) == "theirs"


def test_each_kind_of_moment_is_independent_and_a_damaged_one_is_none(folder: Path, index: Path) -> None:
    database = Database(index)
    calls, others = Moments(database, "call"), Moments(Database(index), "other")
    calls.put(100.0, "name", 1)
    others.put(200.0, "name", 1)
    assert [moments.get("name", 1).at for moments in (calls, others)] == [100.0, 200.0]  # type: ignore[union-attr]
    assert calls.get("name", 2) is None
    calls.put(time.time() + 3600, "name", 1)
    assert calls.get("name", 1) is None
    database.write("UPDATE moments SET touched = ?", time.time() - 90_000)
    calls.put(300.0, "name", 2)
    assert others.get("name", 1) is not None
    with sqlite3.connect(index) as connection:
        assert connection.execute("SELECT count(*) FROM moments WHERE kind = 'call'").fetchone() == (1,)
    connection.close()


def test_more_than_a_thousand_answers_under_one_name_are_stored(archives: Restart, folder: Path) -> None:
    for number in range(1, 1101):
        (folder / raw_name(TIKTOK_ID, TIKTOK.url, None, number)).write_bytes(b"{}")
    value = envelope(tiktok_post(), request_id=None)
    path = archives().store(TIKTOK, answered(value), save=True).path
    assert path == folder / raw_name(TIKTOK_ID, TIKTOK.url, None, 1101)
