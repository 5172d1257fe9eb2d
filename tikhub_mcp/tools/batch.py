"""Batches: parses links from arguments or a file, plans or runs the downloads, and builds one reply."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import DiskFull, InvalidInput, NotWritable, UnsupportedLink
from tikhub_mcp.jobs.model import MAX_TRANSFERS, Call, Options, Outcome, Watch
from tikhub_mcp.jobs.scheduler import Jobs
from tikhub_mcp.posts import links, lists
from tikhub_mcp.posts.links import Link
from tikhub_mcp.storage.reading import read_start
from tikhub_mcp.text import clean, first_few
from tikhub_mcp.tools import replies
from tikhub_mcp.tools.batch_table import table_path, write_table
from tikhub_mcp.tools.list_text import decode_list
from tikhub_mcp.tools.schemas import BatchReply
from tikhub_mcp.tools.workspace import web_link

MAX_LIST_BYTES = 2**20  # of a file with links
MAX_WITHOUT_TABLE = 20  # links
MAX_NOTED = 5  # line numbers in the note about lines without a link, and links in that about links left out
MAX_NOTED_LENGTH = 80  # characters of a link in a note


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a batch: the text as given, and the parsed link or the error; and its line in a file, or 0."""

    given: str
    link: Link | None = None
    error: UnsupportedLink | None = None
    line: int = 0

    @property
    def key(self) -> str:
        """A key that is equal for entries whose links name the same post."""
        return self.link.key if self.link else self.given

    @classmethod
    def of(cls, given: str, line: int = 0) -> "Entry":
        """Parse a link.

        Args:
            given: The text.
            line: Its line number in a file, or 0. Text from a file is shortened, as the caller may not know the file.
        """
        text = links.shown(given) if line else given
        try:
            return cls(text, links.parse_link(given), line=line)
        except UnsupportedLink as error:
            message = f"Line {line}: {error.message}" if line else error.message
            return cls(clean(text), error=UnsupportedLink(message), line=line)


@dataclass(frozen=True, slots=True)
class Given:
    """The entries of a batch, and a note about the lines that have no link and the links that are left out."""

    entries: list[Entry]
    note: str = ""

    def __add__(self, other: "Given") -> "Given":
        return Given(self.entries + other.entries, _joined(self.note, other.note))

    def posts(self) -> tuple[Link, ...]:
        """Return the links to posts.

        Raises:
            InvalidInput: There are none.
        """
        found = tuple(entry.link for entry in self.entries if entry.link)
        if not found:
            raise InvalidInput("None of the links leads to a post. Give the links of posts that were asked for before.")
        return found

    def posts_note(self) -> str:
        """Return the note, which also says how many entries are no link to a post."""
        others = sum(entry.link is None for entry in self.entries)
        return _joined(self.note, f"Left out, because they lead to no post: {others}." if others else "")


async def plan_or_run(
    jobs: Jobs,
    call: Call,
    given: Given,
    options: Options,
    raw: Path,
    reports: Path,
    *,
    workers: int,
    dry_run: bool,
    progress: Callable[[int], AbstractAsyncContextManager[Watch]],
) -> BatchReply:
    """Plan or run a batch and return the reply, for the tool and the command line.

    Args:
        jobs: Runs the jobs.
        call: The call that waits and pays.
        given: The links.
        options: What to do with each post.
        raw: The folder in which `jobs` stores raw answers.
        reports: The folder of the table that a batch of more than MAX_WITHOUT_TABLE links gets.
        workers: Downloads at once; limited to 1 to MAX_TRANSFERS.
        dry_run: Whether to count posts, files on disk and paid calls only.
        progress: Returns a context manager that shows the progress while the batch runs, given the number of distinct
            posts.
    """
    workers = min(max(workers, 1), MAX_TRANSFERS)
    if dry_run:
        reply = await plan(jobs, call, given, options, workers)
    else:
        async with progress(len({entry.key for entry in given.entries if entry.link})) as watch:
            reply = await run_batch(jobs, call, given, options, reports, workers, watch)
    reply.output_dir, reply.raw_dir = str(options.folder), str(raw) if options.save_raw else None
    return reply


async def run_batch(
    jobs: Jobs, call: Call, given: Given, options: Options, reports: Path, workers: int, watch: Watch
) -> BatchReply:
    """Get the outcomes of all entries, working on each post once, and return them in the order of the entries."""
    parsed = [entry.link for entry in given.entries if entry.link]
    by_key = await jobs.get_all(call, parsed, options, workers, watch) if parsed else {}
    outcomes = [by_key[entry.key] if entry.link else Outcome("failed", error=entry.error) for entry in given.entries]
    reply = _reply(call, given, outcomes, workers)
    if options.save_raw and len(given.entries) > MAX_WITHOUT_TABLE:
        await _add_table(reply, given.entries, outcomes, reports)
    return reply


async def _add_table(reply: BatchReply, entries: list[Entry], outcomes: list[Outcome], reports: Path) -> None:
    """Write the table of a batch, and name it in the reply; or say there why it could not be written."""
    lines = [entry.line or position for position, entry in enumerate(entries, start=1)]
    titles = [outcome.post.title if outcome.post else None for outcome in outcomes]
    path = table_path(reports, (entry.key for entry in entries))
    try:
        await in_thread(write_table, path, lines, titles, reply.results)
        reply.results_path, reply.results_url = str(path), web_link(path)
    except (DiskFull, NotWritable) as error:
        reply.note = _joined(f"The table of the results could not be written: {error.message}", reply.note)


