"""Stores raw answers on disk before they are checked, and finds them again so that they are not paid for twice."""

import errno
import itertools
import json
import math
import os
import shutil
import stat
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import DiskFull, NotWritable, UnsupportedLink
from tikhub_mcp.posts.answer import Answer, Json, find_post, parse_json, platform_asked
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import safe_id
from tikhub_mcp.storage.atomic import make_folder, os_errors, write_all, write_whole
from tikhub_mcp.storage.filenames import raw_name
from tikhub_mcp.storage.reading import open_nofollow, read_regular

_MAX_COPIES = 1000  # answers of different content under one name
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
    """The folder of raw answers, and an index of those recent enough to be used again.

    One scan at first use builds the index. After that it is updated by the writes of this process and from the journal,
    to which every process that shares the folder appends a line for each answer. The methods block, and must be called
    from one thread at a time.

    Args:
        folder: The folder of raw answers; `check` creates it.
        reuse_seconds: How long an answer can be used again, in seconds.
        journal: The journal file, whose folder may be missing; None to share nothing with other processes.

    Attributes:
        needed_since: Answers received after this time, in Unix seconds, stay in the index too; infinity for none.
    """

    def __init__(self, folder: Path, reuse_seconds: float, journal: Path | None = None) -> None:
        self._folder = folder
        self._journal = journal
        # A call uses the answers that it received itself, even when reuse_seconds is shorter than the call.
        self._horizon = max(reuse_seconds, 600.0)
        self.needed_since = math.inf
        self._proven = False  # whether the last attempt to write succeeded
        self._index: dict[str, _Entry] = {}
        self._scanned = False
        self._journal_number = self._bytes_read = 0  # the journal's inode, and the bytes read from it

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
        post = find_post(answer.value)
        aweme_id = safe_id(post.get("aweme_id")) if post else ""
        path = None
        try:
            path = self._write(aweme_id, link, answer) if save else None
        except (DiskFull, NotWritable):
            self._proven = False
            raise
        finally:
            packed = b"" if path else zlib.compress(answer.body, 1)
            keys = [link.key, f"{link.platform}:{aweme_id}"] if aweme_id else [link.key]
            self._remember(keys, _Entry(answer.received, path, packed))
        if path:
            self._announce(answer.received, path, keys)
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
        self._scan()
        self._catch_up()
        entry = self._index.get(link.key)
        if entry is None or entry.received <= newer_than:
            return None
        try:
            body = entry.read()
            value = parse_json(body, errors="replace")
        except ValueError:  # another program changed the file, so the answer is requested again
            return None
        except OSError as error:  # another program removed it
            _raise_if_shortage(error, self._folder)
            return None
        if save and entry.path is None:
            make_folder(self._folder)
            request_id = value.get("request_id") if isinstance(value, dict) else None
            return self.store(link, Answer(body, value, entry.received, request_id), save=True)
        return StoredAnswer(value, entry.path, entry.received)

    def is_unreadable(self, link: Link, newer_than: float) -> bool:
        """Whether the newest answer for the link was received after `newer_than` (unix seconds), and is not JSON."""
        entry = self._index.get(link.key)
        if entry is None or entry.received <= newer_than:
            return False
        try:
            parse_json(entry.read(), errors="replace")
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
        make_folder(self._folder)
        place = self._folder / "answer"
        with os_errors(place):
            if (free := shutil.disk_usage(self._folder).free) < MIN_FREE_BYTES_TO_PAY:
                raise DiskFull(
                    f"The disk is almost full: {self._folder} has {free:,} bytes free, and answers that are paid for "
                    f"are stored only where {MIN_FREE_BYTES_TO_PAY:,} are. Nothing was paid for. Make room, and call "
                    "again."
                )
            if not self._proven:  # the free space does not show a quota
                with tempfile.TemporaryFile(dir=self._folder, buffering=0) as probe:
                    write_all(probe, bytes(_PROBE))
                self._proven = True

    def _write(self, aweme_id: str, link: Link, answer: Answer) -> Path:
        for copy in range(1, _MAX_COPIES + 1):
            path = self._folder / raw_name(aweme_id, link.url, answer.request_id, copy)
            try:
                if stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == answer.body:
                    return path
            except FileNotFoundError:
                write_whole(path, answer.body)
                return path
            except PermissionError:
                continue  # a file of another user
            except OSError:  # the existing file cannot be compared, so it is not replaced
                with os_errors(path):
                    raise
        raise NotWritable(
            f"No name in {self._folder} could be used for this answer; the last one tried is {path.name}."
        )

    def _remember(self, keys: list[str], entry: _Entry) -> None:
        index = self._index
        for key in keys:
            _put(index, key, entry)
        for key in list(itertools.takewhile(lambda key: self._is_old(index[key].received), index)):
            del index[key]

    def _is_old(self, received: float) -> bool:
        return received < min(time.time() - self._horizon, self.needed_since)

    def _scan(self) -> None:
        """Add the files of the folder to the index, once; entries that are already in the index are newer.

        Raises:
            NotWritable: The folder could not be read. It may contain paid answers, so it is not treated as empty.
        """
        if self._scanned:
            return
        if self._journal:
            with suppress(OSError):  # the scan finds earlier answers, so only later lines have to be read
                status = self._journal.stat()
                self._journal_number, self._bytes_read = status.st_ino, status.st_size
        index: dict[str, _Entry] = {}
        for received, path in sorted(self._young_files()):
            for key in _keys(path):
                _put(index, key, _Entry(received, path))
        for key, entry in self._index.items():
            _put(index, key, entry)
        self._index, self._scanned = index, True

    def _announce(self, received: float, path: Path, keys: list[str]) -> None:
        """Append an answer to the journal; without it, other processes may pay for the post again, which is allowed."""
        line = json.dumps([received, str(path), *keys]).encode() + b"\n"
        if self._journal:
            with suppress(OSError), open(self._journal, "ab", buffering=0, opener=open_nofollow) as journal:
                journal.write(line)  # one short append, so lines of other processes cannot be interleaved

    def _catch_up(self) -> None:
        """Add the answers to the index that other processes have stored since the last call.

        Raises:
            NotWritable: The system lacks the resources to read the journal.
        """
        try:
            news = self._news()
        except OSError as error:
            _raise_if_shortage(error, self._folder)
            return
        for line in news.splitlines():
            with suppress(ValueError, TypeError, RecursionError):  # a damaged line, or one of another program
                received, name, *keys = json.loads(line)
                newer = [key for key in keys if key not in self._index or self._index[key].received < received]
                # A time in the future is from a wrong clock, as with files.
                if Path(name).parent == self._folder and math.isfinite(received) and received <= time.time():
                    self._remember(newer, _Entry(received, Path(name)))

    def _news(self) -> bytes:
        """Return the complete lines that were appended to the journal since the last call."""
        if not self._journal:
            return b""
        with open(self._journal, "rb", opener=open_nofollow) as journal:
            status = os.fstat(journal.fileno())
            if status.st_ino != self._journal_number or status.st_size < self._bytes_read:
                self._journal_number, self._bytes_read = (
                    status.st_ino,
                    0,
                )  # it was removed, and another process created a new one
            journal.seek(self._bytes_read)
            news = journal.read()
        whole = news[: news.rfind(b"\n") + 1]  # the last line may be incomplete
        self._bytes_read += len(whole)
        return whole

    def _young_files(self) -> list[tuple[float, Path]]:
        try:
            with os.scandir(self._folder) as entries:
                times = [_modified(entry) for entry in entries if entry.name.endswith(".json")]
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # no folder yet, or no access to it
            return []
        except OSError as error:
            raise _unread(error, self._folder) from error
        # A time in the future is from a wrong clock: it would never expire, and would satisfy every refresh.
        return [(at, path) for at, path in times if at <= time.time() and not self._is_old(at)]


