"""archive.py: the journal through which the processes that share a folder learn of each other's answers."""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.payloads import TIKTOK_ID
from tests.support.raw_answers import DOUYIN, SHORT, TIKTOK, desc, other
from tikhub_mcp.errors import NotWritable
from tikhub_mcp.posts.answer import Answer, Json
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.archive import Archive

Archives = Callable[[], Archive]
POST = f"tiktok:{TIKTOK_ID}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / ".journal"


@pytest.fixture
def archives(folder: Path, journal: Path) -> Archives:
    """As many processes as one likes, which share the folder and the journal and nothing else."""
    return lambda: Archive(folder, 3600, journal)


@pytest.fixture
def ours(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive that has read its folder, which nobody can read again."""
    archive = archives()
    assert archive.find(TIKTOK, 0, save=True) is None

    def scan(_: object) -> NoReturn:
        raise AssertionError("the folder is read again")

    monkeypatch.setattr(os, "scandir", scan)
    return archive


def found(archive: Archive, link: Link = TIKTOK, newer_than: float = 0) -> str | None:
    """The text of the answer that is found, if there is one."""
    kept = archive.find(link, newer_than, save=True)
    return None if kept is None else str(desc(kept.value))


def said(text: str, ago: float = 0.0) -> Answer:
    """An answer with this text, which came so long ago."""
    answer = other(text)
    return Answer(answer.body, answer.value, time.time() - ago, answer.request_id)


def line(path: object, *keys: Json, received: Json = "now") -> bytes:
    """What an archive announces: when an answer came, where it is, and what it answers."""
    name = str(path) if isinstance(path, Path) else path
    return json.dumps([time.time() if received == "now" else received, name, *keys]).encode() + b"\n"


def append(journal: Path, content: bytes) -> None:
    with journal.open("ab") as file:
        file.write(content)


def put(path: Path, text: str) -> Path:
    """A raw file that nobody announced."""
    path.write_bytes(said(text).body)
    return path


# What others kept


def test_what_another_process_keeps_is_found_without_reading_the_folder_again(
    archives: Archives, ours: Archive
) -> None:
    theirs = archives()
    assert found(ours, SHORT) is None
    kept = theirs.store(SHORT, said("theirs"), save=True)
    for link in (SHORT, TIKTOK):  # the one that was asked for, and the post that came
        again = ours.find(link, 0, save=True)
        assert again is not None
        assert (again.value, again.path, again.received) == (kept.value, kept.path, kept.received)
    assert found(ours, DOUYIN) is None


def test_each_process_learns_of_all_others_however_often_and_in_whichever_order_they_look(
    archives: Archives, ours: Archive
) -> None:
    crowd = [archives() for _ in range(3)]
    for turn in range(9):
        crowd[turn % 3].store(TIKTOK, said(f"{turn}", ago=100 - turn), save=True)
        if turn % 2:
            assert found(ours) == f"{turn}"
    assert found(ours) == "8"


@pytest.mark.parametrize("they_first", [True, False])
@pytest.mark.parametrize(("mine", "theirs", "expected"), [(60, 30, "theirs"), (30, 60, "mine")])
def test_of_an_own_answer_and_anothers_the_newer_one_is_found(
    archives: Archives, ours: Archive, mine: float, theirs: float, expected: str, they_first: bool
) -> None:
    def i_keep() -> None:
        ours.store(TIKTOK, said("mine", ago=mine), save=True)

    def they_keep() -> None:
        archives().store(TIKTOK, said("theirs", ago=theirs), save=True)

    for keep in (they_keep, i_keep) if they_first else (i_keep, they_keep):
        keep()
    assert [found(ours) for _ in range(2)] == [expected] * 2


def test_an_older_line_still_tells_of_the_links_that_no_newer_answer_is_known_for(
    archives: Archives, ours: Archive
) -> None:
    ours.store(TIKTOK, said("newer"), save=True)
    archives().store(SHORT, said("older", ago=60), save=True)  # the same post
    assert (found(ours), found(ours, SHORT)) == ("newer", "older")


def test_an_answer_that_is_not_saved_is_not_announced(archives: Archives, ours: Archive, journal: Path) -> None:
    archives().store(TIKTOK, said("theirs"), save=False)
    assert not journal.exists()
    assert found(ours) is None


# Lines that are none


@pytest.mark.parametrize("cut", [1, 30, -2, -1])
def test_a_line_that_is_still_on_its_way_is_read_once_it_is_there(
    folder: Path, journal: Path, ours: Archive, cut: int
) -> None:
    whole = line(put(folder / "a.json", "late"), TIKTOK.key)
    append(journal, line(put(folder / "b.json", "other"), SHORT.key) + whole[:cut])
    assert [found(ours), found(ours, SHORT), found(ours)] == [None, "other", None]
    append(journal, whole[cut:])
    assert found(ours) == "late"


GARBAGE: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda path: b"\n",
    "no JSON": lambda path: b"\x00\xff what is this\n",
    "torn": lambda path: line(path, POST)[:-9] + b"\n",
    "two in one": lambda path: line(path, POST).rstrip() + line(path, POST),
    "a number": lambda path: b"5\n",
    "null": lambda path: b"null\n",
    "a text": lambda path: b'"ab"\n',
    "an object": lambda path: b'{"a": 1, "b": 2, "c": 3}\n',
    "nothing in it": lambda path: b"[]\n",
    "no path": lambda path: b"[1]\n",
    "a path that is none": lambda path: line(5, POST),
    "a path with a NUL": lambda path: line(f"{path}\0", POST),
    "a path that is no Unicode": lambda path: line(f"{path.parent}/\ud800.json", POST),
    "a link that is none": lambda path: line(path, [POST]),
    "a time that is a text": lambda path: line(path, POST, received="soon"),
    "a time that is null": lambda path: line(path, POST, received=None),
    "a time that is a list": lambda path: line(path, POST, received=[1]),
    "a time that is no number": lambda path: line(path, POST, received=float("nan")),
    "the end of time": lambda path: line(path, POST, received=float("inf")),
    "a time to come": lambda path: line(path, POST, received=time.time() + 86_400),
    "nested too deep": lambda path: b"[" * 200_000 + b"\n",
    "a number of 5000 digits": lambda path: b"[" + b"9" * 5000 + b"]\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_line_that_is_none_of_ours_is_passed_over_and_hurts_no_other(
    folder: Path, journal: Path, archives: Archives, ours: Archive, name: str
) -> None:
    garbage = GARBAGE[name](put(folder / "raw_1.json", "garbage"))
    append(journal, garbage)
    assert found(ours, newer_than=time.time()) is None  # nor may it pass for an answer that came since
    archives().store(TIKTOK, said("theirs"), save=True)
    append(journal, garbage)
    assert [found(ours) for _ in range(2)] == ["theirs"] * 2


OUTSIDE: dict[str, Callable[[Path], Path]] = {
    "beside the folder": lambda folder: folder.parent / "a.json",
    "by a way back": lambda folder: folder / ".." / "a.json",
    "below the folder": lambda folder: folder / "deeper" / "a.json",
    "in a folder of nearly that name": lambda folder: folder.with_name("raw_evil") / "a.json",
    "where the process happens to be": lambda folder: Path("a.json"),
    "behind a link": lambda folder: folder / "link.json",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_line_that_leads_out_of_the_folder_is_not_followed(
    folder: Path, journal: Path, ours: Archive, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    path = OUTSIDE[name](folder)
    if path.name == "link.json":
        path.symlink_to(put(folder.parent / "a.json", "outside"))
    else:
        path.parent.mkdir(exist_ok=True)
        put(path, "outside")
    append(journal, line(path, TIKTOK.key))
    assert found(ours) is None
    append(journal, line(put(folder / "b.json", "inside"), TIKTOK.key))  # so that it was not for another reason
    assert found(ours) == "inside"


# The file itself


@pytest.mark.parametrize("since", [1, 2, 3])
def test_a_journal_that_was_removed_and_begun_anew_is_read_from_its_start(
    folder: Path, journal: Path, ours: Archive, since: int
) -> None:
    for number in range(2):
        append(journal, line(put(folder / f"old{number}.json", "old"), SHORT.key))
    assert found(ours, SHORT) == "old"
    journal.unlink()
    assert found(ours, SHORT) == "old"
    links = [TIKTOK, DOUYIN, SHORT][:since]  # in as many lines as there were, in fewer and in more
    for number, link in enumerate(links):
        append(journal, line(put(folder / f"new{number}.json", "new"), link.key))
    assert [found(ours, link) for link in links] == ["new"] * since


def test_where_the_folder_of_the_journal_is_missing_none_is_made_and_everything_else_works(
    folder: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "missing" / ".journal"
    archive = Archive(folder, 3600, journal)
    assert archive.find(TIKTOK, 0, save=True) is None
    archive.store(TIKTOK, said("mine"), save=True)
    assert found(archive) == "mine"
    assert not journal.parent.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO, and links for few")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.with_name("victim"))])
def test_what_is_no_file_in_the_journals_place_is_neither_waited_for_nor_written_to(
    journal: Path, ours: Archive, make: Callable[[Path], None]
) -> None:
    victim = journal.with_name("victim")
    victim.write_bytes(b"mine")
    make(journal)
    ours.store(TIKTOK, said("mine"), save=True)
    assert found(ours) == "mine"
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_journal_that_cannot_be_read_for_want_of_numbers_counts_as_unread_and_nothing_is_paid(
    archives: Archives, ours: Archive, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives().store(TIKTOK, said("theirs"), save=True)

    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("tikhub_mcp.storage.archive.open_nofollow", refused)
        with pytest.raises(NotWritable, match="Nothing was paid for"):
            found(ours)
    assert found(ours) == "theirs"
