"""Every call to the system fails once, with each error it may give: whole or not at all, no lie, no loss."""

import asyncio
import csv
import errno
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.downloads import MEDIA, PAGE, SIZE, VIDEO, fetch, rendition
from tests.support.failing_disk import CODES, Step, Watch, parts
from tests.support.fault_server import Act, Faulty
from tests.support.raw_answers import NAME, TIKTOK, age, answered
from tikhub_mcp.errors import DiskFull, InvalidInput, NotWritable, TikHubMCPError
from tikhub_mcp.jobs.model import Call, Options, Outcome
from tikhub_mcp.jobs.scheduler import LOCK_NAME, Jobs
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.sandbox import Sandbox, good_links
from tikhub_mcp.settings.environment import Settings
from tikhub_mcp.storage import atomic
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.summary import summarize

pytestmark = pytest.mark.slow

ROOMLESS = ("access", "scandir", "readdir")  # where a full disk makes no difference, and none is made of it
OLD = b"what was there"
EVERY = int(os.environ.get("TIKHUB_TEST_TORTURE_EVERY", "3"))  # this many calls apart; 1 takes three times as long
LINKS = iter(good_links(100_000))
each_code = pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode[code])
two_codes = pytest.mark.parametrize("code", CODES[:3:2], ids=lambda code: errno.errorcode[code])  # for what takes long
# Each error, in turn where nothing is there yet and where a file is: what is there makes no difference to what fails.
each_code_and_before = pytest.mark.parametrize(
    ("code", "before"),
    [(code, OLD if turn % 2 else None) for turn, code in enumerate(CODES)],
    ids=[f"{errno.errorcode[code]}, {'a file' if turn % 2 else 'nothing'} there" for turn, code in enumerate(CODES)],
)


@pytest.fixture(scope="module")
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        running.on("/page", Act(body=PAGE[:SIZE]))
        running.on("/good", Act(body=VIDEO))
        yield running


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def failing(folder: Path, code: int) -> Iterator[Watch]:
    """A watch for every third call, on a folder of its own, in which that call fails; the last one meets none."""
    first = 1 + CODES.index(code) % EVERY  # so that each call is there with some error
    for number in itertools.count(first, EVERY):
        place = folder / str(number)
        place.mkdir()
        atomic._swept.clear()  # as in a new process
        watch = Watch(place, number, code)
        yield watch
        check_remains(watch)
        shutil.rmtree(place)
        if watch.failed is None:
            assert number > 12, "most calls were not seen"
            return


def check_remains(watch: Watch) -> None:
    """Nothing is open, and no part is there but one whose removal failed, which the next start removes."""
    # The lock file stays open for as long as the process lives.
    assert [path for path in watch.opened.values() if path.name != LOCK_NAME] == []
    left = parts(watch.folder)
    assert [part for part in left if watch.failed != Step("unlink", part)] == []
    for part in left:
        atomic._swept.clear()
        atomic.make_folder(part.parent)
        assert part.exists(), "it may be another process's"
        age(part, atomic.STALE_SECONDS + 60)
        atomic._swept.clear()
        atomic.make_folder(part.parent)
        assert not part.exists()


def attempt(watch: Watch, work: Callable[[], object]) -> object:
    """What came of it: its result, or an error that is foreseen."""
    with watch:
        try:
            return work()
        except TikHubMCPError as error:
            return error


def foreseen(watch: Watch) -> type[TikHubMCPError]:
    """The error that a failure comes out as."""
    assert watch.failed
    return DiskFull if watch.code == errno.ENOSPC and watch.failed.call not in ROOMLESS else NotWritable


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# Videos


@each_code_and_before
def test_whichever_call_fails_once_a_video_is_whole_or_as_before(
    server: Faulty, tmp_path: Path, code: int, before: bytes | None
) -> None:
    file = rendition(server.base_url + "/page", server.base_url + "/good")
    for watch in failing(tmp_path, code):
        target = watch.folder / "tiktok_someone_7000000000000000001.mp4"
        if before is not None:
            target.write_bytes(before)
        result = attempt(watch, partial(fetch, file, target))
        if isinstance(result, Saved):
            assert content(target) == VIDEO
        else:
            assert type(result) is foreseen(watch)
            assert content(target) in (before, VIDEO)
        assert watch.failed or isinstance(result, Saved)


# Raw answers


@each_code_and_before
def test_whichever_call_fails_once_a_paid_answer_is_on_disk_or_in_memory(
    tmp_path: Path, code: int, before: bytes | None
) -> None:
    answer = answered()
    for watch in failing(tmp_path, code):
        raw = watch.folder / "raw"
        archive = Archive(raw, 3600)
        if before is not None:
            raw.mkdir()
            (raw / NAME).write_bytes(before)

        paid: list[bool] = []

        def keep(archive: Archive = archive, paid: list[bool] = paid) -> StoredAnswer:
            archive.check_room()
            paid.append(True)
            return archive.store(TIKTOK, answer, save=True)

        result = attempt(watch, keep)
        assert content(raw / NAME) in (before, answer.body)
        if isinstance(result, StoredAnswer):
            assert result.path is not None
            assert content(result.path) == answer.body
        else:
            assert type(result) is foreseen(watch)
        if paid:
            again = archive.find(TIKTOK, 0, save=True)
            assert again is not None
            assert again.path is not None
            assert content(again.path) == answer.body


# Summaries


