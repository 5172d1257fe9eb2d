"""Files that appear complete or not at all: every call to the system fails once, and nothing is left half-made."""

import errno
import os
import re
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from tikhub_mcp.errors import DiskFull, InvalidInput, NotWritable, TikHubMCPError
from tikhub_mcp.storage import atomic, reading
from tikhub_mcp.storage.atomic import ORDINARY, PRIVATE, Part, make_folder, os_errors, write_whole

OLD, NEW = b"what was there", b"what comes in its place" * 1000
REFUSALS = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EIO: NotWritable,
    errno.EACCES: NotWritable,
    errno.EROFS: NotWritable,
    errno.EMFILE: NotWritable,
    errno.ENAMETOOLONG: NotWritable,
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.json"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order in which the system is asked for what must survive a loss of power."""
    seen: list[str] = []

    def record(name: str, owner: object, *, word: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def recorded(*arguments: object, **options: object) -> object:
            seen.append(word(*arguments))
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, recorded)

    record("fsync", os, word=lambda number: f"fsync {'folder' if stat.S_ISDIR(os.fstat(number).st_mode) else 'file'}")
    record("replace", Path, word=lambda part, target: f"replace {target.name} by {part.stat().st_size} bytes")
    return seen


def fail(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, code: int, when: int = 1) -> None:
    """Let the `when`th call of a function fail; the others do what they do."""
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def failing(*arguments: object, **options: object) -> object:
        if next(calls) == when:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Whole or not at all


def test_a_part_is_hidden_random_and_beside_its_target(target: Path) -> None:
    with Part(target) as one, Part(target) as other:
        assert one.path != other.path
        for part in (one, other):
            assert part.path.parent == target.parent
            assert re.fullmatch(r"\.target\.json\.[0-9a-f]{8}\.part", part.path.name)
        assert target.read_bytes() == OLD


def test_a_part_never_opens_what_somebody_put_in_its_place(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    victim = target.with_name("victim")
    (target.parent / ".target.json.00000000.part").symlink_to(victim)
    with pytest.raises(NotWritable, match="File exists"):
        write_whole(target, NEW)
    assert not victim.exists()
    assert target.read_bytes() == OLD


@pytest.mark.parametrize(("mode", "seen"), [(PRIVATE, 0o600), (ORDINARY, 0o644)])
def test_a_file_has_the_mode_that_was_asked_for_whatever_it_replaces(target: Path, mode: int, seen: int) -> None:
    target.chmod(0o640)
    before = os.umask(0o022)
    try:
        write_whole(target, NEW, mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == seen


def test_what_is_written_whole_is_for_the_owner_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "raw.json", b"")
    assert stat.S_IMODE((tmp_path / "raw.json").stat().st_mode) == 0o600


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_it_is_said_to_be_there(
    target: Path, steps: list[str]
) -> None:
    write_whole(target, NEW)
    assert steps == ["fsync file", f"replace target.json by {len(NEW)} bytes", "fsync folder"]
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["target.json"]


def test_a_system_that_writes_a_little_at_a_time_writes_it_all(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        def __init__(self, file: FileIO) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            return self.file.write(data[:7])

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    real: Callable[..., FileIO] = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments, **options: Little(real(*arguments, **options)))
    write_whole(target, NEW)
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(("link", "name"), [("symlink_to", "a link"), ("hardlink_to", "another name")])
def test_a_link_under_the_final_name_is_replaced_and_its_file_untouched(target: Path, link: str, name: str) -> None:
    place = target.with_name(name)
    getattr(place, link)(target)
    write_whole(place, NEW)
    assert (place.read_bytes(), target.read_bytes()) == (NEW, OLD)
    assert not place.is_symlink()


def test_a_part_that_is_left_without_a_commit_is_gone(target: Path) -> None:
    with pytest.raises(InvalidInput), Part(target) as part:
        raise InvalidInput(f"Another failure, after {part.file.write(NEW)} bytes.")
    assert part.file.closed
    assert (names(target.parent), target.read_bytes()) == (["target.json"], OLD)


def test_a_part_can_be_discarded_twice_and_after_a_commit(target: Path) -> None:
    with Part(target) as part:
        part.file.write(NEW)
        part.commit()
        part.discard()
    part.discard()
    assert (names(target.parent), target.read_bytes()) == (["target.json"], NEW)


def test_a_part_whose_folder_went_away_is_discarded_in_silence(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Part(folder / "x") as part:
        part.path.unlink()
        folder.rmdir()
    assert not folder.exists()


class System:
    """The system as atomic.py sees it, by this name; nobody else may see that, least of all pathlib."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


class Waiting:
    """The time as atomic.py sees it: waiting takes none, and is noted."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    waiting = Waiting()
    monkeypatch.setattr(atomic, "time", waiting)
    return waiting


def hold(monkeypatch: pytest.MonkeyPatch, times: int, code: int = errno.EACCES) -> list[Path]:
    """Let the target be held by somebody for so many attempts to replace it; the attempts."""
    real, attempts = Path.replace, list[Path]()

    def replace(part: Path, target: Path) -> Path:
        attempts.append(target)
        if len(attempts) <= times:
            raise OSError(code, "Access is denied")
        return real(part, target)

    monkeypatch.setattr(Path, "replace", replace)
    return attempts


PAUSES = [0.1, 0.3, 0.6]  # a second in all


@pytest.mark.parametrize("times", range(5))
def test_on_windows_a_file_that_is_held_for_a_moment_is_replaced_within_a_second_or_stays_as_it_was(
    target: Path, waiting: Waiting, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "os", System("nt"))
    monkeypatch.setattr(reading, "os", System("nt"))
    attempts = hold(monkeypatch, times)
    if times <= len(PAUSES):
        write_whole(target, NEW)
    else:
        with pytest.raises(NotWritable, match="Access is denied"):
            write_whole(target, NEW)
    assert (names(target.parent), target.read_bytes()) == ([target.name], NEW if times <= len(PAUSES) else OLD)
    assert waiting.pauses == PAUSES[:times]
    assert len(attempts) == min(times, len(PAUSES)) + 1


@pytest.mark.parametrize(("system", "code"), [("posix", errno.EACCES), ("posix", errno.EPERM), ("nt", errno.EIO)])
def test_a_refusal_that_does_not_pass_by_itself_is_told_at_once(
    target: Path, waiting: Waiting, system: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "os", System(system))
    monkeypatch.setattr(reading, "os", System(system))
    attempts = hold(monkeypatch, 1, code)
    with pytest.raises(NotWritable, match="Access is denied"):
        write_whole(target, NEW)
    assert (names(target.parent), target.read_bytes()) == ([target.name], OLD)
    assert (waiting.pauses, len(attempts)) == ([], 1)


@pytest.mark.parametrize("code", [*REFUSALS, errno.EINTR])
@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (os, "fsync"), (Path, "replace")])
def test_whichever_call_fails_before_the_name_the_target_is_as_it_was(
    owner: object, name: str, code: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, owner, name, code)
    with pytest.raises(REFUSALS.get(code, NotWritable)):
        write_whole(target, NEW)
    monkeypatch.undo()
    assert (names(target.parent), target.read_bytes()) == (["target.json"], OLD)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("when", ["write", "close"])
