"""replies.py: what became of the work → what callers get to see."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import pytest
from pydantic import BaseModel, SecretStr

from tests.support.payloads import TIKTOK_ID, douyin_post, envelope, photo_post, tiktok_post
from tests.support.summary_inputs import row
from tikhub_mcp.errors import (
    ApiCallLimit,
    InsufficientBalance,
    KeyMissing,
    MediaUnavailable,
    NotAVideo,
    PermissionDenied,
    RateLimited,
    TikHubMCPError,
    UnsupportedLink,
    WrongPost,
)
from tikhub_mcp.jobs.model import Call, Outcome
from tikhub_mcp.media.mp4 import Media
from tikhub_mcp.media.photos.save import SavedPhotos
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.aweme import MAX_PHOTOS
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.posts.post import Post, parse_post
from tikhub_mcp.summary.history import CountTotals, Findings, Top
from tikhub_mcp.summary.summarize import Summary
from tikhub_mcp.text import json_size
from tikhub_mcp.tools import replies
from tikhub_mcp.tools.schemas import BatchReply, Reply, VideoReply

LINK = parse_link(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
SHORT = parse_link("https://vm.tiktok.com/ZMabc/")
RAW = Path("/root/raw/raw_1_2.json")
SAVED = Saved(Path("/root/videos/tiktok_Ada_1.mp4"), 5, "a" * 64, Media("h264", 576, 1024, 15_000, True))
ERRORS = [MediaUnavailable("no"), InsufficientBalance("no"), RateLimited("no", retry_after=60.0), UnsupportedLink("no")]


def post(**over: Json) -> Post:
    return parse_post(envelope(tiktok_post(**over)), LINK, 0.0)


def done(**over: Json) -> Outcome:
    return replace(Outcome("ok", post(), SAVED, RAW, api_calls=1), **over)


AnyReply = TypeVar("AnyReply", bound=BaseModel)


def batch(call: Call | None = None, *outcomes: Outcome, urls: list[str] | None = None) -> BatchReply:
    given = urls or [f"https://vm.tiktok.com/Z{number}/" for number in range(len(outcomes))]
    items = [replies.batch_item(url, parse_link(url), outcome) for url, outcome in zip(given, outcomes, strict=True)]
    return replies.batch_reply(call or Call(SecretStr("a-key")), items, list(outcomes), 10)


def test_a_video_is_told_whole() -> None:
    reply = replies.video_reply("given", LINK, done(reused_answer=True, api_calls=0))
    assert reply.model_dump(exclude={"metrics", "file", "raw_json_url"}) == {
        "status": "ok",
        "url": "given",
        "platform": "tiktok",
        "video_id": TIKTOK_ID,
        "kind": "video",
        "title": "Paper boats on the canal #boats #canal",
        "photos": None,
        "extras": None,
        "transcript": None,
        "raw_json_path": str(RAW),
        "cost": {"api_calls": 0, "reused_answer": True},
        "note": None,
        "error": None,
    }
    assert reply.metrics == post().metrics
    assert reply.file is not None
    assert reply.file.model_dump() == {
        "path": str(SAVED.path),
        "uri": "file:///root/videos/tiktok_Ada_1.mp4",
        "size_bytes": 5,
        "sha256": "a" * 64,
        "codec": "h264",
        "width": 576,
        "height": 1024,
        "duration_ms": 15_000,
        "has_audio": True,
        "reused": False,
        "warnings": [],
        "url": None,
    }


@pytest.mark.parametrize(
    ("measured", "promised", "warned"),
    [
        (15_000, 15_000, False),
        (12_000, 10_000, False),  # 2 s off and no more
        (12_001, 10_000, True),
        (7_999, 10_000, True),
        (119_000, 100_000, False),  # 19 s off, but under a fifth
        (120_001, 100_000, True),
        (500, 2_400, False),  # most of it is missing, but under 2 s
        (None, 10_000, False),
        (12_001, 0, False),
        (12_001, None, False),
    ],
)
def test_a_duration_is_worth_a_warning_when_it_is_a_fifth_and_two_seconds_off(
    measured: int | None, promised: int | None, warned: bool
) -> None:
    saved = replace(SAVED, media=replace(SAVED.media, duration_ms=measured), warnings=("earlier",))
    outcome = done(saved=saved, post=post(video={**tiktok_post()["video"], "duration": promised}))
    file = replies.video_reply("x", LINK, outcome).file
    assert file is not None
    assert file.warnings == ["earlier", *([f"the file lasts {measured} ms, the post {promised} ms"] * warned)]


def test_photo_posts_have_numbers_and_no_file() -> None:
    found = parse_post(envelope(photo_post()), SHORT, 0.0)
    reply = replies.video_reply("x", SHORT, Outcome("failed", found, raw_path=RAW, error=NotAVideo("photos")))
    assert (reply.status, reply.kind, reply.file, reply.raw_json_path) == ("failed", "images", None, str(RAW))
    assert reply.metrics == found.metrics
    assert reply.error is not None
    assert reply.error.code == "not_a_video"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_an_error_says_what_it_is_and_what_to_do(error: TikHubMCPError) -> None:
    reply = replies.video_reply("x", LINK, Outcome("failed", error=error))
    assert reply.error is not None
    assert reply.error.model_dump() == {
        "code": error.code,
        "message": "no",
        "retryable": error.retryable,
        "stop": error.stop,
        "tell_human": error.tell_human,
        "retry_after_s": error.retry_after,
    }
    assert (reply.status, replies.failed(reply)) == ("failed", True)


def test_what_is_not_done_in_time_says_how_to_get_it() -> None:
    reply = replies.video_reply("x", SHORT, Outcome("pending", raw_path=RAW, api_calls=1))
    assert (reply.status, reply.note, reply.error, reply.video_id) == ("pending", replies.PENDING, None, None)
    assert not replies.failed(reply)
    assert replies.summary_pending().note == replies.SUMMARY_PENDING
    assert not replies.failed(replies.summary_pending())


@pytest.mark.parametrize(("link", "expected"), [(LINK, TIKTOK_ID), (SHORT, None), (None, None)])
def test_a_wrong_post_does_not_lend_its_id(link: Link | None, expected: str | None) -> None:
    outcome = Outcome("failed", post(aweme_id="7000000000000000077"), error=WrongPost("another"))
    assert replies.video_reply("x", link, outcome).video_id == expected
    assert replies.batch_item("x", link, outcome).video_id == expected


@pytest.mark.parametrize(("link", "limit"), [(LINK, replies.MAX_URL_LENGTH), (None, 300)])
def test_what_was_given_is_shown_cleaned_and_cut(link: Link | None, limit: int) -> None:
    item = replies.batch_item("a\x1b\ud800\n" + "x" * 5000, link, Outcome("failed", error=UnsupportedLink("no")))
    assert len(item.url) == limit
    assert item.url.startswith("a x")


def test_a_batch_counts_each_fate_and_names_what_is_worth_another_call() -> None:
    reply = batch(
        Call(SecretStr("a-key"), api_calls=3),
        done(),
        Outcome("failed", error=MediaUnavailable("no")),
        Outcome("failed", error=UnsupportedLink("no")),
        Outcome("pending"),
        Outcome("skipped"),
        Outcome("pending"),
        urls=[f"https://vm.tiktok.com/{code}/" for code in "abcdef"],
    )
    assert (reply.status, reply.total, reply.succeeded, reply.failed, reply.pending, reply.skipped) == (
        "partial",
        6,
        1,
        2,
        2,
        1,
    )
    assert reply.retry_urls == [f"https://vm.tiktok.com/{code}/" for code in "bdef"]
    assert (reply.note, reply.error, reply.cost.api_calls) == (replies.PENDING, None, 3)
    assert [item.error is not None for item in reply.results] == [False, True, True, False, False, False]


def test_a_link_that_was_given_twice_is_retried_once() -> None:
    shared = Outcome("failed", error=MediaUnavailable("no"), reused_answer=True)
    reply = batch(None, shared, shared, urls=["https://vm.tiktok.com/a/"] * 2)
    assert (reply.retry_urls, reply.cost.reused_answer) == (["https://vm.tiktok.com/a/"], True)


def test_a_batch_that_a_refusal_stopped_says_so_and_keeps_what_was_done() -> None:
    call = Call(SecretStr("a-key"))
    refused = Outcome("failed", error=InsufficientBalance("top up"))
    call.stop(InsufficientBalance("top up"))
    reply = batch(call, done(), refused, Outcome("skipped"))
    assert (reply.status, replies.failed(reply)) == ("stopped", False)
    assert reply.error is not None
    assert (reply.error.code, reply.error.stop) == ("insufficient_balance", True)
    assert replies.failed(batch(call, refused, Outcome("skipped")))
    assert not replies.failed(batch(call, refused, Outcome("pending")))


def test_a_key_that_both_platforms_refuse_is_an_error_with_the_words_of_both() -> None:
    call, refusals = Call(SecretStr("a-key")), [InsufficientBalance("Douyin: top up."), PermissionDenied("TikTok: no.")]
    for refusal, platform in zip(refusals, ("douyin", "tiktok"), strict=True):
        refusal.platform, refusal.tell_human = platform, f"Do it for {platform}."
        call.stop(refusal)
    error = batch(call, Outcome("skipped")).error
    assert error is not None
    assert (error.code, error.message) == ("insufficient_balance", "Douyin: top up. TikTok: no.")
    assert error.tell_human == "Do it for douyin. Do it for tiktok."


def test_the_callers_own_cap_stops_a_batch_without_making_an_error_of_each_item() -> None:
    capped = Outcome("skipped", error=ApiCallLimit("max_api_calls=1 is reached"))
    reply = batch(None, done(), capped)
    assert (reply.status, reply.skipped, reply.failed) == ("stopped", 1, 0)
    assert reply.error is not None
    assert reply.error.code == "api_call_limit"
    assert reply.results[1].error is None
    assert (len(reply.retry_urls), replies.failed(reply)) == (1, False)


def test_bad_links_alone_make_no_error_of_a_batch() -> None:
    reply = batch(None, Outcome("failed", error=UnsupportedLink("no")))
    assert (reply.status, reply.failed, replies.failed(reply)) == ("complete", 1, False)


@pytest.mark.parametrize("tool", ["download_video", "batch_download", "summarize_raw"])
def test_a_refusal_fits_the_schema_of_its_tool_and_is_an_error(tool: str) -> None:
    error = KeyMissing("stop")
    error.tell_human = "apply for a key"
    for url in ("https://x\x00" + "\U0001f600" * 5000, 5, None):
        reply = sent(replies.refusal(tool, error, url))
        assert json_size(reply.model_dump()) <= 4000
        assert replies.failed(reply)
        assert type(reply).model_validate_json(reply.model_dump_json()) == reply
        assert reply.error == replies.describe(error)
        assert reply.error is not None
        assert reply.error.tell_human == "apply for a key"
    if isinstance(reply, VideoReply):
        assert reply.url == ""
    if isinstance(reply, BatchReply):
        assert (reply.status, reply.total, reply.results) == ("stopped", 0, [])


def test_a_summary_says_where_it_is_and_what_is_in_it() -> None:
    folder = Path("/root/reports")
    names = ("play_count", "digg_count", "comment_count", "share_count", "collect_count", "download_count")
    counts = dict(zip(names, (900, 80, 7, 6, 5, None), strict=True))
    totals = CountTotals(3, counts, {**dict.fromkeys(names, 3), "play_count": 2})
    top = row("raw.json", json.dumps(envelope(tiktok_post(author={"nickname": "A\u202eda"}))).encode())
    paths = {"csv": folder / "t.csv", "history": folder / "h.csv", "html": folder / "r.html"}
    change = {"play_count_change": 9000, "digg_count_change": None, "days_since_previous": 6.123456}
    found = Findings(5, 4, 1, totals, (Top(top, change),), (Top(top, change), Top(top)))
    reply = replies.summary_reply(Summary(Path("/root/raw"), paths, found))
    first = {
        "video_id": TIKTOK_ID,
        "author": "A da",
        "title": "Paper boats on the canal #boats #canal",
        "plays": 98_765,
        "likes": 4321,
        "engagement_rate": 0.045725,
        "as_of": "2025-10-09T08:53:20Z",
    }
    assert reply.model_dump(exclude_none=True) == {
        "status": "ok",
        "csv_path": "/root/reports/t.csv",
        "history_csv_path": "/root/reports/h.csv",
        "html_path": "/root/reports/r.html",
        "input": "/root/raw",
        "rows": 5,
        "parsed": 4,
        "broken": 1,
        "posts_with_history": 1,
        "totals": {
            "posts": 3,
            "plays": 900,
            "plays_reported": 2,
            "likes": 80,
            "comments": 7,
            "shares": 6,
            "saves": 5,
        },
        "top_by_plays": [first | {"change": 9000, "change_days": 6.1235}],
        "top_by_likes": [first | {"change_days": 6.1235}, first],
    }
    assert not replies.failed(reply)


def sent(reply: AnyReply) -> AnyReply:
    """The reply as a client reads it from the tool's result."""
    return type(reply).model_validate(replies.result(cast(Reply, reply)).structured_content)


