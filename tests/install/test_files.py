"""install/files.py: other programs' files keep their content, layout, owner and mode, and nobody's change is lost."""

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tikhub_mcp.errors import InvalidInput, NotWritable
from tikhub_mcp.install.files import Change, Members, edit, parse, read_file
from tikhub_mcp.storage.atomic import Part

NOW = datetime(2026, 11, 26, 10, 15, tzinfo=UTC)
BACKUP = "backup-20261126-101500"
OLD = b'{"old": 1}'
NEW = b'{"new": 2}'


def change(path: Path, before: bytes | None = OLD) -> Change:
    """A change of a file, which is made with the content before if there is any."""
    if before is not None:
        path.write_bytes(before)
    return Change(path, before, NEW, "", ())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- layout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{\n  "a": {\n    "é": [1]\n  }\n}\n', '{\n  "a": {\n    "é": [\n      1\n    ]\n  },\n  "n": 1\n}\n'),
        ('{\n\t"a": 1\n}', '{\n\t"a": 1,\n\t"n": 1\n}'),
        ('\n{\n\n    "a": 1}\n\n', '{\n    "a": 1,\n    "n": 1\n}\n\n'),
        ('{\n"a": 1\n}', '{\n"a": 1,\n"n": 1\n}'),
        ('{\r\n  "a": "\\n"\r\n}\r\n', '{\r\n  "a": "\\n",\r\n  "n": 1\r\n}\r\n'),
        ('\ufeff{"a": 1}', '\ufeff{"a": 1, "n": 1}'),
        ('{"a": [1, 2.5, 12345678901234567890]}\n', '{"a": [1, 2.5, 12345678901234567890], "n": 1}\n'),
        ('{"\\ud800": "\\u00e9"}', '{"\\ud800": "é", "n": 1}'),
        ("{}", '{\n  "n": 1\n}'),
        ("{ }\n", '{\n  "n": 1\n}\n'),
        ("", '{\n  "n": 1\n}\n'),
        (" \n", '{\n  "n": 1\n}\n'),
        ("\ufeff", '\ufeff{\n  "n": 1\n}\n'),
        (None, '{\n  "n": 1\n}\n'),
    ],
)
def test_a_file_keeps_its_layout(old: str | None, new: str) -> None:
    content = None if old is None else old.encode()
    assert (edit(content, lambda members: members | {"n": 1})[2] or b"").decode() == new
    assert edit(content, dict)[2] == content


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    members=st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
    indent=st.sampled_from([None, 1, 2, 4, "\t"]),
    escaped=st.booleans(),
    crlf=st.booleans(),
)
def test_what_is_rendered_is_what_was_parsed(members: Members, indent: Any, escaped: bool, crlf: bool) -> None:  # noqa: ANN401
    text = json.dumps(members, indent=indent, ensure_ascii=escaped)
    content = (text.replace("\n", "\r\n") if crlf else text).encode()
    changed = edit(content, lambda members: members | {"n": 1})[2]
    old, new, again = edit(changed, lambda members: {name: members[name] for name in members if name != "n"})
    assert old == members | {"n": 1}
    assert new == parse(again)
    if indent and members and "n" not in members and not escaped:
        assert (new, again) == (members, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{\n  // mine\n  "a": {}\n}', "it is not plain JSON (line 2, column 3: a comment)"),
        ('{"a": 1 /* mine */}', "it is not plain JSON (line 1, column 9: a comment)"),
        ('{"a": {},}', "it is not plain JSON (line 1, column"),
        ('{"a": 1}\n{"b": 2}', "it is not plain JSON (line 2, column 1: "),
        ('{"a": ', "it is not plain JSON (line 1, column"),
        ("\0\0\0", "it is not plain JSON (line 1, column 1: "),
        ('{"a": NaN}', "it is not plain JSON that can be read here"),
        ('{"a": -Infinity}', "it is not plain JSON that can be read here"),
        ('{"a": 1e999}', "it is not plain JSON that can be read here"),
        ('{"a": ' + "1" * 5000 + "}", "it is not plain JSON that can be read here"),
        ("[" * 100_000, "it is not plain JSON that can be read here"),
        ("[]", "it does not hold an object in braces"),
        ("null", "it does not hold an object in braces"),
        ('{"x": [{"a": {}, "a": {}}]}', "it has one name twice in the same object"),
        (b'{"a": "\xe9"}', "it is not in UTF-8"),
        ("{}".encode("utf-16"), "it is not in UTF-8"),
    ],
)
def test_what_could_not_be_written_back_is_refused(content: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(content if isinstance(content, bytes) else content.encode())
    assert refused.value.message.startswith(reason)


@pytest.mark.parametrize("begin", ["{", "{\n"])
def test_an_object_that_is_nested_deeply_is_written_or_refused(begin: str) -> None:
    for depth in (10, 500, 900, 960, 980, 1_000, 3_000, 100_000):
        content = (begin + '"a":{' * depth + "}" * depth + "}").encode()
        try:
            after = edit(content, lambda members: members | {"n": 1})[2] or b""
        except InvalidInput:
            assert depth > 100
        else:
            assert b'"n": 1' in after
            assert depth < 100_000


def test_comments_and_last_commas_are_read_where_they_are_allowed() -> None:
    text = b'{ // one {\n "a": "// /* no comment, }", /* "b": 2,\n */ "c": [1, 2,],\n}'
    assert parse(text, comments=True) == {"a": "// /* no comment, }", "c": [1, 2]}


# --- reading and writing


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name in ("folder", "circle", "pipe", "file/mcp.json"):
        with pytest.raises(InvalidInput, match=rf"{name} cannot be read: "):
            read_file(tmp_path / name)
    assert read_file(tmp_path / "none" / "mcp.json") is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
@pytest.mark.parametrize("private", [False, True])
def test_the_copy_is_its_owners_alone_and_so_is_a_file_with_a_key(tmp_path: Path, mode: int, private: bool) -> None:
    path = tmp_path / "x.json"
    planned = replace(change(path), private=private)
    path.chmod(mode)
    copy = planned.write(NOW)
    assert copy == tmp_path / f"x.json.{BACKUP}"
    assert contents(tmp_path) == {"x.json": NEW, copy.name: OLD}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if private else mode)
    second = change(path).write(NOW)  # in the same second
    assert second == copy.with_name(f"x.json.backup-{NOW + timedelta(seconds=1):%Y%m%d-%H%M%S}")


