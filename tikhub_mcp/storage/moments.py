"""Stored times, such as the beginning of a call, that are shared by all processes with the same raw folder."""

import hashlib
import time
from dataclasses import dataclass

from tikhub_mcp.storage.database import Database

KEPT_SECONDS = 24 * 3600.0  # a time that was not used for longer is removed


@dataclass(frozen=True, slots=True)
class Moment:
    """A stored time.

    Attributes:
        at: The time itself, in Unix seconds.
        touched: When it was last used, in Unix seconds.
    """

    at: float
    touched: float


class Moments:
    """Stored times by name.

    The methods may be called from any thread; they block for less than a millisecond on a local disk.

    Args:
        database: Where the times are stored.
        kind: The kind of the times; the names of two kinds are independent.
        kept_seconds: A time that was not used for longer is removed.
    """

    def __init__(self, database: Database, kind: str, kept_seconds: float = KEPT_SECONDS) -> None:
        self._database = database
        self._kind = kind
        self._kept_seconds = max(kept_seconds, KEPT_SECONDS)

    def get(self, *name: object) -> Moment | None:
        """Return the time with this name; None when there is none, or it is in the future because of a wrong clock."""
        query = "SELECT touched, at FROM moments WHERE kind = ? AND name = ? AND at <= ?"
        found = self._database.read(query, self._kind, _key(name), time.time())
        touched, at = max(found, default=(0.0, 0.0))
        return Moment(float(at), float(touched)) if found else None

    def put(self, at: float, *name: object) -> None:
        """Store a time in Unix seconds, replacing the one with the same name; it counts as used now."""
        now = time.time()
        statement = "DELETE FROM moments WHERE kind = ? AND touched < ?"
        self._database.write(statement, self._kind, now - self._kept_seconds, both=True)
        self._database.write("INSERT OR REPLACE INTO moments VALUES (?, ?, ?, ?)", self._kind, _key(name), at, now)

    def touch(self, *name: object) -> None:
        """Mark the time as used now, if there is one."""
        statement = "UPDATE moments SET touched = ? WHERE kind = ? AND name = ?"
        self._database.write(statement, time.time(), self._kind, _key(name), both=True)

    def remove(self, *name: object) -> None:
        """Remove the time, if there is one."""
        self._database.write("DELETE FROM moments WHERE kind = ? AND name = ?", self._kind, _key(name), both=True)


def _key(name: tuple[object, ...]) -> str:
    """Return a short text for a name, which may have thousands of links."""
    return hashlib.sha256(repr([str(part) for part in name]).encode("utf-8", "surrogatepass")).hexdigest()[:32]