@each_code_and_before
def test_whichever_call_fails_once_a_summary_is_whole_or_as_before(
    tmp_path: Path, code: int, before: bytes | None
) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.json").write_bytes(answered().body)
    made = summarize.summarize(source, tmp_path)
    whole = {path.name: path.read_bytes() for path in (made.paths["csv"], made.paths["json"])}
    for watch in failing(tmp_path, code):
        out = watch.folder
        for name in whole if before is not None else ():
            (out / name).write_bytes(OLD)
        result = attempt(watch, partial(summarize.summarize, source, out))
        now = {name: content(out / name) for name in whole}
        if isinstance(result, summarize.Summary):
            assert now == whole
        else:
            assert type(result) is foreseen(watch)
            assert all(now[name] in (before, whole[name]) for name in whole)


@each_code
def test_whichever_call_fails_once_while_raw_files_are_read_their_rows_say_so_or_nothing_is_written(
    tmp_path: Path, code: int
) -> None:
    for watch in failing(tmp_path, code):
        for number in range(3):
            (watch.folder / f"{number}.json").write_bytes(answered().body)
        out = tmp_path / f"out {watch.fail_at}"
        result = attempt(watch, partial(summarize.summarize, watch.folder, out))
        if not isinstance(result, summarize.Summary):
            assert isinstance(result, InvalidInput)
            assert not out.exists()
            continue
        rows = json.loads(result.paths["json"].read_bytes())["videos"]
        with result.paths["csv"].open(encoding="utf-8-sig", newline="") as table:
            assert len(list(csv.reader(table))) == len(rows) + 1 == result.found.rows + 1 == 4
        broken = [row["error"] for row in rows if not row["parse_ok"]]
        assert len(broken) == (result.found.rows - result.found.parsed) == 3 - result.found.parsed <= 1
        assert all(os.strerror(code) in error for error in broken)


# Whole jobs


def job(settings: Settings, link: str) -> Outcome:
    """One link through a process that has just been started."""
    atomic._swept.clear()

    async def run() -> Outcome:
        jobs = Jobs.of(settings)
        options = Options(settings.videos)
        try:
            return await jobs.get(Call(SecretStr("a-key")), parse_link(link), options, lambda _: None)
        finally:
            await jobs.close()

    return asyncio.run(run())


def check_outcome(outcome: Outcome, watch: Watch | None = None) -> None:
    if outcome.status == "ok":
        assert outcome.saved is not None
        assert outcome.raw_path is not None
        assert outcome.saved.path.read_bytes() in LIBRARY
        assert json.loads(outcome.raw_path.read_bytes())["code"] == 200
    else:
        assert watch is not None
        assert outcome.status == "failed"
        assert type(outcome.error) is foreseen(watch)


LIBRARY = [path.read_bytes() for path in MEDIA.glob("*.mp4")]


@two_codes
def test_whichever_call_fails_once_a_job_pays_once_and_asking_again_is_free(
    sandbox: Sandbox, tmp_path: Path, code: int
) -> None:
    for watch in failing(tmp_path, code):
        settings, link = Settings(sandbox.base_url, watch.folder), next(LINKS)

        async def run(settings: Settings = settings, link: str = link, watch: Watch = watch) -> list[Outcome]:
            jobs = Jobs.of(settings)
            options, asked = Options(settings.videos), parse_link(link)
            with watch:
                first = await jobs.get(Call(SecretStr("a-key")), asked, options, lambda _: None)
            return [first, await jobs.get(Call(SecretStr("a-key")), asked, options, lambda _: None)]

        first, again = asyncio.run(run())
        check_outcome(first, watch)
        check_outcome(again)
        assert first.api_calls + again.api_calls == 1
        assert [call.share_url for call in sandbox.calls].count(link) == 1
        assert all(json.loads(path.read_bytes()) for path in settings.raw.iterdir())
        assert all(path.read_bytes() in LIBRARY for path in settings.videos.iterdir() if path.suffix == ".mp4")


@two_codes
def test_whichever_call_fails_once_what_an_earlier_process_paid_for_is_not_paid_for_again(
    sandbox: Sandbox, tmp_path: Path, code: int
) -> None:
    link = next(LINKS)
    before = Settings(sandbox.base_url, tmp_path / "before")
    assert job(before, link).status == "ok"
    for watch in failing(tmp_path, code):
        shutil.copytree(before.root, watch.folder, dirs_exist_ok=True)
        with watch:
            outcome = job(Settings(sandbox.base_url, watch.folder), link)
        check_outcome(outcome, watch)
        assert outcome.api_calls == 0 or seems_gone(watch)


def seems_gone(watch: Watch) -> bool:
    """Whether the failure says that the answer itself cannot be had, not that just now nothing can be opened."""
    assert watch.failed
    if watch.failed.path.suffix == ".json":
        return watch.code != errno.EMFILE or watch.failed.call == "lstat"
    return watch.code == errno.EACCES and watch.failed.path.name == "raw"


# The watch itself


def test_the_watch_sees_every_call_that_python_itself_reports(sandbox: Sandbox, tmp_path: Path) -> None:
    events = {"os.mkdir": "mkdir", "os.rename": "replace", "os.remove": "unlink", "os.scandir": "scandir"}
    seen: set[tuple[str, str]] = set()
    active = [True]

    def plain(path: Path | str) -> str:
        name = Path(path).name
        return ".part" if name.endswith(".part") else name

    def hook(event: str, arguments: tuple[Json, ...]) -> None:
        if active and event in (*events, "open") and str(arguments[0]).startswith(str(tmp_path)):
            seen.add((events.get(event, event), plain(arguments[0])))

    sys.addaudithook(hook)  # it cannot be taken away, only silenced
    with Watch(tmp_path) as watch:
        outcome = job(Settings(sandbox.base_url, tmp_path), next(LINKS))
        summarize.summarize(tmp_path / "raw", tmp_path / "reports")
    active.clear()
    assert outcome.status == "ok"
    assert {call for call, _ in seen} == {"open", *events.values()}
    assert seen <= {(step.call, plain(step.path)) for step in watch.steps}
