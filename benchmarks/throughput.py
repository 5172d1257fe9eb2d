"""Large files over TLS 1.3 from a local nginx to disk: the server, with all its checks, compared with other tools.

    python -m benchmarks.throughput [TURNS]

Needs nginx, openssl and curl; aria2c and yt-dlp are measured if they are on PATH. The server is called over stdio, and
its CPU time is that of the whole process. The times of the other tools include sha256sum and sync, where they run.
"""

import argparse
import http.server
import json
import os
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.origin import MEDIA
from benchmarks.overhead import Server
from tests.support.payloads import address, envelope, tiktok_post, video

MB = 10**6
SHAPES = {"one of 200 MB": (1, 200 * MB), "ten of 20 MB": (10, 20 * MB)}
WANTED_SPEED, WANTED_CPU = 0.9, 1.5  # relative to curl with sha256sum and sync
LONGEST_BLOCK = 50.0  # ms
FIRST = 7_300_000_000_000_000_000
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; types {{ video/mp4 mp4; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl; root {folder}/media;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
  }}
}}
"""


def film(size: int) -> bytes:
    """A video file of `size` bytes: a real one, and a `free` box of random bytes."""
    real = (MEDIA / "h264_large.mp4").read_bytes()
    return real + (size - len(real)).to_bytes(4, "big") + b"free" + os.urandom(size - len(real) - 8)


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """Serve the files in `media` below this folder with nginx; yields the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    (folder / "media").mkdir()
    for shape, (files, size) in enumerate(SHAPES.values()):
        for number in range(files):
            (folder / "media" / f"{shape}-{number}.mp4").write_bytes(film(size))
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(made, check=True, capture_output=True)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port), encoding="utf-8")
    with subprocess.Popen(["nginx", "-p", str(folder), "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL) as run:
        for _ in range(100):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
        run.terminate()


@contextmanager
def api(media: str, size_of_all: int = 0) -> Iterator[str]:
    """A stand-in for TikHub whose posts link to files at `media`; yields its base URL."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.partition(str(FIRST)[:-2])[2][:2])
            shape, file = divmod(number, 10)
            size = size_of_all or list(SHAPES.values())[shape][1]
            urls = [f"{media}/{shape}-{file}.mp4"]
            play = address(url_list=urls, data_size=size, file_hash="")
            post = tiktok_post(aweme_id=str(FIRST + number), video=video(play_addr=play, bit_rate=[]))
            body = json.dumps(envelope(post, request_id=f"{time.time_ns():08x}")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


WATCHED = """
import asyncio, os, time
from tikhub_mcp.cli.main import main
run, longest = asyncio.run, 0.0
async def watch():
    global longest
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.002)
        if (late := time.perf_counter() - begun - 0.002) > longest:
            longest = late
            with open(os.environ["LONGEST"], "w") as file:
                file.write(str(1000 * late))
async def both(serving):
    task = asyncio.create_task(watch())
    await serving
asyncio.run = lambda serving: run(both(serving))
main([])
"""


@dataclass
class Found:
    """GB per second, and CPU seconds per GB, of each turn."""

    speed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, size: int, seconds: float, cpu: float) -> None:
        self.speed.append(size / 1e9 / seconds)
        self.cpu.append(cpu / (size / 1e9))


def commands(port: int, shape: int, files: int, out: str) -> dict[str, str]:
    """The shell commands of the other tools, by their names in the table."""
    urls = [f"https://127.0.0.1:{port}/{shape}-{number}.mp4" for number in range(files)]
    curl = "curl -sS --cacert $CERT " + ("-Z " if files > 1 else "")
    curl += " ".join(f"-o {out}/{number}.mp4 {url}" for number, url in enumerate(urls))
    after = f"&& sha256sum {out}/*.mp4 >/dev/null && sync {out}/*.mp4"
    found = {"curl, sha256sum, sync": f"{curl} {after}", "curl alone": curl}
    if shutil.which("aria2c"):
        aria = f"aria2c -q --ca-certificate $CERT --file-allocation=none -j10 -x1 -d {out} -Z {' '.join(urls)}"
        found["aria2c, sha256sum, sync"] = f"{aria} {after}"
    if shutil.which("yt-dlp"):
        ytdlp = f"yt-dlp -q --no-check-certificates -o '{out}/%(id)s.mp4' {' '.join(urls)}"
        found["yt-dlp, sha256sum, sync"] = f"{ytdlp} {after}"
    return found


def run(command: str, certificate: Path) -> tuple[float, float]:
    """Run a shell command; its seconds, and the CPU seconds of it and its children."""
    begun = time.perf_counter()
    process = subprocess.Popen(["sh", "-c", command], env=os.environ | {"CERT": str(certificate)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, shlex.split(command)[0]
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def cpu_of(process: int) -> float:
    """The CPU seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(server: Server, shape: int, files: int) -> tuple[float, float]:
    """Call batch_download for these files; the seconds, and the CPU seconds of the server."""
    urls = [f"https://www.tiktok.com/@a/video/{FIRST + 10 * shape + number}" for number in range(files)]
    cpu, begun = cpu_of(server.process.pid), time.perf_counter()
    reply = server.ask("tools/call", name="batch_download", arguments={"urls": urls, "save_raw": False})
    took = time.perf_counter() - begun
    assert b'"succeeded":%d,' % files in reply, reply
    return took, cpu_of(server.process.pid) - cpu


def in_turn(folder: Path, port: int, base_url: str, turns: int, shape: int) -> dict[str, Found]:
    """Run the server and the other tools alternately, each time into an empty folder."""
    files, size = list(SHAPES.values())[shape]
    others = commands(port, shape, files, str(folder / "others"))
    found = {who: Found() for who in ("tikhub-mcp", *others)}
    os.environ["SSL_CERT_FILE"] = str(folder / "cert.pem")
    server = Server(base_url, folder / "ours")
    for _ in range(turns):
        found["tikhub-mcp"].add(files * size, *ask(server, shape, files))
        shutil.rmtree(folder / "ours" / "videos")
        for who, command in others.items():
            (folder / "others").mkdir()
            found[who].add(files * size, *run(command, folder / "cert.pem"))
            shutil.rmtree(folder / "others")
    server.end()
    return found


def longest_block(folder: Path, base_url: str, turns: int, shape: int) -> float:
    """The longest blocking of the server's event loop in milliseconds, as seen by a timer of 2 ms."""
    os.environ["LONGEST"] = str(folder / "longest")
    server = Server(base_url, folder / "watched", [sys.executable, "-c", WATCHED])
    for _ in range(turns):
        ask(server, shape, list(SHAPES.values())[shape][0])
        shutil.rmtree(folder / "watched" / "videos")
    server.end()
    return float((folder / "longest").read_text(encoding="utf-8"))


def main() -> int:
    """Run the measurements, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=7)
    turns: int = parser.parse_args().turns
    print(f"Python {platform.python_version()}, httpx {version('httpx')}, {turns} turns\n")
    good, median = True, statistics.median
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="throughput-")))
        port = stack.enter_context(nginx(folder))
        base_url = stack.enter_context(api(f"https://127.0.0.1:{port}"))
        for shape, what in enumerate(SHAPES):
            found = in_turn(folder, port, base_url, turns, shape)
            print(f"| {what} | GB/s: median | lowest | highest | CPU s per GB |\n|---|---:|---:|---:|---:|")
            for who, one in found.items():
                speeds = f"{median(one.speed):.2f} | {min(one.speed):.2f} | {max(one.speed):.2f}"
                print(f"| {who} | {speeds} | {median(one.cpu):.1f} |")
            ours, curl = found["tikhub-mcp"], found["curl, sha256sum, sync"]
            speed, cpu = median(ours.speed) / median(curl.speed), median(ours.cpu) / median(curl.cpu)
            blocked = longest_block(folder, base_url, turns, shape)
            print(
                f"\nRelative to curl with sha256sum and sync: {speed:.2f} of the speed, {cpu:.2f} times the CPU time."
            )
            print(f"Longest blocking of the event loop: {blocked:.0f} ms.\n", flush=True)
            good &= speed >= WANTED_SPEED and cpu <= WANTED_CPU and blocked <= LONGEST_BLOCK
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
