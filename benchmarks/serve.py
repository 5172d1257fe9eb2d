"""Fifty clients of the HTTP server, with twenty calls each at once: errors, memory, and the time of a ping meanwhile.

Then, with `--minutes`, mixed use: downloads, batches, summaries, links, cancelled calls and wrong tokens. The server,
the stand-in for TikHub and whoever measures the pings are processes of their own.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from httpx2 import AsyncClient, HTTPError, Limits
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import good_links, link
from tikhub_mcp.serve.tokens import Tokens

CLIENTS, CALLS, PEOPLE = 50, 20, 10
PYTHON = [sys.executable, "-m"]


class Process:
    """A process of `tikhub-mcp serve`, and what it takes."""

    def __init__(self, folder: Path, base_url: str) -> None:
        root = folder / "root"
        self.tokens = {f"person-{number}": Tokens(root).add(f"person-{number}") for number in range(PEOPLE)}
        self.log = folder / "log"
        environment = {
            "HOME": str(folder),
            "PATH": os.defpath,
            "TIKHUB_BASE_URL": base_url,
            "TIKHUB_API_KEY": "a-key-of-the-benchmark",
            "TIKHUB_OUTPUT_DIR": str(root),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*PYTHON, "tikhub_mcp", "serve", "--port", "0"], env=environment, stderr=log
            )
        while "listens at" not in self.log.read_text():
            time.sleep(0.1)
        self.url = self.log.read_text().split("listens at ")[1].split(". ")[0]

    def status(self, name: str) -> int:
        """A number of /proc/PID/status; sizes are in kB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def processor_seconds(self) -> float:
        times = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    @contextlib.asynccontextmanager
    async def client(self, number: int) -> AsyncIterator[tuple[Client, AsyncClient]]:
        """The client with a number; half of them speak the older protocol."""
        async with client_of(
            self.url, self.tokens[f"person-{number % PEOPLE}"], "auto" if number % 2 else "legacy"
        ) as (
            client,
            http,
        ):
            yield client, http


@contextlib.asynccontextmanager
async def client_of(url: str, token: str, mode: Literal["auto", "legacy"]) -> AsyncIterator[tuple[Client, AsyncClient]]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        AsyncClient(headers=headers, timeout=300, limits=Limits(max_connections=None)) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client, http


