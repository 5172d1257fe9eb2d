"""What the tests of summaries share: answers that differ in what matters there, and the files they lie in."""

import csv
import json
from pathlib import Path

from tests.support.payloads import ANSWERED, Object, douyin_post, envelope, tiktok_post
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.answers import read_posts
from tikhub_mcp.summary.rows import AnswerFields, Row
from tikhub_mcp.summary.rows import row as row_in

DAY = 86_400  # seconds
COUNTS = ("play_count", "digg_count", "comment_count", "share_count", "collect_count", "download_count")


def answer(aweme_id: Json = "1", days: float | None = 0, *, douyin: Json = False, **over: Json) -> Object:
    """What TikHub said of a post so many days after the first of all answers; None: it did not say when.

    Of what else is given, counts go to the statistics, `link` is what was asked for, the rest is the post's.
    """
    stamp = None if days is None else ANSWERED + round(days * DAY)
    params = {"share_url": over.pop("link", "https://vm.example/ABC/")}
    counts = {name: over.pop(name) for name in COUNTS if name in over}
    make = douyin_post if douyin else tiktok_post
    post = make(aweme_id=aweme_id, **over)
    post["statistics"] = post["statistics"] | counts
    return envelope(post, douyin=douyin, time_stamp=stamp, params=params)


def body(value: Json) -> bytes:
    """A raw file's content."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def row(name: str, content: bytes) -> Row:
    """The row of a file with one post, or none."""
    [found] = rows_in(name, content)
    return found


def rows_in(name: str, content: bytes) -> list[Row]:
    """The rows of a file."""
    return [row_in(found) if isinstance(found, AnswerFields) else found for found in read_posts(name, content)]


def row_of(value: Json, name: str = "raw.json") -> Row:
    """The row that a file with this answer gives."""
    return row(name, body(value))


def save_all(folder: Path, answers: dict[str, Json] | list[Json]) -> Path:
    """The folder, once it holds these answers, under names of their own or in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    named = answers if isinstance(answers, dict) else {f"{at:04}.json": value for at, value in enumerate(answers)}
    for name, value in named.items():
        (folder / name).write_bytes(body(value))
    return folder


def lines(path: Path) -> list[dict[str, str]]:
    """A CSV file as its readers have it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def rows(path: Path) -> list[Object]:
    """The rows of a JSON summary."""
    found: list[Object] = json.loads(path.read_bytes())["videos"]
    return found
