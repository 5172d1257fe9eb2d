"""Many links, given in many ways → one reply."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp import links, replies
from tikhub_mcp.call import Call, Outcome, Watch, Wish
from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.jobs import Jobs
from tikhub_mcp.links import Link
from tikhub_mcp.replies import BatchReply
from tikhub_mcp.text import clean

LARGEST_LIST = 2**20  # bytes of a file with links


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a batch: the link as given, and what it is, or why it is none."""

    given: str
    link: Link | None = None
    error: UnsupportedLink | None = None

    @property
    def key(self) -> str:
        """The same for entries that are the same post as far as the links tell."""
        return self.link.key if self.link else self.given

    @classmethod
    def of(cls, given: str, line: int = 0) -> "Entry":
        """Understand a link; `line` is its number in a file."""
        try:
            return cls(given, links.parse(given))
        except UnsupportedLink as error:
            return cls(given, error=UnsupportedLink(f"Line {line}: {error.message}") if line else error)


async def run_batch(jobs: Jobs, call: Call, entries: list[Entry], wish: Wish, workers: int, watch: Watch) -> BatchReply:
    """Work on all entries, each post once, and put the results in their order."""
    wanted = [entry.link for entry in entries if entry.link]
    found = await jobs.get_all(call, wanted, wish, workers, watch) if wanted else {}
    outcomes = [found[entry.key] if entry.link else Outcome("failed", error=entry.error) for entry in entries]
    items = [
        replies.batch_item(entry.given, entry.link, outcome) for entry, outcome in zip(entries, outcomes, strict=True)
    ]
    return replies.batch_reply(call, items, outcomes, workers)


def understand(texts: list[str]) -> list[Entry]:
    """The entries of a list of links and share texts; a text without a link is one entry."""
    return [Entry.of(found) for text in texts for found in links.find(text) or [clean(text)]]


def read_list(path: Path, largest: int | None = LARGEST_LIST) -> list[Entry]:
    """The entries of a text file with one link or share text a line.

    Args:
        path: Where it is.
        largest: How many bytes it may have; None for no limit.

    Raises:
        InvalidInput: It cannot be read, is no regular file, or is too large.
    """
    try:
        # Without O_NONBLOCK a pipe in a file's place would hold the server for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidInput(f"The list of links must be a text file; {path.name} is none.")
            content = file.read(-1 if largest is None else largest + 1)
    except OSError as error:
        raise InvalidInput(f"The list of links cannot be read: {path.name}: {error.strerror or error}.") from None
    if largest is not None and len(content) > largest:
        raise InvalidInput(f"The list of links is larger than {largest:,} bytes: {path.name}.")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return [Entry.of(found, line) for line, found in links.entries(content.decode(encoding, "replace"))]


def at_least_none(max_api_calls: int) -> int:
    """The cap as it is.

    Raises:
        InvalidInput: It is negative, which would be no cap at all.
    """
    if max_api_calls < 0:
        raise InvalidInput("max_api_calls must be 0 (no cap) or more.")
    return max_api_calls


async def plan(jobs: Jobs, call: Call, entries: list[Entry], wish: Wish, workers: int) -> BatchReply:
    """Count what the batch would take, for free."""
    distinct = {entry.key: entry.link for entry in entries if entry.link}
    plans = await jobs.plan(list(distinct.values()), wish)
    outcomes = [Outcome("planned") if entry.link else Outcome("failed", error=entry.error) for entry in entries]
    items = [replies.batch_item(e.given, e.link, outcome) for e, outcome in zip(entries, outcomes, strict=True)]
    reply = replies.batch_reply(call, items, outcomes, workers)
    reply.distinct_posts = len(distinct)
    reply.on_disk = sum(on_disk for on_disk, _ in plans)
    reply.calls_needed = sum(needed for _, needed in plans)
    return reply
