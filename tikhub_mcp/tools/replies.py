"""Makes the replies of the three tools from outcomes and summaries."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from mcp_types import CallToolResult, TextContent

from tikhub_mcp.errors import ApiCallLimit, TikHubMCPError, WrongPost
from tikhub_mcp.jobs.model import Call, Outcome
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.messages import for_person
from tikhub_mcp.posts.counts import API_COUNTS
from tikhub_mcp.posts.links import Link
from tikhub_mcp.summary import history
from tikhub_mcp.summary.history import Top
from tikhub_mcp.summary.rows import own_words, reported
from tikhub_mcp.summary.summarize import Summary
from tikhub_mcp.text import clean, json_size, sendable, shortened, to_json
from tikhub_mcp.tools.entries import extra_file, photos_entry, transcript_entry
from tikhub_mcp.tools.schemas import (
    BatchItem,
    BatchReply,
    Cost,
    Error,
    ExtraFile,
    File,
    PhotoEntry,
    Reply,
    SummaryReply,
    TopPost,
    Totals,
    VideoReply,
)
from tikhub_mcp.tools.workspace import LINK, web_link

MAX_SUMMARY_BYTES = 4000  # of a summary's reply; if paths are long, it has fewer top posts
MAX_TOP_AUTHOR_BYTES, MAX_TOP_TITLE_BYTES = 36, 51  # with these, ten top posts fit into the reply
MAX_RESULTS = 100  # of a batch in one reply; a larger batch shows some of what is not done
MAX_SHOWN_OF_MANY = MAX_RETRY_URLS = 50
MAX_HEAD_BYTES = 1500  # of a batch's fields before retry_urls: the note is cut, unless errors and paths are long
MIN_NOTE_BYTES = 200
# Of the reply about one link, without its transcript: fewer files and warnings are named, a long title or link is cut.
MAX_VIDEO_BYTES = 4000
MIN_URL_BYTES = 200
MIN_TITLE_BYTES = 60
ABSENT = ("extras", "file_url", "raw_json_url")  # fields of an item that are left out where they are null
MIN_MISSING = 10  # pictures that are named, as in the error; post.json has all
MAX_URL_LENGTH = 2000  # characters; links are shorter, and texts without a link are cut
PENDING = (
    "Not done within this call. The work continues while the server runs, and ends with it. Call again with the same "
    "arguments to join it. No saved answer is paid for again; a request that was out when the server ended may be."
)
SUMMARY_PENDING = "Not done within this call; the work continues. Call again with the same arguments to get its result."
NOT_ALL_NAMED = "Not all files are named here; all of them are in the folder."
NO_TABLE = (
    f"There is no table, and the results of more than {MAX_RESULTS} links do not fit here. Call again with at most so "
    "many links at a time, without refresh: what was answered is used again, and costs nothing."
)


def describe(error: TikHubMCPError) -> Error:
    """Return the reply's form of an error."""
    return Error(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        stop=error.stop,
        tell_human=error.tell_human and for_person(error.tell_human),
        retry_after_s=error.retry_after,
    )


def video_reply(given: str, link: Link | None, outcome: Outcome, note: str = "") -> VideoReply:
    """Return the reply about one link; `link` is None if the given text has no valid link."""
    post, saved = outcome.post, outcome.saved
    link_to = LINK.get()
    file_url = link_to(saved.path) if link_to and saved else None
    raw_url = link_to(outcome.raw_path) if link_to and outcome.raw_path else None
    return VideoReply(
        status="ok" if outcome.status == "ok" else "pending" if outcome.status == "pending" else "failed",
        url=clean(given, MAX_URL_LENGTH),
        platform=link.platform if link else None,
        video_id=_video_id(link, outcome),
        kind=post.kind if post else None,
        title=post.title if post else None,
        file=_file(saved, file_url, outcome) if saved else None,
        photos=photos_entry(outcome.photos) if outcome.photos else None,
        extras=[extra_file(extra) for extra in outcome.extras] or None,
        transcript=transcript_entry(outcome.spoken) if outcome.spoken else None,
        raw_json_path=_text(outcome.raw_path),
        raw_json_url=raw_url,
        metrics=post.metrics if post else None,
        cost=Cost(api_calls=outcome.api_calls, reused_answer=outcome.reused_answer),
        note=_video_note(outcome, note),
        error=describe(outcome.error) if outcome.error else None,
    )


