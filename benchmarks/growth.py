"""How time and memory grow with the size of the input: 1, 10, 100 and 1,000 times, in one chart.

    python -m benchmarks.growth PICTURE.png

The sizes are the files of a summary, the answers in the raw folder of a call that is answered from disk, the bytes of a
download, and the links of a batch. A rising line means that the cost grows faster than the input.
"""

import argparse
import functools
import http.server
import json
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import vl_convert

from benchmarks import batches, overhead, summaries
from benchmarks.answers import fill
from benchmarks.throughput import FIRST, MB, api, film
from tikhub_mcp.sandbox import Sandbox, link

TIMES = (1, 10, 100, 1000)
FILES, ANSWERS, BYTES, LINKS = 20, 200, MB // 5, 2  # the smallest size of each
GROWS = 3.0  # the allowed ratio of the time per piece, of 1,000 times the size to 100 times

Point = dict[str, Any]


def point(what: str, times: int, ms: float, peak: float) -> Point:
    """Print one point of the chart, and return it; `ms` is per piece of the input, `peak` is in MiB."""
    print(f"| {what} | {times:,} | {ms:.3f} | {peak:.0f} |", flush=True)
    return {"what": what, "times": times, "ms": ms, "MiB": peak}


def peak_of(process: int) -> float:
    """The peak memory of a process so far, in MiB (Linux)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def of_summaries(folder: Path, times: int) -> Point:
    """A summary: time per file."""
    source, out = folder / str(times), folder / "out"
    fill(source, FILES * times)
    out.mkdir(exist_ok=True)
    rates, peaks = zip(*(summaries.once("ours", source, out) for _ in range(3)), strict=True)
    found = point("summary, a file", times, 1000 / statistics.median(rates), max(peaks))
    shutil.rmtree(source)
    return found


def of_calls(folder: Path, times: int) -> Point:
    """A call that is answered from disk, with `ANSWERS * times` answers in the raw folder."""
    overhead.fill(folder / "raw", ANSWERS * times)
    with Sandbox() as sandbox:
        server = overhead.Server(sandbox.base_url, folder)
        ask = functools.partial(server.ask, "tools/call", name="download_video", arguments={"url": link("tiktok")})
        ask()
        took = statistics.median(overhead.timed(ask, b'"api_calls":0'))
        found = point("a call from disk", times, took, peak_of(server.process.pid))
        server.end()
    return found


def of_downloads(folder: Path, times: int) -> Point:
    """A download over plain HTTP from this machine: time per 200 kB."""
    (folder / "media").mkdir(exist_ok=True)
    size = BYTES * times
    (folder / "media" / "0-0.mp4").write_bytes(film(size))
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder / "media"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as origin:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        with api(f"http://127.0.0.1:{origin.server_port}", size) as base_url:
            server = overhead.Server(base_url, folder / "out")
            arguments = {"url": f"https://www.tiktok.com/@a/video/{FIRST}", "save_raw": False, "refresh": True}
            times_taken = []
            for _ in range(3):
                shutil.rmtree(folder / "out" / "videos", ignore_errors=True)
                times_taken += overhead.timed(
                    functools.partial(server.ask, "tools/call", name="download_video", arguments=arguments),
                    b'"status":"ok"',
                    turns=1,
                )
            peak = peak_of(server.process.pid)
            server.end()
        origin.shutdown()
    return point("a download, 200 kB", times, statistics.median(times_taken) / times, peak)


def of_batches(folder: Path, times: int) -> Point:
    """A batch through the command line, for each link."""
    with Sandbox(latency=batches.API, media_latency=batches.MEDIA) as sandbox:
        took, peak = batches.run(sandbox.base_url, folder, LINKS * times)
    return point("a batch, a link", times, 1000 * took / (LINKS * times), peak)


def draw(points: list[Point], picture: Path) -> None:
    """Two charts beside each other, both axes in powers of ten."""
    scale = {"type": "log"}
    charts = [
        {
            "mark": {"type": "line", "point": True},
            "width": 360,
            "height": 300,
            "encoding": {
                "x": {"field": "times", "type": "quantitative", "scale": scale, "title": "times the smallest size"},
                "y": {"field": field, "type": "quantitative", "scale": scale, "title": title},
                "color": {"field": "what", "type": "nominal", "title": None},
            },
        }
        for field, title in (("ms", "ms for each piece of the input"), ("MiB", "peak of memory, MiB"))
    ]
    drawing = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": {"values": points}}
    picture.write_bytes(vl_convert.vegalite_to_png(json.dumps(drawing | {"hconcat": charts}), scale=1))


def main() -> int:
    """Run the measurements, print the table, and draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    picture: Path = parser.parse_args().picture
    points: list[Point] = []
    print("| what | times | ms for each | peak, MiB |\n|---|---:|---:|---:|")
    for measure in (of_summaries, of_calls, of_downloads, of_batches):
        for times in TIMES:
            with tempfile.TemporaryDirectory(prefix="growth-") as name:
                points.append(measure(Path(name), times))
    draw(points, picture)
    ms = {(point["what"], point["times"]): point["ms"] for point in points}
    return 0 if all(ms[what, 1000] <= GROWS * ms[what, 100] for what, _ in ms) else 1


if __name__ == "__main__":
    sys.exit(main())
