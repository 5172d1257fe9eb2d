"""Several answers about the same post: which is the newest, how counts changed, totals and top posts."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Final

from tikhub_mcp.posts.counts import COUNTS
from tikhub_mcp.summary.columns import CHANGES
from tikhub_mcp.summary.rows import Row, reported

SECONDS_A_DAY = 86_400
MAX_TOP_POSTS = 5  # posts in each ranking
_UNKNOWN = -1  # stands for a count that was not reported

HISTORY: Final = (
    "aweme_id",
    "platform",
    "author_nickname",
    "as_of",
    "days_since_previous",
    *(column for count in COUNTS for column in (count, *(f"{count}_{end}" for end in CHANGES))),
    "engagement_rate",
    "is_latest",
    "source_file",
)


@dataclass(frozen=True, slots=True)
class CountTotals:
    """Sums over the newest answer about each post.

    Attributes:
        posts: How many posts there are.
        counts: The sum of each count by its name; None if it was reported for no post.
        reported: For how many posts each count was reported.
    """

    posts: int
    counts: dict[str, int | None]
    reported: dict[str, int]


@dataclass(frozen=True, slots=True)
class Top:
    """A post in a ranking.

    Attributes:
        row: Its newest row.
        change: The history line that compares it with the oldest row that has the ranking's count; None if there is no
            other row.
    """

    row: Row
    change: Row | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """The statistics of a summary.

    Attributes:
        rows: The number of files that were read.
        parsed: The number of files with a post.
        histories: The number of posts with more than one row.
        totals: Sums over the newest row of each post.
        by_plays: The posts with the most plays, in descending order.
        by_likes: The posts with the most likes, in descending order.
    """

    rows: int
    parsed: int
    histories: int
    totals: CountTotals
    by_plays: tuple[Top, ...]
    by_likes: tuple[Top, ...]


class Snapshots:
    """The times and counts of all rows, in arrays, so that a hundred thousand rows need little memory.

    Attributes:
        parsed: The number of rows with a post.
    """

    def __init__(self) -> None:
        self._times = array("q")
        self._counts = {name: array("q") for name in COUNTS}
        self._posts: dict[object, list[int]] = {}
        self.parsed = 0

    def add(self, row: Row) -> None:
        """Add the next row."""
        number = len(self._times)
        self._times.append(moment(row["as_of"]))
        for values, count in zip(self._counts.values(), reported(row).values(), strict=True):
            values.append(_UNKNOWN if count is None else count)
        if row["parse_ok"]:
            self.parsed += 1
            self._posts.setdefault(_key(row, number), []).append(number)

    def newest(self) -> Iterator[int]:
        """Yield the newest row of each post; if times are equal, the one that was added later."""
        return (max(numbers, key=self._moment) for numbers in self._posts.values())

    def histories(self) -> Iterator[list[int]]:
        """Yield the row numbers of each post with more than one row, the oldest first."""
        return (sorted(numbers, key=self._moment) for numbers in self._posts.values() if len(numbers) > 1)

    def oldest(self, row: Row, number: int, count: str) -> int | None:
        """Return the oldest row about the same post that has a time and this count, or None if there is no other.

        Args:
            row: A row.
            number: Its number.
            count: The name of the count.
        """
        numbers = self._posts.get(_key(row, number), ())
        known = (other for other in numbers if self._times[other] and self._counts[count][other] != _UNKNOWN)
        oldest = min(known, key=self._moment, default=number)
        return None if oldest == number else oldest

    def _moment(self, number: int) -> tuple[int, int]:
        return self._times[number], number

    def totals(self) -> CountTotals:
        """Return the sums over the newest row of each post."""
        newest = list(self.newest())
        known = {
            name: [values[number] for number in newest if values[number] != _UNKNOWN]
            for name, values in self._counts.items()
        }
        return CountTotals(
            posts=len(newest),
            counts={name: sum(values) if values else None for name, values in known.items()},
            reported={name: len(values) for name, values in known.items()},
        )

    def top(self, count: str, most: int = MAX_TOP_POSTS) -> list[int]:
        """Return the numbers of the `most` newest rows with the highest count, in descending order."""
        values = self._counts[count]
        return nlargest(most, (number for number in self.newest() if values[number] > 0), key=values.__getitem__)


def history(rows: Sequence[Row]) -> list[Row]:
    """Return the history lines of one post.

    Args:
        rows: The post's rows, the oldest first.
    """
    return [_line(row, previous) for row, previous in zip(rows, [None, *rows], strict=False)]


def _line(row: Row, previous: Row | None) -> Row:
    counts, previous_counts = reported(row), reported(previous) if previous else {}
    then, now = moment(previous["as_of"]) if previous else 0, moment(row["as_of"])
    days = (now - then) / SECONDS_A_DAY if then and now else None
    line = {name: row[name] for name in ("aweme_id", "platform", "author_nickname", "as_of")}
    line["days_since_previous"] = None if days is None else round(days, 6)
    for name, count in counts.items():
        previous_count = previous_counts.get(name)
        change = None if count is None or previous_count is None else count - previous_count
        line |= {name: count, f"{name}_change": change}
        line[f"{name}_per_day"] = round(change / days, 3) if change is not None and days else None
    return line | {name: row[name] for name in ("engagement_rate", "is_latest", "source_file")}


def moment(as_of: str | None) -> int:
    """Return the unix time of a row's `as_of`; 0 if it has none."""
    return int(datetime.fromisoformat(as_of).timestamp()) if as_of else 0


def _key(row: Row, number: int) -> object:
    """Return a key that is equal for all rows about one post, and unique for a row without an id."""
    aweme_id = row["aweme_id"]
    return aweme_id if isinstance(aweme_id, str) and aweme_id else number
