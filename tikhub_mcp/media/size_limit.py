"""The limit on the size of a post's files together, while they are downloaded side by side."""

from collections.abc import Callable, Hashable, Mapping


class OverLimit(Exception):
    """The files of a post are larger together than the limit."""


class SizeLimit:
    """Counts the bytes of the files of one post.

    Args:
        most: The most bytes that they may have together.
        sizes: The sizes of the files that are there already, by any keys.
    """

    def __init__(self, most: int, sizes: Mapping[Hashable, int]) -> None:
        self._most = most
        self._sizes = dict(sizes)

    def counter(self, key: Hashable) -> Callable[[int], None]:
        """Return the function that takes the bytes received of one file; it raises OverLimit."""

        def count(received: int) -> None:
            self._sizes[key] = received
            if sum(self._sizes.values()) > self._most:
                raise OverLimit

        return count

    def forget(self, key: Hashable) -> None:
        """Count a file no longer, because it was not kept."""
        self._sizes.pop(key, None)

    def message(self, post_id: str) -> str:
        """Return what is said of a post whose files are too large together."""
        return f"The files of post {post_id} have more than {self._most:,} bytes together (TIKHUB_MAX_BYTES)."