def compact(value: Json) -> bytes:
    def without_nulls(item: Json) -> Json:
        if isinstance(item, dict):
            return {key: without_nulls(inner) for key, inner in item.items() if inner is not None}
        return [without_nulls(inner) for inner in item] if isinstance(item, list) else item

    return json.dumps(without_nulls(value), ensure_ascii=False, separators=(",", ":")).encode()


def test_replies_stay_small_also_with_the_longest_texts() -> None:
    long = post(desc="纸" * 5000, author={"nickname": "船" * 500})
    saved = replace(SAVED, path=Path("/") / ("é" * 60) / f"tiktok_{'船' * 26}_{TIKTOK_ID}.mp4")
    error = MediaUnavailable("x" * 300)
    reply = sent(
        replies.video_reply("https://vm.tiktok.com/" + "a" * 200, SHORT, done(post=long, saved=saved, error=error))
    )
    assert len(compact(reply.model_dump(mode="json"))) < 4000
    assert reply.title == "纸" * 299 + "…"


@pytest.mark.parametrize("missing", [35, MAX_PHOTOS])
def test_a_reply_about_a_photo_post_stays_small_also_where_everything_fails(missing: int) -> None:
    folder = Path("/home") / ("船" * 40) / f"photos/tiktok_{'船' * 26}_{TIKTOK_ID}"
    warnings = tuple(f"{number}: " + "w" * 120 for number in range(5))
    photos = SavedPhotos(
        folder, MAX_PHOTOS, (), tuple(range(1, missing + 1)), reused=False, failure=None, warnings=warnings
    )
    outcome = done(
        post=post(desc="纸" * 500, author={"nickname": "船" * 30}),
        saved=None,
        error=MediaUnavailable("x" * 400),
        photos=photos,
    )
    note = "Links left out: " + ", ".join(["https://www.tiktok.com/" + "纸" * 56] * 5)
    reply = sent(replies.video_reply(LINK.given + "纸" * 2000, LINK, outcome, note))
    assert 3900 < json_size(reply.model_dump()) <= 4000
    assert reply.photos
    assert reply.photos.missing[:10] == list(range(1, 11))
    assert (reply.note or "").startswith("Links left out: https://")