def _modified(entry: os.DirEntry[str]) -> tuple[float, Path]:
    """Return when a regular file of ordinary size was modified, and its path; minus infinity for any other entry."""
    with suppress(OSError):  # removed since the folder was read
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size <= _MAX_FILE_BYTES:
            return entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)
    return -math.inf, Path(entry.path)


def _raise_if_shortage(error: OSError, folder: Path) -> None:
    """Ignore a file that cannot be read, unless the system lacks the resources to read any file.

    Raises:
        NotWritable: The system lacks resources; the file may exist, so its answer must not be paid for again.
    """
    if error.errno in _SHORTAGES:
        raise _unread(error, folder) from error


def _unread(error: OSError, folder: Path) -> NotWritable:
    return NotWritable(f"The saved answers in {folder} could not be read: {error.strerror}. Nothing was paid for.")


def _put(index: dict[str, _Entry], key: str, entry: _Entry) -> None:
    index.pop(key, None)  # re-inserted at the end, so that the index stays in order of age
    index[key] = entry


def _keys(path: Path) -> list[str]:
    """Return the index keys of a raw file: of the link that was requested, and of the post in the answer."""
    try:
        answer = parse_json(read_regular(path, _MAX_FILE_BYTES), errors="replace")
    except ValueError:
        return []
    except OSError as error:
        _raise_if_shortage(error, path.parent)
        return []
    if not isinstance(answer, dict):
        return []
    params: Json = answer.get("params")
    share_url: Json = params.get("share_url") if isinstance(params, dict) else None
    keys = []
    if isinstance(share_url, str):
        with suppress(UnsupportedLink):  # a raw file of another endpoint, or of another tool
            keys.append(parse_link(share_url).key)
    post = find_post(answer)
    platform = platform_asked(answer.get("router"))
    if post and platform and (aweme_id := safe_id(post.get("aweme_id"))):
        keys.append(f"{platform}:{aweme_id}")
    return keys