async def ping(url: str, token: str) -> None:
    """Measure pings, one after another, until standard input ends; print them, in milliseconds."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    took: list[float] = []
    async with client_of(url, token, "legacy") as (client, _):
        while not ended.done():
            began = time.perf_counter()
            await client.send_ping()
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)
    print(json.dumps(took))


async def ask(client: Client, tool: str, **arguments: Json) -> Json:
    """Call a tool, again while something is pending, as agents are told to."""
    while True:
        reply = (await client.call_tool(tool, arguments)).structured_content
        if reply is None or reply["status"] not in ("pending", "partial"):
            return reply


def failure(reply: Json) -> str:
    """What is wrong with a reply; "" if nothing is."""
    good = reply is not None and reply.get("error") is None and reply["status"] in ("ok", "complete")
    return "" if good else str(reply and (reply.get("error") or reply["status"]))[:200]


async def crowd(process: Process) -> None:
    links, failures, took = good_links(200), Counter[str](), list[float]()

    async def one(client: Client, url: str) -> None:
        began = time.perf_counter()
        try:
            told = failure(await ask(client, "download_video", url=url))
        except (HTTPError, MCPError) as error:
            told = type(error).__name__
        failures.update([told] if told else [])
        took.append(time.perf_counter() - began)

    async def work(number: int) -> None:
        async with process.client(number) as (client, _):
            await asyncio.gather(*(one(client, links[(number + call) % len(links)]) for call in range(CALLS)))

    before, used = process.status("VmRSS"), process.processor_seconds()
    command = [*PYTHON, "benchmarks.serve", "--ping", process.url, process.tokens["person-0"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pings:  # noqa: ASYNC220 - once
        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(CLIENTS)))
        seconds = time.perf_counter() - began
        waits = sorted(json.loads((await asyncio.to_thread(pings.communicate))[0]))
    load = os.getloadavg()[0]
    print(
        f"{CLIENTS} clients of {PEOPLE} people x {CALLS} calls at once: {seconds:.1f} s; load of the machine {load:.1f}"
    )
    print(f"errors: {sum(failures.values())} {dict(failures) or ''}")
    print(f"a call: median {statistics.median(took):.1f} s, longest {max(took):.1f} s")
    print(f"a ping meanwhile, of {len(waits)}: median {statistics.median(waits):.0f} ms, ", end="")
    print(f"95th percentile {waits[int(len(waits) * 0.95)]:.0f} ms, longest {waits[-1]:.0f} ms")
    print(f"memory: {before / 1024:.0f} MiB before, {process.status('VmHWM') / 1024:.0f} MiB at most; ", end="")
    print(f"{process.processor_seconds() - used:.1f} s of processor time", flush=True)


class Mixed:
    """What people do with the server, at random."""

    def __init__(self, process: Process, minutes: float) -> None:
        self.process, self.minutes = process, minutes
        self.until = time.monotonic() + minutes * 60
        self.links, self.done, self.failures = good_links(300), Counter[str](), Counter[str]()

    async def one(self, client: Client, _: AsyncClient, chance: random.Random) -> Json:
        return await ask(client, "download_video", url=chance.choice(self.links))

    async def batch(self, client: Client, _: AsyncClient, chance: random.Random) -> Json:
        return await ask(client, "batch_download", urls=chance.sample(self.links, 15))

    async def summary(self, client: Client, _: AsyncClient, __: random.Random) -> Json:
        await ask(client, "download_video", url=link("tiktok"), metrics_only=True)
        return await ask(client, "summarize_raw")

    async def opened(self, client: Client, http: AsyncClient, chance: random.Random) -> Json:
        reply = await self.one(client, http, chance)
        if not failure(reply) and len((await http.get(reply["file"]["url"])).content) != reply["file"]["size_bytes"]:
            return {"status": "the link leads to something else"}
        return reply

    async def cancelled(self, client: Client, _: AsyncClient, chance: random.Random) -> Json:
        arguments: Json = {"url": chance.choice(self.links), "refresh": True}
        call = asyncio.create_task(client.call_tool("download_video", arguments))
        await asyncio.sleep(chance.random() / 5)
        call.cancel()
        await asyncio.wait([call])
        return {"status": "ok"}

    async def wrong(self, _: Client, http: AsyncClient, __: random.Random) -> Json:
        answer = await http.post(self.process.url, json={}, headers={"Authorization": "Bearer wrong"})
        return {"status": "ok" if answer.status_code == 401 else answer.status_code}

    async def session(self, number: int, chance: random.Random) -> None:
        acts = [self.one, self.one, self.batch, self.summary, self.opened, self.cancelled, self.wrong]
        async with self.process.client(number) as (client, http):
            for _ in range(20):
                if time.monotonic() > self.until:
                    break
                act = chance.choice(acts)
                self.done[act.__name__] += 1
                if told := failure(await act(client, http, chance)):
                    self.failures[f"{act.__name__}: {told}"] += 1
                await asyncio.sleep(chance.random())

    async def work(self, number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < self.until:
            try:
                await self.session(number, chance)
            except* (HTTPError, MCPError) as errors:
                self.failures[repr(errors.exceptions[0])[:200]] += 1

    async def watch(self) -> None:
        while (left := self.until - time.monotonic()) > 0:
            self.print(f"{left:5.0f} s left")
            await asyncio.sleep(min(left, 60.0))

    def print(self, when: str) -> None:
        resident, threads = self.process.status("VmRSS") / 1024, self.process.status("Threads")
        print(f"{when}: {resident:.0f} MiB, {self.process.descriptors()} descriptors, {threads} threads", flush=True)

    async def run(self) -> None:
        await asyncio.gather(self.watch(), *(self.work(number) for number in range(12)))
        print(f"{self.minutes:g} minutes: {dict(self.done)}; failures: {dict(self.failures)}")
        await asyncio.sleep(6)  # kept connections end
        self.print("afterwards")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=0.0, help="of mixed use")
    parser.add_argument("--ping", nargs=2, metavar=("URL", "TOKEN"), help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.ping:
        return asyncio.run(ping(*given.ping))
    sandbox = subprocess.Popen([*PYTHON, "tikhub_mcp", "sandbox", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert sandbox.stdout
    base_url = (
        next(line for line in sandbox.stdout if "TIKHUB_BASE_URL=" in line).split("TIKHUB_BASE_URL=")[1].split()[0]
    )
    with tempfile.TemporaryDirectory() as folder:
        process = Process(Path(folder), base_url)
        try:
            asyncio.run(crowd(process))
            if given.minutes:
                asyncio.run(Mixed(process, given.minutes).run())
            before, found, after = process.log.read_text().partition("Traceback")
            assert not found, f"{before[-500:]}{found}{after[:5000]}"
        finally:
            process.process.terminate()
            began = time.perf_counter()
            print(f"ended with {process.process.wait()} after {time.perf_counter() - began:.1f} s")
            sandbox.terminate()
    return None


if __name__ == "__main__":
    main()