@pytest.mark.parametrize("char", ["a", "纸", '"', "\U0001f600"])
@pytest.mark.parametrize(
    "outcome", [Outcome("pending"), done(error=MediaUnavailable("x" * 300))], ids=["short", "long"]
)
def test_a_link_of_any_length_is_cut_only_as_far_as_the_reply_about_its_video_needs(
    char: str, outcome: Outcome
) -> None:
    url = "https://www.tiktok.com/@a/video/7000000000000000001?x=" + char * 1900
    reply = sent(replies.video_reply(url, LINK, outcome))
    whole = json_size(reply.model_copy(update={"url": url}).model_dump())
    assert (reply.url == url) == (whole <= 4000)
    assert url.startswith(reply.url.removesuffix("…"))
    assert whole <= 4000 or 3990 < json_size(reply.model_dump()) <= 4000


def test_an_item_of_a_batch_takes_about_half_a_kilobyte() -> None:
    outcome = done(
        post=parse_post(envelope(douyin_post(), douyin=True), LINK, 0.0),
        saved=replace(SAVED, path=Path("/home/someone/Downloads/tikhub_mcp/videos") / f"tiktok_Ada_{TIKTOK_ID}.mp4"),
        raw_path=Path("/home/someone/Downloads/tikhub_mcp/raw") / f"raw_{TIKTOK_ID}_0a1b2c3d00004000.json",
    )
    item = compact(replies.batch_item(LINK.given, LINK, outcome).model_dump(mode="json"))
    assert 300 < len(item) < 600
