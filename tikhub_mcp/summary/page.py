"""The HTML page of a summary: totals, rankings, growth and a table, in one file that needs no network.

The chart of growth is drawn by Vega-Lite, whose script comes from vl-convert and is embedded where there is growth to
show and the extra `report` is installed; the numbers stand beside it in any case. The page is in the language of the
locale, and names no folder of the machine that it was made on. Texts of posts are untrusted: they are embedded as JSON
in which every `<` is escaped, and shown as text, never as markup.
"""

import heapq
import html
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from tikhub_mcp import isolation
from tikhub_mcp.messages import said, translations
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.aweme import unix_time
from tikhub_mcp.posts.counts import API_COUNTS
from tikhub_mcp.summary.extras import is_installed
from tikhub_mcp.summary.history import Findings
from tikhub_mcp.summary.outputs import Output
from tikhub_mcp.summary.rows import Row, own_words, reported
from tikhub_mcp.text import clean

MAX_POSTS = 2000  # in the table: those with the most plays and likes; the CSV has all
MAX_BARS = 10  # in a ranking
MAX_MISSING = 20  # files without a post that are listed; the CSV has all
MAX_TITLE = 300  # characters
MAX_CHART_LINES = 10  # in the growth chart: the posts with the most plays, or likes
MAX_POINTS = 200  # of a line in the growth chart: the newest

TEMPLATE: Final = Path(__file__).with_name("page.html")
_MAKE: Final = """
import vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode())
"""
_RANKED: Final = ("plays", "likes", "rate")
_SHOWN: Final = ("plays", "likes", "comments", "shares", "saves")


class Report(Output):
    """The HTML page.

    Args:
        target: The final path.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        # Heaps of bounded size, so that memory does not grow with the number of posts.
        self._posts: list[tuple[float, int, Row]] = []
        self._ranks: dict[str, list[tuple[float, int, Row]]] = {name: [] for name in _RANKED}
        self._lines: list[tuple[float, int, Row]] = []
        self._missing: list[tuple[str, str, str]] = []  # the link that was asked for, the file, the reason
        self._reasons = translations("missing_post")
        self._added = 0

    def add(self, row: Row) -> None:
        """Add the next row: the newest row of each post, and the error of each file without a post."""
        if row["is_latest"]:
            self._add(_post(row))
        elif not row["parse_ok"] and len(self._missing) < MAX_MISSING:
            self._missing.append((clean(row["link"] or ""), clean(row["source_file"]), self._why(row["error"])))

    def add_history(self, lines: Sequence[Row]) -> None:
        """Add the history of a post, unless all of it is of one time."""
        points = {at["as_of"]: {"as_of": at["as_of"], **_counts(at)} for at in lines if at["as_of"]}
        if len(points) < 2:
            return
        self._added += 1
        newest = lines[-1]
        weight = newest["play_count"] or newest["digg_count"] or 0
        author = newest["author_nickname"] if isinstance(newest["author_nickname"], str) else ""
        post: Row = {"author": clean(author), "id": clean(str(newest["aweme_id"]))}
        post["points"] = [*points.values()][-MAX_POINTS:]
        _push(self._lines, (weight, -self._added, post), MAX_CHART_LINES)

    def finish(self, found: Findings) -> None:
        """Write the page."""
        values = {name: html.escape(text) for name, text in translations("page").items()}
        values |= {"LANGUAGE": said("en", "zh-CN"), "DATA": _json(self._data(found))}
        values["LIBRARY"] = library() if self._lines and is_installed("report") else ""
        page = TEMPLATE.read_text(encoding="utf-8")
        self.write(re.sub(r"@(\w+)@", lambda gap: values[gap[1]], page).encode())
        super().finish(found)

    def _data(self, found: Findings) -> Json:
        return {
            "words": translations("page"),
            "made": datetime.now(UTC).isoformat(timespec="minutes"),
            "rows": found.rows,
            "broken": found.rows - found.parsed,
            "missing": self._missing,
            "count": found.totals.posts,
            "totals": _totals(found),
            "ranks": {name: _descending(heap) for name, heap in self._ranks.items()},
            "posts": _descending(self._posts),
            "history": _descending(self._lines),
        }

    def _why(self, error: str) -> str:
        known = error.partition(":")[0].removesuffix(".")
        translated = self._reasons.get(known, known)
        return clean(error, 300) if translated == known else translated

    def _add(self, post: Row) -> None:
        self._added += 1
        _push(self._posts, ((post["plays"] or 0) + (post["likes"] or 0), -self._added, post), MAX_POSTS)
        for name, heap in self._ranks.items():
            if post[name]:
                _push(heap, (post[name], -self._added, post), MAX_BARS)


def _descending(heap: list[tuple[float, int, Row]]) -> list[Row]:
    return [item for *_, item in sorted(heap, reverse=True)]


def _push(heap: list[tuple[float, int, Row]], item: tuple[float, int, Row], most: int) -> None:
    """Push an item onto a heap of the `most` largest ones; the item's second part is unique, so rows never compare."""
    (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, item)


def _post(row: Row) -> Row:
    counts = reported(row)
    texts = {"author": "author_nickname", "handle": "author_unique_id", "id": "aweme_id", "url": "link"}
    return {
        **{name: clean(row[field]) if isinstance(row[field], str) else "" for name, field in texts.items()},
        "title": clean(own_words(row), MAX_TITLE),
        "platform": row["platform"] or "",
        "photos": row["image_count"] if row["kind"] == "images" else None,
        "posted": _day(row["create_time_unix"]),
        **_counts(counts),
        "rate": row["engagement_rate"],
        "as_of": row["as_of"] or "",
    }


def _day(stamp: Json) -> str:
    seconds = unix_time(stamp)
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _counts(row: Mapping[str, Json]) -> Row:
    return {name: row[API_COUNTS[name]] for name in _SHOWN}


def _totals(found: Findings) -> list[tuple[str, int, int]]:
    """Return the totals at the top of the page: a name, a sum, and for how many posts it was reported, at least one."""
    totals = found.totals
    sums = ((name, totals.counts[API_COUNTS[name]], totals.reported[API_COUNTS[name]]) for name in _SHOWN)
    return [
        ("posts", totals.posts, totals.posts),
        *((name, count, known) for name, count, known in sums if count is not None),
    ]


@cache
def library() -> str:
    """Return the script that draws the charts, escaped so that it cannot end its script element.

    A child process makes it, because that takes two seconds and 140 MiB and would block the server. The child process
    gets no API key and imports no module from the working directory.
    """
    completed = subprocess.run(  # noqa: S603 - a constant command
        isolation.isolated_python_command(_MAKE),
        cwd=isolation.PACKAGE_FOLDER,
        env=isolation.child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return re.sub(r"(?i)<(/script|!--)", r"<\\\1", completed.stdout.decode())


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
