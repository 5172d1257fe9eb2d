"""The posts that a summary is about, where links were given."""

from collections.abc import Collection, Iterable
from contextlib import suppress

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.posts import links
from tikhub_mcp.posts.links import Link
from tikhub_mcp.summary.rows import Row

MAX_NAMED = 5  # links in the remark about those without a saved answer


class Selection:
    """The posts of some links, and which rows are about them; without links every row is.

    Args:
        given: The links.
        rows: All rows: a short link names its post only in the answers that it led to.
    """

    def __init__(self, given: Collection[Link], rows: Iterable[Row]) -> None:
        self._links = {link.key: link for link in given}
        self._leads_to: dict[str, str] = {}  # key of a short link → key of its post
        for row in rows:
            asked, post = _asked(row), _post(row)
            if asked and asked.post_id is None and post:
                self._leads_to[asked.key] = post
        self._wanted = {self._post_of(key) for key in self._links}
        self._found: set[str] = set()

    def takes(self, row: Row) -> bool:
        """Return whether a row is about one of the posts: by the post in it, else by the link that was asked for."""
        if not self._links:
            return True
        key = _post(row)
        if key is None and (asked := _asked(row)):
            key = self._post_of(asked.key)
        if key not in self._wanted:
            return False
        self._found.add(key)
        return True

    def remark(self) -> str:
        """Return a sentence about the links about whose posts no row was taken; "" if there are none."""
        missing = [link.url for key, link in self._links.items() if self._post_of(key) not in self._found]
        named = ", ".join([*missing[:MAX_NAMED], *["…"] * (len(missing) > MAX_NAMED)])
        return f"Links without a saved answer: {len(missing)} of {len(self._links)} ({named})." if missing else ""

    def _post_of(self, key: str) -> str:
        return self._leads_to.get(key, key)


def _post(row: Row) -> str | None:
    """Return the key of the post in a row, as links have it."""
    return f"{row['platform']}:{row['aweme_id']}" if row["parse_ok"] and row["platform"] else None


def _asked(row: Row) -> Link | None:
    """Return the link that was asked for."""
    with suppress(InvalidInput, UnsupportedLink):
        return links.one(row["share_url"] if row["parse_ok"] else row["link"] or "")
    return None