def test_a_write_or_a_close_that_fails_leaves_the_target_and_no_part(
    when: str, code: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """A file on a disk that breaks; it closes all the same, as files do."""

        def __init__(self, file: FileIO) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            if when == "write":
                raise OSError(code, os.strerror(code))
            return self.file.write(data)

        def close(self) -> None:
            self.file.close()
            if when == "close":
                raise OSError(code, os.strerror(code))

    real: Callable[..., FileIO] = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments, **options: Broken(real(*arguments, **options)))
    with pytest.raises(REFUSALS[code]):
        write_whole(target, NEW)
    assert (names(target.parent), target.read_bytes()) == (["target.json"], OLD)
    with Part(target):
        pass
    assert names(target.parent) == ["target.json"]


@pytest.mark.parametrize(("name", "when"), [("open", 2), ("fsync", 2)])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_folder_that_cannot_be_synced_matters_only_where_the_disk_fails(
    name: str, when: int, code: int, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, os, name, code, when)
    if code == errno.EIO:
        with pytest.raises(NotWritable):
            write_whole(target, NEW)
    else:
        write_whole(target, NEW)
    assert (names(target.parent), target.read_bytes()) == (["target.json"], NEW)


# The door


@pytest.mark.parametrize(("code", "kind"), REFUSALS.items(), ids=map(errno.errorcode.get, REFUSALS))
def test_what_the_system_refuses_is_said_in_our_words(code: int, kind: type[TikHubMCPError]) -> None:
    with pytest.raises(kind) as refused, os_errors(Path("/folder/name.mp4")):
        raise OSError(code, os.strerror(code), "/somewhere/.secret.part")
    assert "name.mp4" not in refused.value.message
    assert "/folder" in refused.value.message
    assert "secret" not in refused.value.message
    assert kind is DiskFull or os.strerror(code) in refused.value.message
    assert isinstance(refused.value.__cause__, OSError)


def test_a_refusal_without_words_is_named_by_its_kind() -> None:
    with pytest.raises(NotWritable, match="PermissionError"), os_errors(Path("/folder/x")):
        raise PermissionError


def test_what_is_no_refusal_of_the_system_passes_the_door() -> None:
    with pytest.raises(KeyError), os_errors(Path("/folder/x")):
        raise KeyError("a bug")


# Folders


def test_a_folder_is_made_with_its_parents_and_may_exist_already(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.mark.parametrize("place", ["file", "file/below", "dangling", "x" * 300])
def test_a_folder_that_cannot_be_made_is_not_writable(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(NotWritable):
        make_folder(tmp_path / place)
    assert names(tmp_path) == ["dangling", "file"]


def test_a_full_disk_is_said_when_the_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, os, "mkdir", errno.ENOSPC)
    with pytest.raises(DiskFull):
        make_folder(tmp_path / "a")


def test_a_folder_that_may_only_be_read_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "access", lambda _, mode: asked.append(mode))
    with pytest.raises(NotWritable, match=re.escape(str(tmp_path))):
        make_folder(tmp_path)
    assert asked == [os.W_OK | os.X_OK]
