"""Stores raw answers on disk before they are checked, and finds them again so that they are not paid for twice."""

import errno
import itertools
import math
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import DiskFull, NotWritable, UnsupportedLink
from tikhub_mcp.posts.answer import Answer, Json, find_post, parse_answer, platform_asked
from tikhub_mcp.posts.aweme import unix_time
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import safe_id
from tikhub_mcp.storage.atomic import make_folder, os_errors, write_all, write_whole
from tikhub_mcp.storage.database import INDEX_NAME, Database
from tikhub_mcp.storage.filenames import raw_name
from tikhub_mcp.storage.reading import read_regular
from tikhub_mcp.text import writable

_CLOCK_STEP_SECONDS = 5.0  # a clock that is set may go back this far without making an answer one of the future
_MAX_COPIES = 100_000  # answers of different content under one name
_INDEX_SECONDS = 24 * 3600.0  # a piece of work that takes long needs answers that are older than the reuse time
_UNSAVED_SECONDS = 2 * 3600.0  # the same, in memory
_MIN_YOUNG_SECONDS = 600.0  # files that are younger are read when the index is made anew
_FILES_AT_ONCE = 500
_ADD = """
INSERT INTO answers (key, file, received) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE
SET file = ?2, received = ?3 WHERE typeof(received) <> 'real' OR received <= ?3 OR received > ?4
"""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # temporary, and independent of the file
MIN_FREE_BYTES_TO_PAY = 64 * 2**20  # bytes of disk space; with less, nothing is paid for
_PROBE = 2**18  # bytes of a test file, written before the first request and after a failed write; answers have 83 kB
_MAX_FILE_BYTES = 64 * 2**20  # our own files have at most the client's MAX_BODY_BYTES plus indentation


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A stored answer.

    Attributes:
        value: The parsed answer.
        path: The raw file; None when the answer is only in memory.
        received: When the answer was received, in Unix seconds.
    """

    value: Json
    path: Path | None
    received: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """The place of a stored answer: a file, or memory, compressed (75 kB become 12)."""

    received: float
    path: Path | None = None
    packed: bytes = b""

    def read(self) -> bytes:
        return read_regular(self.path, _MAX_FILE_BYTES) if self.path else zlib.decompress(self.packed)


class Archive:
    """The folder of raw answers, and an index of the recent ones, which all processes with the same folder share.

    The methods block, and must be called from one thread at a time.

    Args:
        folder: The folder of raw answers; `check_room` creates it.
        reuse_seconds: How long an answer can be used again, in seconds.
        index: The file of the index; by default in the folder.

    Attributes:
        folder: The folder of raw answers.
        database: The file that holds the index.
    """

    def __init__(self, folder: Path, reuse_seconds: float, index: Path | None = None) -> None:
        self.folder = folder
        self._reuse_seconds = reuse_seconds
        self._proven = False  # whether the last attempt to write succeeded
        self._unsaved: dict[str, _Entry] = {}  # in order of age
        self.database = Database(index or folder / INDEX_NAME)

    def store(self, link: Link, answer: Answer, save: bool) -> StoredAnswer:
        """Store an answer.

        Args:
            link: The link that was requested.
            answer: The answer to store.
            save: Whether to write it to the folder; otherwise it is stored in memory only.

        Raises:
            DiskFull, NotWritable: The file could not be written. The answer is stored in memory, so that it is not paid
                for twice.
        """
        post = find_post(answer.value, link.post_id)
        aweme_id = safe_id(post.get("aweme_id")) if post else ""
        path = None
        try:
            path = self._write(aweme_id, link, answer) if save else None
        except (DiskFull, NotWritable):
            self._proven = False
            raise
        finally:
            keys = {link.key, f"{link.platform}:{aweme_id}"} if aweme_id else {link.key}
            if path:
                self._add_rows([(key, path.name, answer.received) for key in keys])
            else:
                self._add_unsaved(keys, _Entry(answer.received, packed=zlib.compress(answer.body, 1)))
        return StoredAnswer(answer.value, path, answer.received)

    def find(self, link: Link, newer_than: float, save: bool) -> StoredAnswer | None:
        """Return the newest stored answer for a link, or None when there is none.

        Args:
            link: The link that is requested.
            newer_than: Only answers received after this time count, in Unix seconds.
            save: Whether to write an answer to the folder that is only in memory.

        Raises:
            DiskFull, NotWritable: The answer could not be written, or the system lacks the resources to read it.
        """
        for entry in self._entries(link, newer_than):
            try:
                body = entry.read()
                value = parse_answer(body, errors="replace")
            except ValueError:  # another program changed the file
                continue
            except OSError as error:  # another program removed it
                _raise_if_shortage(error, self.folder)
                continue
            if save and entry.path is None:
                make_folder(self.folder)
                request_id = value.get("request_id") if isinstance(value, dict) else None
                return self.store(link, Answer(body, value, entry.received, request_id), save=True)
            return StoredAnswer(value, entry.path, entry.received)
        return None

    def is_unreadable(self, link: Link, newer_than: float) -> bool:
        """Whether the newest answer for the link came after `newer_than` (unix seconds), and cannot be parsed."""
        newest = next(self._entries(link, newer_than), None)
        if newest is None:
            return False
        try:
            parse_answer(newest.read(), errors="replace")
        except ValueError:
            return True
        except OSError:  # removed, or not readable now: then it may be paid for again
            pass
        return False

    def check_room(self) -> None:
        """Check before a payment that one more answer can be written; creates the folder.

        Raises:
            DiskFull, NotWritable: It cannot.
        """
        make_folder(self.folder)
        place = self.folder / "answer"
        with os_errors(place):
            if (free := shutil.disk_usage(self.folder).free) < MIN_FREE_BYTES_TO_PAY:
                raise DiskFull(
                    f"The disk is almost full: {self.folder} has {free:,} bytes free, and answers that are paid for "
                    f"are stored only where {MIN_FREE_BYTES_TO_PAY:,} are. Nothing was paid for. Make room, and call "
                    "again."
                )
            if not self._proven:  # the free space does not show a quota
                with tempfile.TemporaryFile(dir=self.folder, buffering=0) as probe:
                    write_all(probe, bytes(_PROBE))
                self._proven = True

    def _write(self, aweme_id: str, link: Link, answer: Answer) -> Path:
        for copy in range(1, _MAX_COPIES + 1):
            path = self.folder / raw_name(aweme_id, link.url, answer.request_id, copy)
            try:
                status = path.lstat()
                same_size = stat.S_ISREG(status.st_mode) and status.st_size == len(answer.body)
                if same_size and path.read_bytes() == answer.body:
                    return path
            except FileNotFoundError:
                write_whole(path, answer.body)
                return path
            except PermissionError:
                continue  # a file of another user
            except OSError:  # the existing file cannot be compared, so it is not replaced
                with os_errors(path):
                    raise
        raise NotWritable(f"No name in {self.folder} could be used for this answer; the last one tried is {path.name}.")

    def _entries(self, link: Link, newer_than: float) -> Iterator[_Entry]:
        """Return the places of the answers for a link that were received after a time, the newest first.

        Raises:
            NotWritable: The folder could not be read.

        A time in the future is from a wrong clock: such an answer would satisfy every refresh, and never expire.
        """
        query = "SELECT received, file FROM answers WHERE key = ?"
        rows = self.database.read(query, link.key)
        if not self.database.is_built():  # asked afterwards: the file may be lost meanwhile
            self._build()
            rows = self.database.read(query, link.key)
        entries = [entry for row in rows if (entry := _entry(self.folder, *row))]
        if (unsaved := self._unsaved.get(link.key)) is not None:
            entries.append(unsaved)
        now = time.time() + _CLOCK_STEP_SECONDS
        found = [entry for entry in entries if newer_than < entry.received <= now]
        return iter(sorted(found, key=lambda entry: entry.received, reverse=True))

    def _add_rows(self, rows: list[tuple[str, str | bytes, float]]) -> None:
        """Add answers to the index, each by key, name and time, and remove those that are old."""
        now = time.time()
        self.database.write_all(_ADD, [(*row, now) for row in rows])
        age = max(self._reuse_seconds, _INDEX_SECONDS)
        self.database.write("DELETE FROM answers WHERE received < ?", now - age, both=True)

    def _add_unsaved(self, keys: Iterable[str], entry: _Entry) -> None:
        for key in keys:
            self._unsaved.pop(key, None)  # added at the end, so that the order is that of age
            self._unsaved[key] = entry
        oldest = time.time() - max(self._reuse_seconds, _UNSAVED_SECONDS)
        for key in list(itertools.takewhile(lambda key: self._unsaved[key].received < oldest, self._unsaved)):
            del self._unsaved[key]

    def _build(self) -> None:
        """Add the young files of the folder to the index if it is new, which they are read for once.

        Raises:
            NotWritable: The folder could not be read. It may contain paid answers, so it is not treated as empty.
        """
        if self.database.is_built():
            return
        files = sorted(self._young_files())
        for first in range(0, len(files), _FILES_AT_ONCE):
            rows = [
                (key, _indexed(path.name), received)
                for modified, path in files[first : first + _FILES_AT_ONCE]
                for key, received in _keys(path, modified)
            ]
            self._add_rows(rows)
        self.database.set_built()

    def _young_files(self) -> list[tuple[float, Path]]:
        try:
            with os.scandir(self.folder) as entries:
                times = [(_modified(entry), Path(entry.path)) for entry in entries if entry.name.endswith(".json")]
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # no folder yet, or no access to it
            return []
        except OSError as error:
            raise _unread(error, self.folder) from error
        now = time.time()
        return [(at, path) for at, path in times if now - max(self._reuse_seconds, _MIN_YOUNG_SECONDS) < at <= now]


def _indexed(name: str) -> str | bytes:
    """Return a file name as the index holds it: as bytes where it is not UTF-8, which no text of SQLite can hold."""
    return name if writable(name) == name else os.fsencode(name)


def _modified(entry: os.DirEntry[str]) -> float:
    """Return when a regular file of ordinary size was modified; minus infinity for any other entry."""
    with suppress(OSError):  # removed since the folder was read
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_FILE_BYTES:
            return status.st_mtime
    return -math.inf


def _raise_if_shortage(error: OSError, folder: Path) -> None:
    """Ignore a file that cannot be read, unless the system lacks the resources to read any file.

    Raises:
        NotWritable: The system lacks resources; the file may exist, so its answer must not be paid for again.
    """
    if error.errno in _SHORTAGES:
        raise _unread(error, folder) from error


def _unread(error: OSError, folder: Path) -> NotWritable:
    return NotWritable(f"The saved answers in {folder} could not be read: {error.strerror}. Nothing was paid for.")


def _entry(folder: Path, received: object, name: object) -> _Entry | None:
    """Return the file that a row of the index names; None for a row that another program has changed."""
    if not (isinstance(received, float) and isinstance(name, str | bytes)):
        return None
    text = os.fsdecode(name)
    return _Entry(received, folder / text) if text == Path(text).name and "\0" not in text else None


def _keys(path: Path, modified: float) -> list[tuple[str, float]]:
    """Return the index keys of a raw file, of the link that was requested and of the post; each with the answer's age.

    The answer's own time counts where it is older than the file, which may be a copy.
    """
    try:
        answer = parse_answer(read_regular(path, _MAX_FILE_BYTES), errors="replace")
    except ValueError:
        return []
    except OSError as error:
        _raise_if_shortage(error, path.parent)
        return []
    if not isinstance(answer, dict):
        return []
    params: Json = answer.get("params")
    share_url: Json = params.get("share_url") if isinstance(params, dict) else None
    keys = set()
    if isinstance(share_url, str):
        with suppress(UnsupportedLink):  # a raw file of another endpoint, or of another tool
            keys.add(parse_link(share_url).key)
    post = find_post(answer)
    platform = platform_asked(answer.get("router"))
    if post and platform and (aweme_id := safe_id(post.get("aweme_id"))):
        keys.add(f"{platform}:{aweme_id}")
    answered = unix_time(answer.get("time_stamp"))
    return [(key, min(modified, answered or modified)) for key in keys]