@pytest.mark.parametrize("before", [None, b""])
def test_a_new_or_empty_file_has_no_copy(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / ".vscode" / "mcp.json"
    if before is not None:
        path.parent.mkdir()
    assert change(path, before).write(NOW) is None
    assert contents(path.parent) == {"mcp.json": NEW}
    assert before is not None or stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("before", [OLD, None])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path, before: bytes | None) -> None:
    (tmp_path / "dotfiles").mkdir()
    path = tmp_path / "link.json"
    path.symlink_to(Path("dotfiles") / "real.json")
    change(path, before).write(NOW)
    assert path.readlink() == Path("dotfiles") / "real.json"
    assert contents(tmp_path / "dotfiles") == {"real.json": NEW}  # no copy with keys among version-controlled files
    assert sorted(contents(tmp_path)) == ["link.json"] + [f"link.json.{BACKUP}"] * (before is not None)


@pytest.mark.parametrize("before", [OLD, None, b""])
@pytest.mark.parametrize("meanwhile", [b'{"theirs": 1}', None])
def test_what_another_program_did_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, meanwhile: bytes | None
) -> None:
    path, fsync = tmp_path / "x.json", os.fsync
    planned = change(path, before)

    def write_theirs(descriptor: int) -> None:  # as late as possible
        monkeypatch.setattr(os, "fsync", fsync)
        path.unlink(missing_ok=True) if meanwhile is None else path.write_bytes(meanwhile)

    monkeypatch.setattr(os, "fsync", write_theirs)
    if meanwhile == before:
        planned.write(NOW)
        return
    with pytest.raises(NotWritable, match="by another program meanwhile"):
        planned.write(NOW)
    assert contents(tmp_path) == ({} if meanwhile is None else {"x.json": meanwhile})


def test_the_copy_stays_when_the_file_is_replaced_and_only_then_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, commit = tmp_path / "x.json", Part.commit

    def fail(part: Part) -> None:
        commit(part)
        if part.target == path:
            raise OSError(errno.EIO, "the disk is dying")

    monkeypatch.setattr(Part, "commit", fail)
    with pytest.raises(NotWritable):
        change(path).write(NOW)
    assert contents(tmp_path)[f"x.json.{BACKUP}"] == OLD


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder of an ordinary user, while that is who we are: nothing is read-only to an administrator."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        if not user:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        yield folder
    finally:
        folder.chmod(0o700)
        if not user:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", ["file", "folder", "folder of a new file", "folder of a new folder"])
def test_what_is_read_only_stays_as_it_is(read_only: str) -> None:
    with without_rights() as folder:
        path = folder / "new" / "x.json" if read_only.endswith("new folder") else folder / "x.json"
        planned = change(path, None if "new" in read_only else OLD)
        if path.exists():
            path.chmod(0o400 if read_only == "file" else 0o600)
        folder.chmod(0o700 if read_only == "file" else 0o500)
        with pytest.raises(NotWritable, match="could not be written to"):
            planned.write(NOW)
        assert contents(folder) == ({} if "new" in read_only else {"x.json": OLD})


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can give files away")
def test_an_administrator_does_not_take_the_file_away_from_its_owner(tmp_path: Path) -> None:
    planned = change(tmp_path / "x.json")
    os.chown(planned.path, 65534, 65534)
    planned.write(NOW)
    assert (planned.path.stat().st_uid, planned.path.stat().st_gid) == (65534, 65534)
