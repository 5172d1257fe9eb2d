"""Processes that write, killed at any moment; and what must be true of the files then.

Started as a module, this is a nursery: one process that has imported everything and forks a worker for each line it
reads, so that a kill costs no start of Python.
"""

import asyncio
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support.downloads import VIDEO, nothing, rendition
from tests.support.fault_server import Act, Faulty
from tests.support.forked import Forked
from tests.support.payloads import douyin_post, envelope
from tests.support.photo_posts import JPEG, as_type, picture, post, save
from tests.support.raw_answers import DOUYIN, TIKTOK, age, answered, other
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.photos.receipt import RECEIPT_NAME, read_receipt
from tikhub_mcp.media.transfer import Limits
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.post import Post
from tikhub_mcp.storage.archive import Archive
from tikhub_mcp.storage.atomic import PART_SUFFIX, STALE_SECONDS, Part, make_folder, sweep
from tikhub_mcp.storage.database import INDEX_NAME
from tikhub_mcp.summary.summarize import CSV_NAME, HISTORY_NAME, JSON_NAME, summarize

TREE = Path(__file__).resolve().parents[2]
TARGETS = 5  # names that the videos of one worker go to, over and over
PICTURES = 35  # of a photo post, every seventh of which moves
WORKERS = ("download", "photos", "write")
LONGEST = 0.3  # seconds that a worker lives
FILM = VIDEO + (2**19).to_bytes(4, "big") + b"free" + bytes(2**19 - 8)  # large enough to be killed in the middle