def _video_note(outcome: Outcome, note: str) -> str | None:
    pending = PENDING if outcome.status == "pending" else ""
    warnings = () if outcome.saved else outcome.warnings  # there is no file that could have them
    return " ".join(filter(None, (pending, *warnings, note))) or None


def _within_limit(reply: VideoReply) -> VideoReply:
    """Name fewer files, warnings and missing pictures, and cut the texts, until the reply is of MAX_VIDEO_BYTES."""
    url, reply.url, reply.transcript, spoken = reply.url, "", None, reply.transcript
    room = MAX_VIDEO_BYTES - MIN_URL_BYTES
    lists: list[list[PhotoEntry] | list[ExtraFile]] = [reply.photos.files if reply.photos else [], reply.extras or []]
    while any(lists) and _size(reply) > room:
        max(lists, key=len).pop()
        if NOT_ALL_NAMED not in (reply.note or ""):
            reply.note = f"{reply.note or ''} {NOT_ALL_NAMED}".strip()
    place = reply.file or reply.photos
    numbers = reply.photos.missing if reply.photos else []
    for items, least in ((place.warnings if place else [], 1), (numbers, MIN_MISSING)):
        while len(items) > least and _size(reply) > room:
            items.pop()
    for field, least in (("title", MIN_TITLE_BYTES), ("note", MIN_NOTE_BYTES)):
        text = getattr(reply, field)
        if text and (excess := _size(reply) - room) > 0:
            setattr(reply, field, shortened(text, max(least, json_size(text) - len('""') - excess)))
    url = shortened(url, max(MIN_URL_BYTES, MAX_VIDEO_BYTES - _size(reply)))
    return reply.model_copy(update={"url": url, "transcript": spoken})


def _size(reply: VideoReply) -> int:
    return json_size(reply.model_dump(mode="json"))


def batch_item(given: str, link: Link | None, outcome: Outcome) -> BatchItem:
    """Return the result of one link of a batch; `link` is None if the given text has no valid link."""
    saved, photos = outcome.saved, outcome.photos
    warnings = _warnings(saved, outcome) if saved else [*(photos.warnings if photos else ()), *outcome.warnings]
    path = saved.path if saved else photos.folder if photos else None
    return BatchItem(
        status=outcome.status,
        url=clean(given, MAX_URL_LENGTH if link else 300),
        video_id=_video_id(link, outcome),
        path=_text(path),
        file_url=web_link(path),
        size_bytes=saved.size if saved else photos.size if photos else None,
        photos_count=photos.count if photos else None,
        extras=[extra.path.name for extra in outcome.extras] or None,
        warnings=warnings or None,
        raw_json_path=_text(outcome.raw_path),
        raw_json_url=web_link(outcome.raw_path),
        metrics=outcome.post.metrics if outcome.post else None,
        error=describe(outcome.error) if outcome.error and outcome.status == "failed" else None,
    )