def parse_one(text: str) -> tuple[Link, str]:
    """Parse a link or share text; return the link to its one post, and a note about the other links in it.

    Raises:
        InvalidInput: It links to different posts.
        UnsupportedLink: It links to none.
    """
    link, left_out = lists.one_and_others(text)
    return link, _left_out(left_out) if left_out else ""


def parse_entries(texts: list[str]) -> Given:
    """Parse links and share texts; a text without any link becomes an entry with an error, unless it is blank.

    Blank texts count only where there is nothing else.
    """
    entries, without_link, left_out = list[Entry](), list[str](), list[str]()
    are_blank = not any(map(clean, texts))
    for position, text in enumerate(texts, start=1):
        lines = lists.parse_text(text)
        entries += [Entry.of(link) for _, link in lines.links]
        left_out += [link for _, link in lines.left_out]
        if lines.links:
            without_link += [f"{line} of text {position}" if len(texts) > 1 else str(line) for line in lines.without]
        elif are_blank or clean(text):
            entries.append(Entry.of(text))
    return Given(entries, _joined(_skipped_lines("urls", without_link), _left_out(left_out)))


def read_list(path: Path, largest: int | None = MAX_LIST_BYTES) -> Given:
    """Parse a text file with one link or share text per line.

    Args:
        path: The file, in UTF-8, UTF-16 or GB 18030.
        largest: Its maximum size in bytes; None for no limit.

    Raises:
        InvalidInput: It cannot be read, is not a regular file, is no text, is too large, or has no link.
    """
    name = clean(path.name or str(path))  # `.` and `/` have no name
    try:
        # Symbolic links are followed: a user of the command line may give one; a tool's path is already resolved.
        content = read_start(path, -1 if largest is None else largest + 1, through_links=True)
    except OSError as error:
        raise InvalidInput(f"The list of links cannot be read: {name}: {error.strerror}.") from None
    except ValueError:
        raise InvalidInput(f"The list of links must be a text file; {name} is none.") from None
    text = decode_list(content, name)
    if largest is not None and len(content) > largest:
        raise InvalidInput(f"The list of links is larger than {largest:,} bytes: {name}.")
    return list_entries(text, name)


def list_entries(text: str, name: str) -> Given:
    """Parse a list of links.

    Lines without a link are ignored; the note gives their numbers and not their text, which the caller may not know.

    Args:
        text: The list.
        name: What an error calls it.

    Raises:
        InvalidInput: It has no link.
    """
    lines = lists.parse_list(text)
    if not lines.links:
        raise InvalidInput(f"There is no link in {name}. Give a text file with one link a line.")
    entries = [Entry.of(found, line) for line, found in lines.links]
    skipped = _skipped_lines("the file", [*map(str, lines.without)])
    return Given(entries, _joined(skipped, _left_out([links.shown(link) for _, link in lines.left_out])))


def at_least_none(max_api_calls: int) -> int:
    """Return `max_api_calls` unchanged.

    Raises:
        InvalidInput: It is negative.
    """
    if max_api_calls < 0:
        raise InvalidInput("max_api_calls must be 0 (no cap) or more.")
    return max_api_calls


async def plan(jobs: Jobs, call: Call, given: Given, options: Options, workers: int) -> BatchReply:
    """Count distinct posts, files on disk and paid calls needed, without paying for anything."""
    distinct = {entry.key: entry.link for entry in given.entries if entry.link}
    plans = await jobs.plan(call, list(distinct.values()), options)
    outcomes = [
        Outcome("pending" if plans is None else "planned") if entry.link else Outcome("failed", error=entry.error)
        for entry in given.entries
    ]
    reply = _reply(call, given, outcomes, workers)
    reply.distinct_posts = len(distinct)
    if plans is not None:
        reply.on_disk = sum(on_disk for on_disk, _ in plans)
        reply.calls_needed = sum(needed for _, needed in plans)
    return reply


def _reply(call: Call, given: Given, outcomes: list[Outcome], workers: int) -> BatchReply:
    pairs = zip(given.entries, outcomes, strict=True)
    items = [replies.batch_item(entry.given, entry.link, outcome) for entry, outcome in pairs]
    reply = replies.batch_reply(call, items, outcomes, workers)
    reply.note = _joined(reply.note, given.note) or None
    return reply


def _skipped_lines(where: str, lines: list[str]) -> str:
    """Return the note about lines without a link: how many there are, and the first line numbers."""
    return (
        f"Lines of {where} without a link, left out: {len(lines)} (numbers {first_few(lines, MAX_NOTED)})."
        if lines
        else ""
    )


def _left_out(found: list[str]) -> str:
    """Return the note about links that are not meant."""
    if not found:
        return ""
    named = first_few([clean(link, MAX_NOTED_LENGTH) for link in found], MAX_NOTED)
    return f"Links that lead to no post or advertise the app, left out: {len(found)} ({named})."


def _joined(*notes: str | None) -> str:
    return " ".join(filter(None, notes))
