"""Summaries beside the script that everybody writes: files a second, memory, and whether that grows with their number.

    python -m benchmarks.summaries [FILES]

Both read the same folder in turn, each time in a process of its own, as a script is run; a ratio is that of the
medians. Time is without the start of Python and the imports, memory is the process's peak (Linux). The script is also
measured as somebody would write it who knows that Python reads bytes faster than text, and the second time in one
process, when its heap has grown already.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.answers import fill
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.summarize import Format, summarize

TURNS = 3
WAYS = {  # what, and the how manyth time in one process
    "baseline": ("baseline", 1),
    "the same, read as bytes": ("from_bytes", 1),
    "baseline, the second time": ("baseline", 2),
    "ours": ("ours", 1),
    "ours, the second time": ("ours", 2),
}
WANTED = 5.0  # times the baseline
LEAST = 1000  # files a second that the baseline has to reach, or it is no baseline
MOST_MEMORY = 120  # MiB
ONCE = """
import sys, time
from pathlib import Path
from benchmarks import summaries
work, source, out_dir = getattr(summaries, sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
for _ in range(int(sys.argv[4])):
    begun = time.perf_counter()
    files = work(source, out_dir)
    took = time.perf_counter() - begun
print(files / took, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def baseline(source: Path, out_dir: Path) -> int:
    """What everybody writes: load every file, collect all rows, then dump them."""

    def load(path: Path) -> Json:
        with path.open(encoding="utf-8") as file:
            return json.load(file)

    return script(source, out_dir, load)


def from_bytes(source: Path, out_dir: Path) -> int:
    """The same, with files read as bytes."""
    return script(source, out_dir, lambda path: json.loads(path.read_bytes()))


def script(source: Path, out_dir: Path, load: Callable[[Path], Json]) -> int:
    """The script, by how it loads a file."""
    rows = [flat(path.name, load(path)) for path in sorted(source.glob("*.json"))]
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


def flat(name: str, data: Json) -> dict[str, Any]:
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


def ours(source: Path, out_dir: Path) -> int:
    """What the tool does by default."""
    return summarize(source, out_dir).found.rows


def everything(source: Path, out_dir: Path) -> int:
    """All four formats."""
    formats: tuple[Format, ...] = ("csv", "json", "xlsx", "html")
    return summarize(source, out_dir, formats).found.rows


def once(work: str, source: Path, out_dir: Path, times: int = 1) -> tuple[float, float]:
    """Files a second, and the most memory in MiB, of a process that does it, the last of so many times."""
    command = [sys.executable, "-c", ONCE, work, str(source), str(out_dir), str(times)]
    rate, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(rate), int(peak) / 1024


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="?", type=int, default=20_000)
    files: int = parser.parse_args().files
    print(f"Python {platform.python_version()}, msgspec {version('msgspec')}\n")
    with tempfile.TemporaryDirectory(prefix="summaries-") as name:
        folder = Path(name)
        out_dir = folder / "out"
        out_dir.mkdir()
        sizes = [files // 100, files // 10, files]
        sources = [folder / str(size) for size in sizes]
        for size, source in zip(sizes, sources, strict=True):
            total = fill(source, size)
        os.sync()  # or the disk is busy with them while they are read
        print(f"{files:,} answers, {total / files / 1000:.0f} kB each\n")
        runs: dict[str, list[tuple[float, float]]] = {who: [] for who in WAYS}
        for _ in range(TURNS):
            for who, (work, times) in WAYS.items():
                runs[who].append(once(work, sources[-1], out_dir, times))
        medians = {who: statistics.median(rate for rate, _ in ran) for who, ran in runs.items()}
        memory = {who: max(peak for _, peak in ran) for who, ran in runs.items()}
        print("| | files a second: median | lowest | highest | peak, MiB | ours is |\n|---|---:|---:|---:|---:|---:|")
        for who, ran in runs.items():
            rates, ratio = [rate for rate, _ in ran], medians["ours"] / medians[who]
            print(
                f"| {who} | {medians[who]:,.0f} | {min(rates):,.0f} | {max(rates):,.0f} | {memory[who]:.0f} "
                f"| {ratio:.1f} times as fast |"
            )
        print("\n| files | µs a file | peak, MiB | all four formats: µs a file | peak, MiB |")
        print("|---:|---:|---:|---:|---:|")
        for size, source in zip(sizes, sources, strict=True):
            (quick, low), (slow, high) = (once(work, source, out_dir) for work in ("ours", "everything"))
            print(f"| {size:,} | {1e6 / quick:.0f} | {low:.0f} | {1e6 / slow:.0f} | {high:.0f} |", flush=True)
    fair = medians["baseline"] >= LEAST
    return 0 if fair and medians["ours"] / medians["baseline"] >= WANTED and memory["ours"] < MOST_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
