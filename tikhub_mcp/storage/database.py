"""The SQLite file that all processes with the same raw folder share; in memory where there can be no such file.

It holds nothing that cannot be made again: if it is missing, damaged, or replaced by something that is not a file of
this user, the work goes on, and at worst one answer is paid for once more.
"""

import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tikhub_mcp.storage.atomic import PRIVATE

logger = logging.getLogger(__name__)

INDEX_NAME = "index.sqlite3"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, file TEXT, received REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (received);
CREATE TABLE IF NOT EXISTS moments (kind TEXT, name TEXT, at REAL, touched REAL, PRIMARY KEY (kind, name))
WITHOUT ROWID;
"""
# Rows of the memory that go into a file which can be used again; what is newer there stays.
_MOVES = {
    "answers": """INSERT INTO answers VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
SET file = excluded.file, received = excluded.received WHERE excluded.received > received""",
    "moments": """INSERT INTO moments VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE
SET at = excluded.at, touched = excluded.touched WHERE excluded.touched > touched""",
}
_BUSY_SECONDS = 0.25  # a process that is stopped while it writes holds the file for good
_RETRY_SECONDS = 10.0  # after a failure the file is left alone for this long

_BESIDE = ("-wal", "-shm", "-journal")  # endings of the names of the files that SQLite makes beside it

_Cell = str | bytes | float
_Row = tuple[_Cell, ...]


class Database:
    """Rows in a file, and in this process those that could not be written to it; they are once the file can be used.

    The methods may be called from any thread. They never raise, and block for less than a second.

    Args:
        path: The file. It is created with the first row, if its folder exists by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._memory = _connect(":memory:")
        self._file: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the open file: device and inode
        self._failures = 0
        self._asked_about: tuple[sqlite3.Connection | None, int] = None, 0
        self._built: list[sqlite3.Connection | None] = []  # the memory is None; a new file may have an old one's inode
        self._retry_at = 0.0

    def is_built(self) -> bool:
        """Whether the file, or else the memory, has the rows of all answers that were there before."""
        with self._lock:
            file = self._open()
            if file is not None and file not in self._built:
                with suppress(sqlite3.Error):
                    if file.execute("PRAGMA user_version").fetchone()[0] == _SCHEMA_VERSION:
                        self._built.append(file)
            self._asked_about = file, self._failures
            return file in self._built

    def set_built(self) -> None:
        """Record that the rows of all answers have been added since `is_built` was asked, if nothing failed since."""
        with self._lock:
            asked_about, failures = self._asked_about
            file = self._open(create=asked_about is None)
            if asked_about not in (None, file) or failures != self._failures:
                return
            if file is not None:
                with suppress(sqlite3.Error):  # the next process adds them again
                    file.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self._built.append(file)

    def read(self, query: str, *values: _Cell) -> list[_Row]:
        """Return the rows of a query, those of the file first."""
        with self._lock:
            rows: list[_Row] = []
            if (file := self._open()) is not None:
                try:
                    rows = file.execute(query, values).fetchall()
                except sqlite3.Error as error:
                    self._give_up(error)
            return rows + self._memory.execute(query, values).fetchall()

    def write(self, statement: str, *values: _Cell, both: bool = False) -> None:
        """Run a statement on the file; on the memory if that fails, or also if `both`."""
        self.write_all(statement, [values], both=both)

    def write_all(self, statement: str, rows: Sequence[Sequence[_Cell]], *, both: bool = False) -> None:
        """Run a statement for each row in one transaction, as `write` does."""
        with self._lock:
            done = (file := self._open(create=True)) is not None and self._wrote(file, statement, rows)
            if both or not done:
                self._memory.executemany(statement, rows)

    def _wrote(self, file: sqlite3.Connection, statement: str, rows: Sequence[Sequence[_Cell]]) -> bool:
        try:
            with file:
                file.execute("BEGIN IMMEDIATE")
                file.executemany(statement, rows)
        except sqlite3.Error as error:
            self._give_up(error)
            return False
        return True

    def _open(self, *, create: bool = False) -> sqlite3.Connection | None:
        """Return the connection to the file that has the name now; None when there is none of ours."""
        status = None
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._give_up(error)
        if self._file is not None and (status is None or (status.st_dev, status.st_ino) != self._identity):
            self._close()  # removed or replaced
        if self._file is None and (status or create) and time.monotonic() >= self._retry_at:
            try:
                self._file = self._opened(status)
                self._move(self._file)
            except FileNotFoundError:  # there is no folder yet
                pass
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
        return self._file

    def _unwritten(self) -> dict[str, list[_Row]]:
        """Return the rows of the memory by table."""
        return {table: self._memory.execute(f"SELECT * FROM {table}").fetchall() for table in _MOVES}  # noqa: S608

    def _move(self, file: sqlite3.Connection) -> None:
        """Move the rows of the memory to the file.

        Raises:
            sqlite3.Error: They cannot be written.
        """
        if not any((rows := self._unwritten()).values()):
            return
        with file:
            file.execute("BEGIN IMMEDIATE")
            for table, statement in _MOVES.items():
                file.executemany(statement, rows[table])
        self._built = [built for built in self._built if built is not None]
        for table in _MOVES:
            self._memory.execute(f"DELETE FROM {table}")  # noqa: S608

    def _opened(self, status: os.stat_result | None) -> sqlite3.Connection:
        """Open the file, creating it if it is missing.

        Raises:
            OSError, sqlite3.Error: There is no folder, something else has the name, or the file is damaged.
        """
        if status is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))
            status = os.lstat(self._path)
        for suffix in ("", *_BESIDE):  # SQLite would wait for a pipe
            with suppress(FileNotFoundError):
                _check_own(os.lstat(f"{self._path}{suffix}"))
        with ExitStack() as undo:
            connection = _connect(str(self._path))
            undo.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, _SCHEMA_VERSION):
                raise PermissionError(0, "another version of tikhub-mcp made it")
            connection.executescript(_SCHEMA)
            undo.pop_all()
        self._identity = (status.st_dev, status.st_ino)
        return connection

    def _give_up(self, error: Exception) -> None:
        """Do without the file for a while; remove it if it is damaged, so that a new one is made."""
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        logger.warning("The index of saved answers, %s, cannot be used now: %s", self._path, error)
        self._failures += 1
        self._close()
        try:
            if damaged:
                self._path.unlink()
        except OSError:
            damaged = False
        if damaged:
            for suffix in _BESIDE:
                with suppress(OSError):
                    Path(f"{self._path}{suffix}").unlink()
        else:
            self._retry_at = time.monotonic() + _RETRY_SECONDS

    def _close(self) -> None:
        if self._file is not None:
            self._built = [built for built in self._built if built is not self._file]
            with suppress(sqlite3.Error):
                self._file.close()
        self._file = self._identity = None

    def close(self) -> None:
        """Close the file, after a last attempt to write what could not be written; the next use opens it again."""
        with self._lock:
            if any(self._unwritten().values()):
                self._retry_at = 0.0
                self._open()
            self._close()


def _check_own(status: os.stat_result) -> None:
    """Check that what has this status is a file of this user.

    Raises:
        PermissionError: It is not.
    """
    if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise PermissionError(0, "it, or what stands beside it, is not a file of this user")


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    if path == ":memory:":
        connection.executescript(_SCHEMA)
    return connection
