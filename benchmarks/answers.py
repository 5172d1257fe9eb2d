"""Invented raw answers of realistic size for the benchmarks, each one different.

They have the shape of a real Douyin answer of 75 kB: about 900 keys, 40,000 characters of strings, hundreds of them
not ASCII, an emoji, and 2,000 backslashes, because some strings hold JSON. The strings are ordinary Chinese: every
other sentence has a 不 (U+4E0D). Its low byte is that of a carriage return, which doubles the time that Python needs
to read a text file.
"""

import json
import random
from pathlib import Path
from typing import Any

from tests.support.payloads import address, douyin_post, envelope, tiktok_post, video

SIZE = 75_000  # bytes, indented by two spaces like the raw files of the server
FIRST = 7_300_000_000_000_000_000
WORDS = (
    "🌙",
    "等一条不存在的船",
    "灯塔",
    "kite",
    "boat",
    "山のパン屋",
    "朝活",
    "шторм",
    "☂",
    "paper",
    "#雨夜",
    "🚤",
    "不要开灯",
)


def answer(number: int, snapshots: int = 1, chance: random.Random | None = None) -> dict[str, Any]:
    """The answer with this number; each post has `snapshots` answers, a day apart."""
    chance = chance or random.Random(number)
    post, day = divmod(number, snapshots)
    douyin = post % 2 == 1
    plays = chance.randrange(1000, 5_000_000)
    statistics = {
        "play_count": 0 if douyin else plays,
        "digg_count": plays // 12,
        "comment_count": plays // 150,
        "share_count": plays // 90,
        "collect_count": plays // 40,
        "download_count": plays // 400,
        "forward_count": 0,
        "whatsapp_share_count": 3,
    }
    make = douyin_post if douyin else tiktok_post
    made = make(
        aweme_id=str(FIRST + post),
        desc=" ".join(chance.choices(WORDS, k=30)),
        author=tiktok_post()["author"] | {"nickname": f"夜航星 🌙 {post}", "follower_count": 0 if douyin else post},
        statistics=statistics,
        video=video(bit_rate=[_gear(chance) for _ in range(38)]),
        suggest_words=[{"word": " ".join(chance.choices(WORDS, k=3)), "info": {"a": 1, "b": None}} for _ in range(60)],
    )
    return envelope(
        made,
        douyin=douyin,
        request_id=f"{number:08x}-0000-4000-8000-000000000001",
        time_stamp=1_760_000_000 + 86_400 * day,
    )


def _gear(chance: random.Random) -> dict[str, Any]:
    signs = [
        f"https://v{index}.example/{chance.randbytes(16).hex()}/video/?sign={chance.randbytes(90).hex()}"
        for index in range(3)
    ]
    return {
        "gear_name": "normal_720_0",
        "quality_type": 10,
        "bit_rate": chance.randrange(10**5, 10**6),
        "is_bytevc1": 1,
        "FPS": 30,
        "HDR_type": "",
        "video_extra": json.dumps(
            {"PktOffsetMap": json.dumps([{"time": n, "offset": chance.randrange(10**6)} for n in range(5)])}
        ),
        "play_addr": address("bytevc1", 720, 1280, url_list=signs),
    }


def fill(folder: Path, files: int, snapshots: int = 1) -> int:
    """Write `files` answers into a folder, and return their total size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for number in range(files):
        body = json.dumps(answer(number, snapshots), indent=2, ensure_ascii=False).encode()
        (folder / f"raw_{FIRST + number // snapshots}_{number:08x}00004000.json").write_bytes(body)
        total += len(body)
    return total
