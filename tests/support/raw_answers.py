"""What the tests of the archive share: answers to keep, and the archive that keeps them."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.payloads import DOUYIN_ID, TIKTOK_ID, envelope, tiktok_post
from tikhub_mcp.posts.answer import Answer, Json, write
from tikhub_mcp.posts.links import Link, parse_link
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.database import INDEX_NAME

TIKTOK = parse_link(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
DOUYIN = parse_link(f"https://www.douyin.com/video/{DOUYIN_ID}")
SHORT = parse_link("https://vm.tiktok.com/ZMmadeup1/")
NAME = f"raw_{TIKTOK_ID}_0a1b2c3d00004000.json"  # of what `answered` makes for TIKTOK
Restart = Callable[[], Archive]


def answered(value: Json = None, link: Link = TIKTOK, received: float | None = None) -> Answer:
    """A paid answer as the client hands it over; to `link`, and good, unless `value` says otherwise."""
    if value is None:
        value = envelope(tiktok_post(), params={"share_url": link.url}, time_stamp=int(time.time()))
    request_id = value.get("request_id") if isinstance(value, dict) else None
    return Answer(write(value), value, time.time() if received is None else received, request_id)


def other(desc: str) -> Answer:
    """Another answer about the same post from the same request."""
    return answered(envelope(tiktok_post(desc=desc), params={"share_url": TIKTOK.url}))


def desc(value: Json) -> Json:
    """What tells them apart."""
    return value["data"]["aweme_details"][0]["desc"]


def change_index(folder: Path, statement: str, *values: object) -> None:
    """Change the index of a raw folder, as time or another program would."""
    with closing(sqlite3.connect(folder / INDEX_NAME, isolation_level=None)) as connection:
        connection.execute(statement, values)


def age(path: Path, seconds: float) -> None:
    """Make a file so old."""
    os.utime(path, (time.time() - seconds,) * 2)
