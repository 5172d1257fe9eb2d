"""Raw answers of real size for the benchmarks: invented, 75 kB each as real Douyin answers are, every one different."""

import json
import random
from pathlib import Path
from typing import Any

from tests.payloads import address, douyin_post, envelope, tiktok_post, video

SIZE = 75_000  # bytes, with two blanks of indent, as our own raw files have
FIRST = 7_300_000_000_000_000_000
WORDS = ("纸船", "河上", "kite", "boat", "灯塔", "morning", "山の", "パン", "шторм", "☂", "paper", "#fyp", "#雨夜")


def answer(number: int, snapshots: int = 1, chance: random.Random | None = None) -> dict[str, Any]:
    """The answer with this number; each post has so many of them, a day apart."""
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
        statistics=statistics,
        video=video(bit_rate=[_gear(chance) for _ in range(44)]),
        anchors_extras=[{"key": f"k{index}", "value": {"a": index, "b": None, "c": True}} for index in range(60)],
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
        "play_addr": address("bytevc1", 720, 1280, url_list=signs),
    }


def fill(folder: Path, files: int, snapshots: int = 1) -> int:
    """Write so many answers into a folder; how many bytes they have."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for number in range(files):
        body = json.dumps(answer(number, snapshots), indent=2, ensure_ascii=False).encode()
        (folder / f"raw_{FIRST + number // snapshots}_{number:08x}00004000.json").write_bytes(body)
        total += len(body)
    return total
