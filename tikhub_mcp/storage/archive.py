"""Raw answers on disk: written before anything is made of them, found again instead of being paid for again."""

import errno
import itertools
import json
import math
import os
import shutil
import stat
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import DiskFull, NotWritable, UnsupportedLink
from tikhub_mcp.posts.answer import Answer, Json, find_post, parse_json, platform_asked
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import safe_id
from tikhub_mcp.storage.atomic import PRIVATE, Part, make_folder, os_errors, write_all, write_whole
from tikhub_mcp.storage.filenames import raw_name
from tikhub_mcp.storage.reading import open_nofollow, read_regular

_MAX_COPIES = 1000  # answers of different content under one name
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # which say nothing of the file, and pass
LEAST_FREE = 64 * 2**20  # bytes; with less on the disk nothing is paid for
_PROBE = 2**18  # bytes written before the first call, and after an answer that could not be: real ones have 83 kB
_MAX_FILE_BYTES = 64 * 2**20  # bytes; our own are at most the client's MAX_BODY_BYTES, and what indenting adds


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer that was paid for once.

    Attributes:
        value: The parsed answer.
        path: The raw file; None when it was not to be saved, or could not be.
        received: Unix seconds.
    """

    value: Json
    path: Path | None
    received: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a kept answer is: in a file, or in memory, compressed (75 kB become 12)."""

    received: float
    path: Path | None = None
    packed: bytes = b""

    def read(self) -> bytes:
        return read_regular(self.path, _MAX_FILE_BYTES) if self.path else zlib.decompress(self.packed)