def batch_reply(call: Call, items: list[BatchItem], outcomes: list[Outcome], workers: int) -> BatchReply:
    """Return the reply of a batch: its items and their totals. `outcomes` are in the order of `items`."""
    count = {status: sum(item.status == status for item in items) for status in ("ok", "failed", "pending", "skipped")}
    worth_retrying = (
        item.url
        for item in items
        if item.status in ("pending", "skipped") or (item.error is not None and item.error.retryable)
    )
    capped = any(isinstance(outcome.error, ApiCallLimit) for outcome in outcomes)
    errors = list(call.stops.values()) or [call.limit()] * capped
    return BatchReply(
        status="stopped" if errors else "partial" if count["pending"] else "complete",
        total=len(items),
        succeeded=count["ok"],
        failed=count["failed"],
        pending=count["pending"],
        skipped=count["skipped"],
        failed_by_code=dict(Counter(item.error.code for item in items if item.error)),
        results=items,
        retry_urls=list(dict.fromkeys(worth_retrying)),
        workers=workers,
        cost=Cost(
            api_calls=call.api_calls,
            reused_answer=any(outcome.reused_answer for outcome in outcomes),
        ),
        note=PENDING if count["pending"] else None,
        error=_together(errors) if errors else None,
    )


def _together(errors: list[TikHubMCPError]) -> Error:
    """Return the first error, with the words of the others: a key may be refused for each platform by itself."""
    first = describe(errors[0])
    first.message = " ".join(error.message for error in errors)
    first.tell_human = " ".join(filter(None, (error.tell_human for error in errors))) or None
    return first


def bounded(reply: BatchReply) -> BatchReply:
    """Return the reply of a batch as a tool gives it: with a note, retry_urls and results of limited length."""
    many = len(reply.results) > MAX_RESULTS
    results = _most_telling(reply.results) if many else reply.results
    if many and not reply.results_path and reply.succeeded:
        reply.note = f"{NO_TABLE} {reply.note or ''}"
    rest = reply.model_dump(exclude={"note", "retry_urls", "retry_count", "results_omitted", "results"})
    note_bytes = max(MIN_NOTE_BYTES, MAX_HEAD_BYTES - json_size(rest) - len('"note":"",'))
    return reply.model_copy(
        update={
            "note": reply.note and shortened(reply.note, note_bytes),
            "retry_urls": reply.retry_urls[:MAX_RETRY_URLS],
            "retry_count": len(reply.retry_urls) if len(reply.retry_urls) > MAX_RETRY_URLS else None,
            "results_omitted": len(reply.results) - len(results),
            "results": results,
        }
    )


def _most_telling(items: list[BatchItem]) -> list[BatchItem]:
    """Return the entries of a large batch that a reply shows, in their order: failed ones, then those not done."""
    open_ones = [number for number, item in enumerate(items) if item.status not in ("ok", "planned")]
    shown = sorted(open_ones, key=lambda number: items[number].status != "failed")[:MAX_SHOWN_OF_MANY]
    return [items[number] for number in sorted(shown)]


def summary_reply(summary: Summary, note: str = "") -> SummaryReply:
    """Return the reply of a summary, with top posts removed until it fits into MAX_SUMMARY_BYTES.

    Args:
        summary: The summary.
        note: What else is to be said.
    """
    found = summary.found
    named = {"history_csv" if name == "history" else name: path for name, path in summary.paths.items()}
    paths = {f"{name}_path": str(path) for name, path in named.items()}
    links = {f"{name}_url": web_link(path) for name, path in named.items()}
    reply = SummaryReply(
        status="failed" if summary.error else "ok",
        **paths,
        **links,
        input=_text(summary.source),
        rows=found.rows,
        parsed=found.parsed,
        broken=found.rows - found.parsed,
        posts_with_history=found.histories,
        totals=_totals(found.totals),
        top_by_plays=[_top(top, "play_count_change") for top in found.by_plays],
        top_by_likes=[_top(top, "digg_count_change") for top in found.by_likes],
        note=" ".join(filter(None, (note, *summary.remarks()))) or None,
        error=describe(summary.error) if summary.error else None,
    )
    tops = reply.top_by_likes, reply.top_by_plays
    while any(tops) and json_size(reply.model_dump()) > MAX_SUMMARY_BYTES:
        max(tops, key=len).pop()
    return reply


