"""What the commands print about posts, batches and summaries, and what they ask."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tikhub_mcp.summary.history import Top
    from tikhub_mcp.summary.summarize import Summary
    from tikhub_mcp.tools.schemas import BatchItem, BatchReply, Error, PhotosEntry, VideoReply
from tikhub_mcp.cli.terminal import (
    fitted,
    is_seen,
    isolated,
    padded,
    paragraph,
    print_error,
    print_note,
    print_warnings,
    put,
    remark,
)
from tikhub_mcp.messages import counted, for_person, translate
from tikhub_mcp.text import clean, printable

MAX_FAILURES = 20  # that are listed again at the end of a batch
NOT_OF_PHOTOS = "a photo post has none"  # the reason for a null in the metrics of a photo post
_SENTENCES = re.compile(r"(?<=[.?!]) |(?<=[。？！])")
_STATUS_COLUMNS, _AUTHOR_LENGTH, _COUNT_COLUMNS = 8, 18, 13


def _print(line: str) -> None:
    """Print a line that may contain links, paths and words of other people; none of them can move the cursor or lie."""
    put(printable(line))


def print_at_once(line: str) -> None:
    """Print a line, also into a pipe, without waiting for more."""
    put(line, flush=True)


def print_video(reply: "VideoReply", *, quiet: bool = False) -> None:
    """Print the result of `one`: files, title, metrics and cost on standard output, the rest on standard error.

    Args:
        reply: The result.
        quiet: Whether only an error is printed.
    """
    if not quiet:
        _print_post(reply)
        print_note(reply.note)
    if reply.error:
        _print_reply_error(reply.error)


def _print_post(reply: "VideoReply") -> None:
    if reply.raw_json_path:
        _print(translate("one.raw", path=reply.raw_json_path))
    _print_files(reply)
    if reply.title:
        put(translate("one.title", title=isolated(clean(reply.title))))
    if reply.metrics:
        for name, value in reply.metrics.model_dump(exclude={"notes"}).items():
            shown = _missing(reply.metrics.notes.get(name)) if value is None else isolated(printable(str(value)))
            put(translate(f"metric.{name}", value=shown))
    if reply.status == "ok":
        reused = translate("one.reused") if reply.cost.reused_answer else ""
        _print(translate("one.cost", calls=counted("count.calls", reply.cost.api_calls), reused=reused))


def _missing(reason: str | None) -> str:
    if reason == NOT_OF_PHOTOS:
        return translate("one.not_of_photos")
    return translate("one.unknown", reason=for_person(reason or ""))


def _print_files(reply: "VideoReply") -> None:
    if reply.file:
        there = translate("one.was_there") if reply.file.reused else ""
        _print(translate("one.video", path=reply.file.path, there=there))
        print_warnings(reply.file.warnings)
    if reply.photos:
        _print(translate("one.photos", path=reply.photos.dir, count=_pictures(reply.photos)))
        for file in reply.photos.files:
            if file.role == "music":
                _print(translate("extra.music", path=Path(reply.photos.dir, file.name)))
        print_warnings(reply.photos.warnings)
    for extra in reply.extras or ():
        _print(translate(f"extra.{extra.role}", path=extra.path))
    if reply.transcript:
        words = isolated(clean(reply.transcript.text, len(reply.transcript.text)))
        put(translate("one.transcript", language=reply.transcript.language, text=words))


def _pictures(photos: "PhotosEntry") -> str:
    parts = [counted("count.pictures", photos.count)]
    if photos.clips:
        parts.append(counted("count.clips", photos.clips))
    if photos.missing:
        parts.append(counted("count.missing", len(photos.missing)))
    if photos.reused:
        parts.append(translate("one.were_there"))
    return translate("cli.comma").join(parts)


def _print_reply_error(error: "Error") -> None:
    print_error(error.code, error.tell_human or error.message)


def row_of(item: "BatchItem", title: str | None = None, *, full: bool = False) -> str:
    """Return the line about one link of a batch: on a terminal what fits, else with the link and the path.

    Args:
        item: The result.
        title: The post's own words, where they are known.
        full: Whether the line is the same on a terminal.
    """
    status = padded(translate(f"status.{item.status}"), _STATUS_COLUMNS)
    reason = for_person(item.error.message) if item.error else ""
    if full or not is_seen(sys.stdout):
        detail = f"{item.error.code}: {reason}" if item.error else item.path or item.raw_json_path or ""
        return printable("  ".join(filter(None, (f"{status} {item.url}", detail, _likes(item)))))
    if item.error:
        first = printable(_SENTENCES.split(reason, maxsplit=1)[0])
        named = item.video_id is not None and item.video_id in first
        return fitted(f"{status} {first}{'' if named else f'  {clean(item.url)}'}")
    if item.metrics is None:
        return fitted(f"{status} {clean(item.url)}")
    author = clean(item.metrics.author, _AUTHOR_LENGTH)
    pictures = counted("count.pictures", item.photos_count) if item.photos_count else ""
    words = "  ".join(isolated(text) for text in (author, clean(title or "")) if text)
    return fitted("  ".join(filter(None, (f"{status} {padded(_likes(item), _COUNT_COLUMNS)}", pictures, words))))


def _likes(item: "BatchItem") -> str:
    if item.metrics is None:
        return ""
    return translate("batch.no_likes") if item.metrics.likes is None else counted("count.likes", item.metrics.likes)


def print_batch(reply: "BatchReply", *, shown: bool = False, quiet: bool = False) -> None:
    """Print the result of `batch`: a line for each link, the failures again, the totals, and the path of the table.

    Args:
        reply: The result.
        shown: Whether the lines of the links that are done were printed before.
        quiet: Whether only failures are printed.
    """
    stop = f"  {reply.error.code}" if reply.error else ""
    for item in reply.results:
        if item.status == "skipped" and not quiet and not is_seen(sys.stdout):
            put(row_of(item) + stop)
        elif not (shown or quiet or item.status == "skipped"):
            put(row_of(item))
        for warning in item.warnings or () if not quiet else ():
            remark(translate("cli.warning"), f"{item.video_id}: {for_person(warning)}")
    _print_failures([item for item in reply.results if item.error])
    if not quiet:
        print_note(reply.note)
    if reply.error:
        _print_reply_error(reply.error)
    if not quiet:
        _print_totals(reply)


def _print_failures(failed: "list[BatchItem]") -> None:
    if not failed:
        return
    put(translate("batch.failures"))
    for item in failed[:MAX_FAILURES]:
        if item.error:  # what failed has one
            _print(f"  {item.url}")
            reason = printable(f"{item.error.code}: {for_person(item.error.message)}")
            put(f"    {paragraph(reason, 4, stream=sys.stdout)}")
    if len(failed) > MAX_FAILURES:
        put(counted("batch.more_failures", len(failed) - MAX_FAILURES))


def _print_totals(reply: "BatchReply") -> None:
    links, calls = counted("count.links", reply.total), counted("count.calls", reply.cost.api_calls)
    if reply.calls_needed is not None:
        posts, needed = (
            counted("count.distinct", reply.distinct_posts or 0),
            counted("count.needed", reply.calls_needed),
        )
        put(
            translate("batch.plan", links=links, posts=posts, on_disk=reply.on_disk, needed=needed, failed=reply.failed)
        )
    else:
        done, failed, skipped = reply.succeeded, reply.failed, reply.skipped
        put(translate("batch.done", links=links, succeeded=done, failed=failed, skipped=skipped, calls=calls))
        if sums := _sums_of(reply.results):
            put(paragraph(sums, 2, stream=sys.stdout))
    _print(translate("batch.folder", path=reply.output_dir))
    if reply.results_path:
        _print(translate("batch.table", path=reply.results_path))


def _sums_of(items: "list[BatchItem]") -> str:
    """The sums of likes and plays over the distinct posts of a batch."""
    posts = {item.video_id or item.url: item.metrics for item in items if item.metrics}
    values = {name: [getattr(metrics, name) for metrics in posts.values()] for name in ("likes", "plays")}
    known = {name: [count for count in counts if count is not None] for name, counts in values.items()}
    sums = {name: sum(counts) for name, counts in known.items() if counts}
    return sums_in_words(sums, {name: len(counts) for name, counts in known.items()}, len(posts))


def sums_in_words(sums: Mapping[str, int], reported: Mapping[str, int], posts: int) -> str:
    """Return sums of counts over posts in words; of a count that some posts do not report, over how many it is.

    Args:
        sums: The sums by the names that metrics have.
        reported: How many posts report each count.
        posts: How many posts there are.
    """
    words = []
    for name, number in sums.items():
        some = translate("batch.of_posts", some=reported[name], all=posts) if reported[name] < posts else ""
        words.append(counted(f"count.{name}", number) + some)
    return translate("cli.comma").join(words)


def print_summary(summary: "Summary", note: str = "") -> None:
    """Print the result of `summarize`: the files written, the totals, the top posts, and notes."""
    from tikhub_mcp.posts.counts import API_COUNTS
    from tikhub_mcp.summary.rows import reported
    from tikhub_mcp.summary.summarize import FORMATS

    found = summary.found
    for name in (*FORMATS, "history"):
        if name in summary.paths:
            _print(translate(f"output.{name}", path=summary.paths[name]))
    without = found.rows - found.parsed
    broken = counted("summary.broken", without) if without else ""
    read = translate("summary.read", files=counted("count.files", summary.files), path=summary.source, broken=broken)
    put(paragraph(printable(read), 2, stream=sys.stdout))
    if found.parsed:
        sums = {
            shown: number for shown, name in API_COUNTS.items() if (number := found.totals.counts[name]) is not None
        }
        known = {shown: found.totals.reported[name] for shown, name in API_COUNTS.items()}
        posts, words = counted("count.posts", found.totals.posts), sums_in_words(sums, known, found.totals.posts)
        told = translate("summary.totals", posts=posts, sums=words) if words else posts
        put(paragraph(told, 2, stream=sys.stdout))
    for shown, tops in (("plays", found.by_plays), ("likes", found.by_likes)):
        if tops:
            put(translate(f"summary.most_{shown}"))
        for top in tops:
            number = reported(top.row)[API_COUNTS[shown]]
            put(fitted(f"{number:>15,}  {_described(top, f'{API_COUNTS[shown]}_change')}"))
    for sentence in (note, *summary.remarks()):
        print_note(sentence)


def _described(top: "Top", change: str) -> str:
    from tikhub_mcp.summary.rows import own_words

    author, post, words = (
        clean(str(text or ""), 60) for text in (top.row["author_nickname"], top.row["aweme_id"], own_words(top.row))
    )
    grown = top.change or {}
    days = grown.get("days_since_previous")
    growth = ""
    if days and grown[change] is not None:
        growth = translate("summary.growth", change=grown[change], span=_span(days))
    return "  ".join(filter(None, (isolated(author), post, growth, isolated(words))))


def _span(days: float) -> str:
    if days >= 1:
        return translate("summary.days", count=days)
    hours = 24 * days
    return translate("summary.hours", count=hours) if hours >= 1 else translate("summary.minutes", count=60 * hours)


def print_lines(*lines: str) -> None:
    """Print lines that may contain paths, wrapped on a terminal."""
    for line in lines:
        put("\n".join(paragraph(printable(part), stream=sys.stdout) for part in line.split("\n")))


def is_terminal() -> bool:
    """Whether questions can be asked: standard input and output are a terminal."""
    return is_seen(sys.stdin) and is_seen(sys.stdout)


def agreed(change: str, already: bool) -> bool:
    """Print what a change does, and ask the user to confirm it.

    Args:
        change: The sentence to print.
        already: Whether the user has confirmed it with --yes; then there is no question.

    Returns:
        Whether to make the change; False if standard input or output is not a terminal.
    """
    print_lines(change)
    if already:
        return True
    if not is_terminal():
        remark("", translate("install.no_terminal"))
        return False
    try:
        answer = input(translate("install.confirm"))
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    put(translate("install.not_written"))
    return False
