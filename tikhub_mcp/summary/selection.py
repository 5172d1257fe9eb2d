"""The posts that a summary is about, where links were given."""

from collections.abc import Collection, Iterable
from contextlib import suppress

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.posts import lists
from tikhub_mcp.posts.links import Link
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.text import first_few

MAX_NAMED = 5  # links in the remark about those without a saved answer


class Selection:
    """The posts of some links, and which rows are about them; without links every row is.

    Args:
        given: The links.
        rows: All rows: a short link names its post only in the answers that it led to.

    Attributes:
        remark: A sentence about the links without a saved answer, or "".

    Raises:
        InvalidInput: No row is about any of the links.
    """

    def __init__(self, given: Collection[Link], rows: Iterable[Row]) -> None:
        distinct = {link.key: link for link in given}
        self._leads_to: dict[str, str] = {}  # key of a short link → key of its post
        keys: set[str | None] = set()
        for row in rows:
            asked, post = _asked(row), _post(row)
            keys.add(post or (asked.key if asked else None))
            if asked and asked.post_id is None and post:
                self._leads_to[asked.key] = post
        found = set(map(self._post_of, keys))
        self._wanted = set(map(self._post_of, distinct))
        missing = [link.url for key, link in distinct.items() if self._post_of(key) not in found]
        named = first_few(missing, MAX_NAMED)
        self.remark = f"Links without a saved answer: {len(missing)} of {len(distinct)} ({named})." if missing else ""
        if missing and not self._wanted & found:
            raise InvalidInput(f"{self.remark} Get them with batch_download first. Nothing was written.")

    def takes(self, row: Row) -> bool:
        """Return whether a row is about one of the posts: by the post in it, else by the link that was asked for."""
        if not self._wanted:
            return True
        asked = None if (post := _post(row)) else _asked(row)
        return self._post_of(asked.key if asked else post) in self._wanted

    def _post_of(self, key: str | None) -> str | None:
        """Return the key of the post that a key leads to, as far as that is known."""
        return key and self._leads_to.get(key, key)


def _post(row: Row) -> str | None:
    """Return the key of the post in a row, as links have it."""
    return f"{row['platform']}:{row['aweme_id']}" if row["parse_ok"] and row["platform"] else None


def _asked(row: Row) -> Link | None:
    """Return the link that was asked for."""
    with suppress(InvalidInput, UnsupportedLink):
        return lists.one(row["share_url"] if row["parse_ok"] else row["link"] or "")
    return None