def _totals(found: history.CountTotals) -> Totals:
    sums = {shown: found.counts[name] for shown, name in API_COUNTS.items()}
    return Totals(posts=found.posts, plays_reported=found.reported["play_count"], **sums)


def _top(top: Top, by: str) -> TopPost:
    row, change = top.row, top.change or {}
    counts, author, days = reported(row), row["author_nickname"], change.get("days_since_previous")
    return TopPost(
        video_id=clean(str(row["aweme_id"]), 40) if row["aweme_id"] is not None else None,
        author=shortened(author, MAX_TOP_AUTHOR_BYTES) if isinstance(author, str) else "",
        title=shortened(own_words(row), MAX_TOP_TITLE_BYTES),
        plays=counts["play_count"],
        likes=counts["digg_count"],
        engagement_rate=row["engagement_rate"],
        as_of=row["as_of"],
        change=change.get(by),
        change_days=None if days is None else round(days, 4),
    )


def summary_pending() -> SummaryReply:
    """Return the reply of a summary that takes longer than the call."""
    return SummaryReply(status="pending", note=SUMMARY_PENDING)


def refusal(tool: str, error: TikHubMCPError, url: object = "") -> Reply:
    """Return the reply of a tool that failed before any work began; it matches the tool's output schema."""
    free, described = Cost(api_calls=0, reused_answer=False), describe(error)
    if tool == "download_video":
        given = clean(url, MAX_URL_LENGTH) if isinstance(url, str) else ""
        return VideoReply(status="failed", url=given, cost=free, error=described)
    if tool == "summarize_raw":
        return SummaryReply(status="failed", error=described)
    nothing = dict.fromkeys(("total", "succeeded", "failed", "pending", "skipped", "workers"), 0)
    return BatchReply(status="stopped", results=[], retry_urls=[], cost=free, error=described, **nothing)


def result(reply: Reply) -> CallToolResult:
    """Return the tool result of a reply: structured content, and the same as compact JSON text without nulls.

    There are no links to the files: no client can open a `file:` link, and agents built on LangChain fail on it.
    """
    is_error = failed(reply)
    structured = reply.model_dump(mode="json")
    if isinstance(reply, VideoReply) and json_size(structured | {"transcript": None}) > MAX_VIDEO_BYTES:
        reply = _within_limit(reply)
        structured = reply.model_dump(mode="json")
    for item in structured.get("results", ()):
        for name in ABSENT:
            if item[name] is None:
                del item[name]
    text = to_json(reply.model_dump(mode="json", exclude_none=True))
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=sendable(structured), is_error=is_error
    )


def failed(reply: Reply) -> bool:
    """Whether a reply is an error as a whole: it has an error, and nothing succeeded or is pending."""
    done = reply.succeeded + reply.pending if isinstance(reply, BatchReply) else 0
    if isinstance(reply, SummaryReply):
        done = reply.rows  # written in the formats that could be
    return reply.error is not None and not done


def _video_id(link: Link | None, outcome: Outcome) -> str | None:
    if outcome.post and not isinstance(outcome.error, WrongPost):
        return outcome.post.video_id
    return link.post_id if link else None


def _warnings(saved: Saved, outcome: Outcome) -> list[str]:
    """What is to be said of a file: also when it is much longer or shorter than the post."""
    measured, announced = saved.media.duration_ms, outcome.post.metrics.duration_ms if outcome.post else None
    warnings = [*saved.warnings, *outcome.warnings]
    if measured is not None and announced:
        difference = abs(measured - announced)
        if difference > 2000 and difference > 0.2 * announced:
            warnings.append(f"the file lasts {measured} ms, the post {announced} ms")
    return warnings


def _file(saved: Saved, url: str | None, outcome: Outcome) -> File:
    return File(
        path=str(saved.path),
        uri=saved.path.as_uri(),
        url=url,
        size_bytes=saved.size,
        sha256=saved.sha256,
        **asdict(saved.media),
        reused=saved.reused,
        warnings=_warnings(saved, outcome),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
