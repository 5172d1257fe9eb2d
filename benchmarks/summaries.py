"""Summaries beside the script that everybody writes: files a second, memory, and whether that changes with their number.

python -m benchmarks.summaries [FILES]
"""

import csv
import json
from pathlib import Path
from typing import Any


def baseline(source: Path, out_dir: Path) -> int:
    """What everybody writes: load every file, collect all rows, then dump them."""
    rows: list[dict[str, Any]] = []
    for path in sorted(source.glob("*.json")):
        with path.open(encoding="utf-8") as file:
            data = json.load(file)
        rows.append(flat(path.name, data))
    with (out_dir / "summary.json").open("w", encoding="utf-8") as file:
        json.dump(
            {"generated_from": str(source), "video_count": len(rows), "videos": rows},
            file,
            indent=2,
            ensure_ascii=False,
        )
    with (out_dir / "summary.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def flat(name: str, data: Any) -> dict[str, Any]:
    """One row, taken out of the parsed answer field by field."""
    post = (data.get("data") or {}).get("aweme_detail") or ((data.get("data") or {}).get("aweme_details") or [{}])[0]
    author, numbers = post.get("author") or {}, post.get("statistics") or {}
    clip, music, ai = post.get("video") or {}, post.get("music") or {}, post.get("aigc_info") or {}
    play, cover = clip.get("play_addr") or {}, clip.get("cover") or {}
    return {
        "source_file": name,
        "parse_ok": True,
        "error": None,
        "request_id": data.get("request_id"),
        "api_code": data.get("code"),
        "api_message": data.get("message"),
        "router": data.get("router"),
        "share_url": (data.get("params") or {}).get("share_url") or "",
        "cache_url": data.get("cache_url"),
        "aweme_id": post.get("aweme_id"),
        "desc": (post.get("desc") or "")[:2000],
        "create_time_unix": post.get("create_time"),
        "aweme_type": post.get("aweme_type"),
        "content_desc": post.get("content_desc") or "",
        **{f"author_{key}": author.get(key) for key in ("nickname", "unique_id", "sec_uid", "uid", "follower_count")},
        **{f"author_{key}": author.get(key) for key in ("following_count", "aweme_count", "verification_type")},
        **{f"author_{key}": author.get(key) for key in ("account_region", "commerce_user_level")},
        **{key: numbers.get(key) for key in ("digg_count", "comment_count", "share_count", "play_count")},
        **{
            key: numbers.get(key)
            for key in ("collect_count", "download_count", "forward_count", "whatsapp_share_count")
        },
        "video_duration_ms": clip.get("duration"),
        "video_width": play.get("width"),
        "video_height": play.get("height"),
        "video_ratio": clip.get("ratio"),
        "video_has_watermark": clip.get("has_watermark"),
        "cover_url": (cover.get("url_list") or [""])[0],
        "play_url_sample": (play.get("url_list") or [""])[0],
        "music_id": music.get("id_str") or music.get("mid"),
        "music_title": music.get("title"),
        "music_author": music.get("owner_nickname") or music.get("author"),
        **{f"music_{key}": music.get(key) for key in ("is_original_sound", "is_commerce_music")},
        **{f"music_{key}": music.get(key) for key in ("commercial_right_type", "user_count")},
        "is_ads": post.get("is_ads"),
        "commerce_info_min": json.dumps(post.get("commerce_info")),
        "aigc_created_by_ai": ai.get("created_by_ai"),
        "aigc_label_type": ai.get("aigc_label_type"),
        "hashtags": "|".join(tag["hashtag_name"] for tag in post.get("text_extra") or [] if tag.get("hashtag_name")),
    }
