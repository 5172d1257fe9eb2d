"""Draw docs/report.png, the picture of the report page in README.md, from posts of the sandbox.

    .venv/bin/python docs/make_picture.py

Needs the extra `dev`, and Chromium on PATH. Run it again after a change to the page.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tikhub_mcp.sandbox import Sandbox, good_links, link

PICTURE = Path(__file__).with_name("report.png")
MAX_BYTES = 150_000
SIZE = (1200, 1560)  # of the window; down to the chart of growth
DAYS = 8
CAPTIONS = (
    "Sunrise from the night train",
    "Three knots every sailor knows",
    "Our bakery at four in the morning",
    "A paper boat crosses the harbour",
    "How to fold a kite that lands softly",
    "Ten minutes in a rain forest",
    "Repairing a clock from 1911",
    "The last tram of the day",
    "A violin maker at work",
    "Lighthouse in a snow storm",
    "Two cats, one cardboard box",
    "Street noodles, start to finish",
)
AUTHORS = ("Paper Kite Club", "Night Train", "Harbour Bakery", "Clockmaker")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --virtual-time-budget=6000"


def main() -> None:
    """Fetch posts, make the page, and draw it."""
    found = filter(None, map(shutil.which, BROWSERS))
    if not (browser := next(found, None)):
        sys.exit("Chromium is missing.")
    with tempfile.TemporaryDirectory(prefix="tikhub-mcp-") as temporary:
        folder, drawn = Path(temporary), Path(temporary) / "page.png"
        page = make_page(folder)
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        run([browser, *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", size, f"--screenshot={drawn}", page])
        colours = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        colours.save(PICTURE, optimize=True)
    if (size_bytes := PICTURE.stat().st_size) > MAX_BYTES:
        sys.exit(f"{PICTURE} has {size_bytes:,} bytes; at most {MAX_BYTES:,} are allowed.")


def make_page(folder: Path) -> str:
    """Fetch the numbers of some posts, give them a history, and return the address of the page about them."""
    text, raw = folder / "links.txt", folder / "out" / "raw"
    text.write_text("\n".join([*good_links(len(CAPTIONS) - 2), link("tiktok"), link("photos")]), encoding="utf-8")
    with Sandbox() as sandbox:
        settings = {"TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(folder / "out")}
        ours = {**os.environ, **settings, "TIKHUB_API_KEY": "any-key-will-do", "LC_ALL": "C.UTF-8"}
        tikhub_mcp(ours, "batch", text, "--metrics-only")
    for number, (path, caption) in enumerate(zip(sorted(raw.glob("raw_*.json")), CAPTIONS, strict=True)):
        add_history(path, caption, AUTHORS[number % len(AUTHORS)])
    tikhub_mcp(ours, "summarize", "--formats", "html", "-o", folder)
    return (folder / "tikhub_videos_report.html").as_uri()


def add_history(path: Path, caption: str, author: str) -> None:
    """Give a saved answer a caption and an author, and write the answers that the days before it would have had.

    The sandbox's texts are made to break things, or need fonts that are not everywhere; its numbers stay as they are.
    """
    answer = json.loads(path.read_text(encoding="utf-8"))
    data = answer["data"]
    post = data.get("aweme_detail") or data["aweme_details"][0]
    post["author"]["nickname"] = author
    post["desc"], counts, now = caption, dict(post["statistics"]), answer["time_stamp"]
    post.get("image_post_info", {})["title"] = ""
    pace = 0.03 + 0.08 * (len(caption) % 5) / 5  # what a post gains in a day
    for day in range(DAYS):
        numbers = {name: int(value * (1 - pace) ** day) for name, value in counts.items() if isinstance(value, int)}
        post["statistics"] = counts | numbers
        answer["time_stamp"] = now - day * 24 * 3600
        path.with_stem(f"{path.stem}_{day}").write_text(json.dumps(answer), encoding="utf-8")
    path.unlink()


def tikhub_mcp(environment: Mapping[str, str], *arguments: str | Path) -> None:
    """Run a command of the command line."""
    run([sys.executable, "-I", "-m", "tikhub_mcp", *map(str, arguments)], environment)


def run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a program without its output."""
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)  # noqa: S603 - our own


if __name__ == "__main__":
    main()
