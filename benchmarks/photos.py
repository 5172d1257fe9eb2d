"""The time for a photo post of 35 pictures over stdio, each of which takes 100 ms, and the server's memory.

    python -m benchmarks.photos [TURNS]

The ideal is ten transfers at once without any other work: four rounds of 100 ms. For comparison, a client of few lines
fetches the same pictures on raw sockets and keeps nothing: what it takes beyond the ideal is the time of the origin
server and the machine. Both run in turn. The API answers at once, and the first post is not counted: Python imports
modules for it.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.origin import Origin, late, serve
from benchmarks.overhead import Server
from tests.support.make_pictures import PICTURES
from tests.support.payloads import envelope, photo_post
from tikhub_mcp.api.client import PATH

COUNT = 35
LATENCY = 0.1  # seconds until a picture begins to come
AT_ONCE = 10
IDEAL = LATENCY * -(-COUNT // AT_ONCE)
MOST = 1.2  # times the ideal
MOST_MIB = 150


def peak_mib(server: Server) -> float:
    """The most memory that the server has taken, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def offer(origin: Origin) -> tuple[str, list[str]]:
    """Serve a photo post and the answer about it; return the link to the post, and those to its pictures."""
    picture = late(serve(PICTURES["JPEG baseline"](), kind="image/jpeg"), LATENCY)
    urls = [origin.on(f"/{number}.jpeg", picture) for number in range(COUNT)]
    post = photo_post(image_post_info={"images": [{"display_image": {"url_list": [url]}} for url in urls]})
    answer = json.dumps(envelope(post, time_stamp=int(time.time()))).encode()
    origin.on(PATH.format(platform="tiktok"), serve(answer, kind="application/json"))
    return post["share_url"], urls


async def fetch_bare(urls: Iterable[str]) -> None:
    """Fetch the pictures on raw sockets, AT_ONCE at once."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(url: str) -> None:
        parts = urlsplit(url)
        async with turns:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    await asyncio.gather(*map(one, urls))


def row(what: str, times: Sequence[float], memory: str) -> str:
    """A row of the table."""
    median = statistics.median(times)
    return f"| {what} | {median:.2f} | {median / IDEAL:.2f} | {min(times):.2f} | {max(times):.2f} | {memory} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=9)
    turns = parser.parse_args().turns
    ours, bare = list[float](), list[float]()
    with Origin() as origin, tempfile.TemporaryDirectory() as folder:
        link, urls = offer(origin)
        server = Server(origin.base_url, Path(folder))
        for turn in range(turns + 1):
            begun = time.perf_counter()
            arguments = {"url": link, "output_dir": str(Path(folder) / str(turn))}
            reply = json.loads(server.ask("tools/call", name="download_video", arguments=arguments))
            ours.append(time.perf_counter() - begun)
            assert reply["result"]["structuredContent"]["photos"]["complete"], reply
            begun = time.perf_counter()
            asyncio.run(fetch_bare(urls))
            bare.append(time.perf_counter() - begun)
        memory = peak_mib(server)
        server.end()
    print(f"| {COUNT} pictures, ideal {IDEAL:.1f} s | s: median | times the ideal | lowest | highest | peak, MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    print(row("tikhub-mcp", ours[1:], f"{memory:.0f}"))
    print(row("raw sockets, nothing kept", bare[1:], "-"))
    return int(statistics.median(ours[1:]) > MOST * IDEAL or memory > MOST_MIB)


if __name__ == "__main__":
    sys.exit(main())