class Yard:
    """A folder in which workers write, and the server that they download from."""

    def __init__(self, root: Path, server: Faulty) -> None:
        self.root, self.media = root, server.base_url
        self.videos, self.raw, self.reports = root / "videos", root / "raw", root / "reports"
        self.photos = root / "photos"
        server.on("/fast", Act(body=FILM))
        server.on("/slow", Act(body=FILM, drip=len(FILM) // 10, pause=0.01))
        server.on("/picture.jpeg", replace(as_type(JPEG), drip=len(JPEG) // 3, pause=0.01))
        server.on("/clip", Act(body=VIDEO, drip=len(VIDEO) // 5, pause=0.01))
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
        for count, source in zip((40, 80), self.sources, strict=True):
            source.mkdir(exist_ok=True)
            for number in range(count):
                (source / f"{number}.json").write_bytes(answered().body)
        self.summaries = self._summaries()

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.videos, self.photos, self.raw, self.reports

    @property
    def sources(self) -> tuple[Path, Path]:
        return self.root / "few", self.root / "many"

    def check(self) -> tuple[int, list[str]]:
        """How many files under final names there are, and which of them are not what one process wrote whole."""
        answers = {answer.body for _, answer in ANSWERS}
        wanted: dict[Path, Callable[[Path], bool]] = {
            self.videos: lambda path: path.read_bytes() == FILM,
            self.raw: lambda path: path.read_bytes() in answers,
            self.reports: lambda path: path.read_bytes() in self.summaries[path.name],
        }
        files = [path for folder in wanted for path in folder.iterdir() if not path.name.startswith(INDEX_NAME)]
        found = [path for path in files if path.suffix != PART_SUFFIX]
        corrupt = [path.name for path in found if not wanted[path.parent](path)]
        pictures = [path for path in self.photos.glob("*/*") if path.parent.suffix != PART_SUFFIX]
        corrupt += [f"{path.parent.name}/{path.name}" for path in pictures if not is_of_photo_post(path)]
        return len(found) + len(pictures) + 1, corrupt + [INDEX_NAME] * (not self._is_index_whole())

    def _is_index_whole(self) -> bool:
        if not (self.raw / INDEX_NAME).exists():
            return True
        with closing(sqlite3.connect(self.raw / INDEX_NAME)) as index:
            return bool(index.execute("PRAGMA integrity_check").fetchall() == [("ok",)])

    @property
    def parts(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.suffix == PART_SUFFIX]

    def sweep(self) -> None:
        """What the next start does."""
        for folder in self._folders:
            sweep(folder)

    def _summaries(self) -> dict[str, set[bytes]]:
        whole: dict[str, set[bytes]] = {name: set() for name in (CSV_NAME, HISTORY_NAME, JSON_NAME)}
        for source in self.sources:
            made = summarize(source, self.reports)
            for path in made.paths.values():
                whole[path.name].add(path.read_bytes())
        return whole


def is_of_photo_post(path: Path) -> bool:
    """Whether a file in the folder of a photo post is whole, and the receipt right about all that are there."""
    if path.name != RECEIPT_NAME:
        return path.read_bytes() == (VIDEO if path.suffix == ".mp4" else JPEG)
    receipt = read_receipt(path.parent)
    return receipt is not None and all(
        file.check(path.parent) == file for file in receipt.files if (path.parent / file.name).exists()
    )


ANSWERS: list[tuple[Link, Answer]] = [
    (TIKTOK, other("a text")),
    (TIKTOK, other("a longer text " * 50_000)),
    (DOUYIN, answered(envelope(douyin_post(), douyin=True))),
]


class Nursery:
    """Starts workers, and kills them."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    def __enter__(self) -> "Nursery":
        command = [sys.executable, "-m", "tests.support.killed_processes", str(self._yard.root), self._yard.media]
        self._process = Forked(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TREE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    @contextmanager
    def worker(self, what: str) -> Iterator[int]:
        """A worker while it lives; killed at the end, if it has not ended by a fault of its own."""
        pid = int(self._ask(what))
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            ended = self._answer()
        assert int(ended) == signal.SIGKILL, f"the worker ended by itself: {ended}"

    def _ask(self, line: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        line: str = self._process.stdout.readline()
        return line


def kill_many(yard: Yard, kills: int, seed: int, workers: tuple[str, ...] = WORKERS) -> tuple[Counter[str], list[str]]:
    """Kill so many workers, each at a moment of its own; what was counted, and the names of files that are corrupt."""
    chance = random.Random(seed)
    tally, corrupt = Counter({"kills": 0, "checked": 0, "left": 0, "swept": 0}), []
    with Nursery(yard) as nursery:
        for what in itertools.islice(itertools.cycle(workers), kills):
            with nursery.worker(what):
                time.sleep(chance.uniform(0, LONGEST))
            checked, wrong = yard.check()
            tally += Counter(kills=1, checked=checked)
            corrupt += wrong
    left = yard.parts
    for part in left:
        age(part, STALE_SECONDS + 60)
    yard.sweep()
    tally += Counter(left=len(left), swept=len(left) - len(yard.parts))
    return tally, corrupt


def download(root: Path, media: str) -> None:
    """Fetch videos for ever, several at once, from a fast mirror and a slow one."""

    downloader = Downloader(Network(loopback_media=True), Limits())

    async def forever(name: str, mirror: str) -> None:
        film = rendition(media + mirror, size=len(FILM))
        while True:
            await downloader.fetch(film, "tiktok", root / "videos" / name, nothing)

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(TARGETS):
                mirror = "/slow" if number % 2 else "/fast"
                group.create_task(forever(f"tiktok_someone_700000000000000000{number}.mp4", mirror))

    asyncio.run(all_of_them())


def album(media: str) -> Post:
    """A photo post on the server of a yard."""
    return post(
        *(
            picture(f"{media}/picture.jpeg", uri=str(number), clip="" if number % 7 else f"{media}/clip")
            for number in range(1, PICTURES + 1)
        )
    )


def photos(root: Path, media: str) -> None:
    """Save a photo post for ever: in a new folder, or what was removed of one that is there."""
    chance = random.Random(os.getpid())
    while True:
        for folder in (root / "photos").glob("tiktok_*"):
            for path in chance.sample(there := sorted(folder.iterdir()), k=len(there) // 2):
                path.unlink()
            if chance.random() < 0.5:
                shutil.rmtree(folder)
        save(root / "photos", album(media))


def write(root: Path, _: str) -> None:
    """Keep answers and summarize them, for ever."""
    for number in itertools.count():
        archive = Archive(root / "raw", 3600)
        for link, answer in ANSWERS:
            archive.store(link, answer, save=True)
        for path in (root / "raw").glob("raw_*.json"):
            path.unlink()  # so that it is written once more
        summarize(root / ("few", "many")[number % 2], root / "reports")


def hold(root: Path, _: str) -> None:
    """Be in the middle of a file, for ever."""
    make_folder(root / "videos")
    with Part(root / "videos" / "held.mp4") as part:
        part.file.write(VIDEO[:1000])
        time.sleep(600)


def main() -> None:
    """Fork a worker for each line; it says its number, and this process what ended it."""
    root, media = Path(sys.argv[1]), sys.argv[2]
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.alarm(60)  # should nobody come to kill it
            os.write(1, f"{os.getpid()}\n".encode())  # alive
            try:
                {"download": download, "photos": photos, "write": write, "hold": hold}[line.strip()](root, media)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        os.write(1, f"{os.WTERMSIG(status)}\n".encode())


if __name__ == "__main__":
    main()
