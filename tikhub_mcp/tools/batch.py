"""Many links, given in many ways → one reply."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import InvalidInput, UnsupportedLink
from tikhub_mcp.jobs.model import Call, Options, Outcome, Watch
from tikhub_mcp.jobs.scheduler import MAX_JOBS, Jobs
from tikhub_mcp.posts import links
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.reading import read_start
from tikhub_mcp.text import clean
from tikhub_mcp.tools import replies
from tikhub_mcp.tools.replies import BatchReply

MAX_LIST_BYTES = 2**20  # bytes of a file with links
MAX_NOTED_LINES = 5  # without a link, that a note names


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
        """Understand a link; `line` is its number in a file, of which the caller may not have seen the text."""
        fit = links.shown(given) if line else given
        try:
            return cls(fit, links.parse_link(given))
        except UnsupportedLink as error:
            return cls(fit, error=UnsupportedLink(f"Line {line}: {error.message}") if line else error)


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller gave: the entries, and what there is to say about what is none."""

    entries: list[Entry]
    note: str = ""

    def __add__(self, other: "Given") -> "Given":
        return Given(self.entries + other.entries, _joined(self.note, other.note))


async def plan_or_run(
    jobs: Jobs,
    call: Call,
    given: Given,
    options: Options,
    raw: Path,
    *,
    workers: int,
    dry_run: bool,
    progress: Callable[[int], AbstractAsyncContextManager[Watch]],
) -> BatchReply:
    """The whole of a batch, for tools and the command line alike.

    Args:
        jobs: Who works.
        call: Whose time and money it is.
        given: The links.
        options: What is wanted of each.
        raw: The folder that `jobs` keeps answers in.
        workers: How many at once; brought into range.
        dry_run: Whether to count only what it would take.
        progress: Opened with the number of distinct posts for as long as the work takes.
    """
    workers = min(max(workers, 1), MAX_JOBS)
    if dry_run:
        reply = await plan(jobs, call, given, options, workers)
    else:
        async with progress(len({entry.key for entry in given.entries if entry.link})) as watch:
            reply = await run_batch(jobs, call, given, options, workers, watch)
    reply.output_dir, reply.raw_dir = str(options.folder), str(raw) if options.save_raw else None
    return reply


async def run_batch(jobs: Jobs, call: Call, given: Given, options: Options, workers: int, watch: Watch) -> BatchReply:
    """Work on all entries, each post once, and put the results in their order."""
    wanted = [entry.link for entry in given.entries if entry.link]
    found = await jobs.get_all(call, wanted, options, workers, watch) if wanted else {}
    outcomes = [found[entry.key] if entry.link else Outcome("failed", error=entry.error) for entry in given.entries]
    return _reply(call, given, outcomes, workers)


def parse_entries(texts: list[str]) -> Given:
    """The entries of a list of links and share texts; a text without any link is one entry."""
    entries, without = list[Entry](), list[str]()
    for position, text in enumerate(texts, start=1):
        lines = links.parse_list(text, comments=False)
        entries += [Entry.of(link) for _, link in lines.links] or [Entry.of(clean(text))]
        if lines.links:
            without += [f"{line} of text {position}" if len(texts) > 1 else str(line) for line in lines.without]
    return Given(entries, _left_out("urls", without))


def read_list(path: Path, largest: int | None = MAX_LIST_BYTES) -> Given:
    """The entries of a text file with one link or share text a line; of a line without a link only its number is told.

    Args:
        path: Where it is.
        largest: How many bytes it may have; None for no limit.

    Raises:
        InvalidInput: It cannot be read, is no regular file, is too large, or holds no link.
    """
    name, content = clean(path.name), _content(path, largest)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = links.parse_list(content.decode(encoding, "replace"))
    if not lines.links:
        why = ": it is no text" if b"\0" in content and encoding != "utf-16" else ""
        raise InvalidInput(f"There is no link in {name}{why}. Give a text file with one link a line.")
    entries = [Entry.of(found, line) for line, found in lines.links]
    return Given(entries, _left_out("the file", [*map(str, lines.without)]))


def at_least_none(max_api_calls: int) -> int:
    """The cap as it is.

    Raises:
        InvalidInput: It is negative, which would be no cap at all.
    """
    if max_api_calls < 0:
        raise InvalidInput("max_api_calls must be 0 (no cap) or more.")
    return max_api_calls


async def plan(jobs: Jobs, call: Call, given: Given, options: Options, workers: int) -> BatchReply:
    """Count what the batch would take, for free."""
    distinct = {entry.key: entry.link for entry in given.entries if entry.link}
    plans = await jobs.plan(list(distinct.values()), options)
    outcomes = [Outcome("planned") if entry.link else Outcome("failed", error=entry.error) for entry in given.entries]
    reply = _reply(call, given, outcomes, workers)
    reply.distinct_posts = len(distinct)
    reply.on_disk = sum(on_disk for on_disk, _ in plans)
    reply.calls_needed = sum(needed for _, needed in plans)
    return reply


def _reply(call: Call, given: Given, outcomes: list[Outcome], workers: int) -> BatchReply:
    pairs = zip(given.entries, outcomes, strict=True)
    items = [replies.batch_item(entry.given, entry.link, outcome) for entry, outcome in pairs]
    reply = replies.batch_reply(call, items, outcomes, workers)
    reply.note = _joined(reply.note, given.note) or None
    return reply


def _content(path: Path, largest: int | None) -> bytes:
    name = clean(path.name)
    try:
        # Through links: a person may name one, and of what a tool is given they are resolved by now.
        content = read_start(path, -1 if largest is None else largest + 1, through_links=True)
    except OSError as error:
        raise InvalidInput(f"The list of links cannot be read: {name}: {error.strerror}.") from None
    except ValueError:
        raise InvalidInput(f"The list of links must be a text file; {name} is none.") from None
    if largest is not None and len(content) > largest:
        raise InvalidInput(f"The list of links is larger than {largest:,} bytes: {name}.")
    return content


def _left_out(where: str, lines: list[str]) -> str:
    """What is said about lines without a link: how many they are and the first numbers, and nothing of their text."""
    named = ", ".join([*lines[:MAX_NOTED_LINES], *["…"] * (len(lines) > MAX_NOTED_LINES)])
    return f"Lines of {where} without a link, left out: {len(lines)} (numbers {named})." if lines else ""


def _joined(*notes: str | None) -> str:
    return " ".join(filter(None, notes))
