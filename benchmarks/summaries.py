"""Summaries compared with a straightforward script: files per second, peak memory, and their growth.

    python -m benchmarks.summaries [FILES]

Both read the same folder alternately, each time in a new process; ratios are those of the medians. The time excludes
the start of Python and the imports; the memory is the peak of the process (Linux). Two variants of the script are
measured as well: one reads files as bytes, which is faster than text, and one runs a second time in the same process,
when the heap has grown.
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
WAYS = {  # the function, and which run in the same process is measured
    "baseline": ("baseline", 1),
    "the same, read as bytes": ("from_bytes", 1),
    "baseline, the second time": ("baseline", 2),
    "ours": ("ours", 1),
    "ours, the second time": ("ours", 2),
}
WANTED = 5.0  # the ratio to the baseline
LEAST = 1000  # files per second; below it the machine is too busy for a comparison
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
    """The straightforward script: load every file, collect all rows, then write them."""

    def load(path: Path) -> Json:
        with path.open(encoding="utf-8") as file:
            return json.load(file)

    return script(source, out_dir, load)


def from_bytes(source: Path, out_dir: Path) -> int:
    """The same script, but it reads the files as bytes."""
    return script(source, out_dir, lambda path: json.loads(path.read_bytes()))


def script(source: Path, out_dir: Path, load: Callable[[Path], Json]) -> int:
    """The script, with the function that loads a file; the number of rows."""
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
    """The row of one parsed answer."""
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
    """`summarize` with the default formats; the number of rows."""
    return summarize(source, out_dir).found.rows


def everything(source: Path, out_dir: Path) -> int:
    """`summarize` with all four formats; the number of rows."""
    formats: tuple[Format, ...] = ("csv", "json", "xlsx", "html")
    return summarize(source, out_dir, formats).found.rows


def once(work: str, source: Path, out_dir: Path, times: int = 1) -> tuple[float, float]:
    """Run the work `times` times in a new process; files per second of the last run, and peak memory in MiB."""
    command = [sys.executable, "-c", ONCE, work, str(source), str(out_dir), str(times)]
    rate, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(rate), int(peak) / 1024


def main() -> int:
    """Run the measurements, and print the tables."""
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
        os.sync()  # so that the disk is idle during the measurements
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
