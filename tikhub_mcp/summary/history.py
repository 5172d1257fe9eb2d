"""What many answers about the same posts come to: the newest of each, how numbers changed, totals, and the top."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Final

from tikhub_mcp.posts.counts import COUNTS
from tikhub_mcp.summary.columns import OURS
from tikhub_mcp.summary.rows import Row, reported

SECONDS_A_DAY = 86_400
TOP = 5  # posts by plays, and as many by likes
_UNKNOWN = -1  # in the place of a count that was not reported
_OLD, _LATEST, _NO_POST = range(3)

HISTORY: Final = {
    "aweme_id": "Id of the post",
    "platform": "tiktok or douyin",
    "author_nickname": "The author's name as shown then",
    "as_of": "Time of the numbers (ISO 8601, UTC)",
    "days_since_previous": "Since the answer before",
    **{
        column: meaning
        for count, what in COUNTS.items()
        for column, meaning in (
            (count, what.partition(",")[0]),
            (f"{count}_change", "Change since the answer before"),
            (f"{count}_per_day", "That change, per day"),
        )
    },
    "engagement_rate": OURS["engagement_rate"],
    "is_latest": "Whether it is the newest",
    "source_file": "Name of the raw file",
}


@dataclass(frozen=True, slots=True)
class CountTotals:
    """Sums over the newest answer about each post; a count that no post reported is None."""

    posts: int
    counts: dict[str, int | None]
    reported: dict[str, int]


@dataclass(frozen=True, slots=True)
class Top:
    """A post among the first.

    Attributes:
        row: Its newest row.
        change: The line of history that compares it with the oldest row that has this count; None where that is itself.
    """

    row: Row
    change: Row | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a summary found.

    Attributes:
        rows: How many files were read.
        parsed: How many of them held a post.
        histories: How many posts have more than one row.
        totals: Over the newest row of each post.
        by_plays: The posts with the most plays, the most first.
        by_likes: The posts with the most likes, the most first.
    """

    rows: int
    parsed: int
    histories: int
    totals: CountTotals
    by_plays: tuple[Top, ...]
    by_likes: tuple[Top, ...]


class Snapshots:
    """The numbers of every row, kept in a few bytes each, so that a hundred thousand rows fit into little memory.

    Attributes:
        parsed: How many rows held a post.
    """

    def __init__(self) -> None:
        self._times = array("q")
        self._counts = {name: array("q") for name in COUNTS}
        self.parsed = 0
        self._latest = bytearray()
        self._newest: dict[object, int] = {}
        self._several: dict[object, list[int]] = {}

    def add(self, row: Row) -> None:
        """Take the next row in."""
        number = len(self._times)
        self._times.append(moment(row["as_of"]))
        for values, count in zip(self._counts.values(), reported(row).values(), strict=True):
            values.append(_UNKNOWN if count is None else count)
        self._latest.append(_NO_POST)
        if row["parse_ok"]:
            self.parsed += 1
            self._place(_key(row, number), number)

    def _place(self, key: object, number: int) -> None:
        before = self._newest.get(key)
        if before is not None:
            self._several.setdefault(key, [before]).append(number)
            if self._times[number] < self._times[before]:  # of the same moment the later name counts
                self._latest[number] = _OLD
                return
            self._latest[before] = _OLD
        self._newest[key] = number
        self._latest[number] = _LATEST

    def latest(self) -> bytearray:
        """For each row 1 where it is the newest about its post, 0 where it is not, and 2 where it is about none."""
        return self._latest

    def histories(self) -> Iterator[list[int]]:
        """The rows of each post that has more than one, from the oldest."""
        return (sorted(numbers, key=self._moment) for numbers in self._several.values())

    def oldest(self, row: Row, number: int, count: str) -> int | None:
        """The oldest row with a time and this count about the post of this one; None where there is no other."""
        numbers = self._several.get(_key(row, number), ())
        known = (other for other in numbers if self._times[other] and self._counts[count][other] != _UNKNOWN)
        oldest = min(known, key=self._moment, default=number)
        return None if oldest == number else oldest

    def _moment(self, number: int) -> tuple[int, int]:
        return self._times[number], number

    @property
    def with_history(self) -> int:
        """How many posts have more than one row."""
        return len(self._several)

    def totals(self) -> CountTotals:
        """What the newest rows come to."""
        known = {
            name: [values[number] for number in self._newest.values() if values[number] != _UNKNOWN]
            for name, values in self._counts.items()
        }
        return CountTotals(
            posts=len(self._newest),
            counts={name: sum(values) if values else None for name, values in known.items()},
            reported={name: len(values) for name, values in known.items()},
        )

    def top(self, count: str, most: int = TOP) -> list[int]:
        """The newest rows with the highest of a count, the highest first."""
        values = self._counts[count]
        return nlargest(
            most, (number for number in self._newest.values() if values[number] > 0), key=values.__getitem__
        )


def history(rows: Iterable[Row]) -> Iterator[Row]:
    """The lines of one post's history.

    Args:
        rows: What is known of the post, from the oldest.
    """
    before: Row | None = None
    for row in rows:
        yield _line(row, before)
        before = row


def _line(row: Row, before: Row | None) -> Row:
    now, then = reported(row), reported(before) if before else {}
    days = _days(row, before) if before else None
    line = {name: row[name] for name in ("aweme_id", "platform", "author_nickname", "as_of")}
    line["days_since_previous"] = None if days is None else round(days, 6)
    for name, count in now.items():
        earlier = then.get(name)
        change = None if count is None or earlier is None else count - earlier
        line |= {name: count, f"{name}_change": change}
        line[f"{name}_per_day"] = round(change / days, 3) if change is not None and days else None
    return line | {name: row[name] for name in ("engagement_rate", "is_latest", "source_file")}


def _days(row: Row, before: Row) -> float | None:
    if row["as_of"] is None or before["as_of"] is None:
        return None
    return (moment(row["as_of"]) - moment(before["as_of"])) / SECONDS_A_DAY


def moment(as_of: str | None) -> int:
    """The unix time of a row's `as_of`; 0 where it has none."""
    return int(datetime.fromisoformat(as_of).timestamp()) if as_of else 0


def _key(row: Row, number: int) -> object:
    """What is the same for all rows about one post; without an id a row is alone."""
    aweme_id = row["aweme_id"]
    if not isinstance(aweme_id, str) or not aweme_id:
        return -1 - number
    plain = aweme_id.isascii() and aweme_id.isdecimal() and len(aweme_id) < 30 and aweme_id[0] != "0"
    return int(aweme_id) if plain else aweme_id  # half the memory of a text