class Archive:
    """The raw folder, and an index of what in it is young enough to be used again.

    The index is made by one scan at first use. After that it is kept by our own writes, and by the journal, to which
    every process that shares the folder adds a line for each answer. Its methods block; they are called from one
    thread at a time.

    Args:
        folder: Where raw answers go; made when the first one comes.
        reuse_seconds: How long an answer counts as young.
        journal: A file in a folder that may be missing; None where no other process is to know.

    Attributes:
        needed_since: Answers that came later, in unix seconds, count as young as well; infinity for none.
    """

    def __init__(self, folder: Path, reuse_seconds: float, journal: Path | None = None) -> None:
        self._folder = folder
        self._journal = journal
        # Answers that came during a call count as young for it, however short the time of reuse.
        self._horizon = max(reuse_seconds, 600.0)
        self.needed_since = math.inf
        self._proven = False  # whether an answer could be written when that was tried last
        self._index: dict[str, _Entry] = {}
        self._scanned = False
        self._journal_number = self._heard = 0  # its inode, and how many bytes of it were read

    def store(self, link: Link, answer: Answer, save: bool) -> StoredAnswer:
        """Put an answer under its name into the folder, or only into memory.

        Raises:
            DiskFull, NotWritable: It could not be written; memory has it all the same, so that it is not paid twice.
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
        """The newest answer for the link received after `newer_than` (unix seconds), if it is still there.

        Args:
            link: What was asked for.
            newer_than: Unix seconds.
            save: Whether one that is in memory only is to be written now.

        Raises:
            DiskFull, NotWritable: It could not be written now, or the system is too short of something to tell.
        """
        self._scan()
        self._catch_up()
        entry = self._index.get(link.key)
        if entry is None or entry.received <= newer_than:
            return None
        try:
            body = entry.read()
            value = parse_json(body, errors="replace")
        except ValueError:  # somebody changed the file: then it is asked for again
            return None
        except OSError as error:  # or removed it
            _judge(error, self._folder)
            return None
        if save and entry.path is None:
            request_id = value.get("request_id") if isinstance(value, dict) else None
            return self.store(link, Answer(body, value, entry.received, request_id), save=True)
        return StoredAnswer(value, entry.path, entry.received)

    def check(self) -> None:
        """Make sure, before anything is paid for, that answers can be written.

        Raises:
            DiskFull, NotWritable: They cannot.
        """
        make_folder(self._folder)

    def check_room(self) -> None:
        """Make sure, before anything is paid for, that there is room for one more answer; the folder is there.

        Raises:
            DiskFull, NotWritable: There is not.
        """
        place = self._folder / "answer"
        with os_errors(place):
            if (free := shutil.disk_usage(self._folder).free) < LEAST_FREE:
                raise DiskFull(
                    f"The disk is almost full: {self._folder} has {free:,} bytes free, and answers that are paid for "
                    f"are kept only where {LEAST_FREE:,} are. Nothing was paid for. Make room, and call again."
                )
            if not self._proven:  # a quota is not seen in what is free
                with Part(place, PRIVATE) as part:
                    write_all(part.file, bytes(_PROBE))
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
                continue  # somebody else's
            except OSError:  # what is there is not known, so it is not replaced
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
        """Take what is in the folder into the index, once; what is in it already came later.

        Raises:
            NotWritable: The folder could not be read now. It may hold what was paid for, so it does not count as empty.
        """
        if self._scanned:
            return
        if self._journal:
            with suppress(OSError):  # what comes from here on is read from it
                status = self._journal.stat()
                self._journal_number, self._heard = status.st_ino, status.st_size
        index: dict[str, _Entry] = {}
        for received, path in sorted(self._young_files()):
            for key in _keys(path):
                _put(index, key, _Entry(received, path))
        for key, entry in self._index.items():
            _put(index, key, entry)
        self._index, self._scanned = index, True

    def _announce(self, received: float, path: Path, keys: list[str]) -> None:
        """Tell other processes; where that cannot be done they may pay for it once more, and nothing is wrong."""
        line = json.dumps([received, str(path), *keys]).encode() + b"\n"
        if self._journal:
            with suppress(OSError), open(self._journal, "ab", buffering=0, opener=open_nofollow) as journal:
                journal.write(line)  # short, and appended, so that no other process's line comes in between

    def _catch_up(self) -> None:
        """Take into the index what other processes kept since the last look.

        Raises:
            NotWritable: The journal could not be read now.
        """
        try:
            news = self._news()
        except OSError as error:
            _judge(error, self._folder)
            return
        for line in news.splitlines():
            with suppress(ValueError, TypeError, RecursionError):  # a line that is none of ours
                received, name, *keys = json.loads(line)
                newer = [key for key in keys if key not in self._index or self._index[key].received < received]
                # A time to come is a wrong clock's, as with files.
                if Path(name).parent == self._folder and math.isfinite(received) and received <= time.time():
                    self._remember(newer, _Entry(received, Path(name)))

    def _news(self) -> bytes:
        """The lines of the journal since the last look."""
        if not self._journal:
            return b""
        with open(self._journal, "rb", opener=open_nofollow) as journal:
            status = os.fstat(journal.fileno())
            if status.st_ino != self._journal_number or status.st_size < self._heard:
                self._journal_number, self._heard = status.st_ino, 0  # somebody removed it, and another was begun
            journal.seek(self._heard)
            news = journal.read()
        whole = news[: news.rfind(b"\n") + 1]  # the last line may still be on its way
        self._heard += len(whole)
        return whole

    def _young_files(self) -> list[tuple[float, Path]]:
        try:
            with os.scandir(self._folder) as entries:
                times = [_modified(entry) for entry in entries if entry.name.endswith(".json")]
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # none yet, or none that can be read
            return []
        except OSError as error:
            raise _unread(error, self._folder) from error
        # A time to come is a wrong clock's: it would stay young for ever, and newer than any wish for a fresh answer.
        return [(at, path) for at, path in times if at <= time.time() and not self._is_old(at)]


def _modified(entry: os.DirEntry[str]) -> tuple[float, Path]:
    """When a regular file of ordinary size was written; the beginning of time for anything else."""
    with suppress(OSError):  # gone since the folder was read
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size <= _MAX_FILE_BYTES:
            return entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)
    return -math.inf, Path(entry.path)


def _judge(error: OSError, folder: Path) -> None:
    """Let a file be that cannot be read, unless it is only the process that cannot read anything now.

    Raises:
        NotWritable: It may well be there, and to pay for it once more would be wrong.
    """
    if error.errno in _SHORTAGES:
        raise _unread(error, folder) from error


def _unread(error: OSError, folder: Path) -> NotWritable:
    return NotWritable(f"The saved answers in {folder} could not be read: {error.strerror}. Nothing was paid for.")


def _put(index: dict[str, _Entry], key: str, entry: _Entry) -> None:
    index.pop(key, None)  # to the end: the index is in order of age
    index[key] = entry


def _keys(path: Path) -> list[str]:
    """What a raw file answers: the link that was asked for, and the post that came."""
    try:
        answer = parse_json(read_regular(path, _MAX_FILE_BYTES), errors="replace")
    except ValueError:
        return []
    except OSError as error:
        _judge(error, path.parent)
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
