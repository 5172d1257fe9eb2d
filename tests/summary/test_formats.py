"""The formats of a summary: what may be asked for, by agents and by people, and what comes of it."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import threading
import tomllib
from dataclasses import replace
from functools import partial
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from mcp.types import TextContent
from packaging.requirements import Requirement

from tests.support.held_summaries import Held, cancel, start
from tests.support.mcp_session import Desk, Heard, listing, until
from tests.support.summary_inputs import answer, save_all
from tikhub_mcp.cli.main import main
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import extras
from tikhub_mcp.summary import summarize as summary_summarize
from tikhub_mcp.summary.summarize import DEFAULT_FORMATS, FORMATS, Format, Summary, SummaryStopped, summarize
from tikhub_mcp.tools.replies import result, summary_reply
from tikhub_mcp.tools.schemas import SummaryReply

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

NAMES = {
    "csv": ["tikhub_metrics_history.csv", "tikhub_videos_summary.csv"],
    "json": ["tikhub_videos_summary.json"],
    "xlsx": ["tikhub_videos_summary.xlsx"],
    "html": ["tikhub_videos_report.html"],
}
PATHS = ("csv_path", "json_path", "history_csv_path", "xlsx_path", "html_path")
WISHES: list[tuple[Json, str]] = [  # what is asked for, and what comes
    ([], "csv json"),
    ("", "csv json"),
    (None, "csv json"),
    (["json"], "json"),
    ("csv, html, csv", "csv html"),
    ("xlsx csv", "csv xlsx"),
    (["html", "xlsx", "json", "csv"], "csv json xlsx html"),
]
UNKNOWN: list[Json] = ["pdf", ["pdf"], ["csv", "pdf"], "csv,pdf", ["CSV"], ["csv,json"], [""]]
NO_FORMATS: list[Json] = [[5], [None], 5, {"a": 1}, True]
LIBRARIES = [("xlsx", "xlsxwriter", "xlsx")]  # format, what it needs, its extra


def filled(root: Path, answers: list[Json] | None = None) -> Path:
    """The folder of raw answers, with some in it."""
    return save_all(root / "raw", answers or [answer("1", 0), answer("1", 1), answer("2", douyin=True), b""])


def without(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one library be absent."""
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == library else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


# By agents


@pytest.mark.anyio
@pytest.mark.parametrize(("wish", "expected"), WISHES, ids=str)
async def test_an_agent_gets_the_formats_that_it_asks_for_and_their_paths(
    desk: Desk, wish: Json, expected: str
) -> None:
    filled(desk.root)
    kinds = expected.split()
    reply = await desk.ask("summarize_raw", formats=wish)
    assert (reply["status"], reply["rows"], reply["broken"], reply["posts_with_history"]) == ("ok", 4, 1, 1)
    assert listing(desk.root / "reports") == sorted(name for kind in kinds for name in NAMES[kind])
    told = {name: Path(reply[name]) for name in PATHS if reply[name]}
    assert told.keys() == {f"{kind}_path" for kind in (*kinds, *["history_csv"] * ("csv" in kinds))}
    assert set(told.values()) == set((desk.root / "reports").iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("wish", UNKNOWN + NO_FORMATS, ids=str)
async def test_a_format_that_does_not_exist_is_refused_by_those_that_do_and_nothing_is_made(
    desk: Desk, wish: Json
) -> None:
    filled(desk.root)
    before = listing(desk.root)
    reply = await desk.ask("summarize_raw", formats=wish)
    assert (reply.code, reply.is_error, reply["status"]) == ("invalid_input", True, "failed")
    assert "formats must be" in reply.message
    if wish in UNKNOWN:
        assert "one of csv, json, xlsx or html" in reply.message
    assert listing(desk.root) == before


@pytest.mark.anyio
@pytest.mark.parametrize(("wish", "library", "extra"), LIBRARIES)
async def test_a_format_whose_library_is_absent_is_an_error_that_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, wish: str, library: str, extra: str
) -> None:
    filled(desk.root)
    without(library, monkeypatch)
    reply = await desk.ask("summarize_raw", formats=["json", wish], out_dir="elsewhere")
    assert (reply.code, reply.is_error, reply["status"]) == ("invalid_input", False, "failed")
    assert f"An extra is not installed: '{extra}' for the format {wish}. " in reply.message
    [command] = re.findall("Run `(.+?)`\\.", reply.message)
    assert shlex.split(command)[1:] == ["install", extras.WORKBOOK_REQUIREMENT]
    assert Path(shlex.split(command)[0]).is_absolute()  # it runs wherever the person is
    assert "The other formats were written." in reply.message
    assert (reply["rows"], listing(desk.root / "elsewhere")) == (4, NAMES["json"])
    before = listing(desk.root)
    reply = await desk.ask("summarize_raw", formats=[wish], out_dir="nowhere")
    assert (reply.code, reply.is_error, reply["rows"]) == ("invalid_input", True, 0)
    assert "Nothing was read or written." in reply.message
    assert listing(desk.root) == before


@pytest.mark.anyio
@pytest.mark.parametrize("library", [library for _, library, _ in LIBRARIES])
async def test_the_other_formats_do_not_need_that_library(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    filled(desk.root)
    without(library, monkeypatch)
    assert (await desk.ask("summarize_raw"))["status"] == "ok"


def replied(tmp_path: Path, answers: list[Json], home: Path) -> tuple[str, dict[str, Json]]:
    """Both channels of the reply about these answers, as if all had been in that folder, whose name makes it longer."""
    done = summarize(save_all(tmp_path / "raw", answers), tmp_path / "out", FORMATS)
    paths = {name: home / "reports" / path.name for name, path in done.paths.items()}
    reply = result(summary_reply(replace(done, source=home / "raw", paths=paths)))
    assert isinstance(reply.content[0], TextContent)
    assert reply.structured_content is not None
    return reply.content[0].text, reply.structured_content


def sizes(*channels: Json) -> list[int]:
    """How many bytes each has on the wire."""
    compact = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
    return [len((item if isinstance(item, str) else compact(item)).encode()) for item in channels]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 500,
        "\U0001f6a3" * 30,  # platforms allow no more
        *(letter * 500 for letter in ("é", "船", "\U0001f6a3", '"')),
    ],
    ids=["one byte", "boats", "two bytes", "three", "four", "quotes"],
)
def test_a_reply_stays_small_with_ten_posts_of_the_longest_names(tmp_path: Path, name: str) -> None:
    numbers = {"play_count": 10**14, "comment_count": 10**12, "share_count": 10**12, "collect_count": 10**12}
    answers = [
        answer(str(10**18 + at), 1000 + at / 7, author={"nickname": name}, desc=name, digg_count=10**12 + at, **numbers)
        for at in range(10)
    ]
    for at, value in enumerate(answers[5:]):
        value["data"]["aweme_details"][0]["statistics"] |= {"play_count": 10**13, "digg_count": 10**13 + at}
    nothing = dict.fromkeys((*numbers, "digg_count"), 0)
    answers += [answer(str(10**18 + at), 0, **nothing) for at in range(10)]
    text, reply = replied(tmp_path, answers, Path("/home/somebody/Downloads/tikhub_mcp"))
    assert {post["change"] for post in reply["top_by_likes"]} == {10**13 + at for at in range(5)}
    ids = [post["video_id"] for name in ("top_by_plays", "top_by_likes") for post in reply[name]]
    assert len(set(ids)) == len(ids) == 10
    texts = [(post["author"], post["title"]) for name in ("top_by_plays", "top_by_likes") for post in reply[name]]
    assert all(8 <= len(author) <= 36 and 12 <= len(title) <= 51 for author, title in texts)
    assert max(sizes(text, reply)) < 4000


@pytest.mark.parametrize("folder", ["纸" * 70, os.fsdecode(b"\xff" * 70)], ids=["Chinese", "no UTF-8"])
def test_a_reply_stays_small_also_where_the_folders_have_long_names(tmp_path: Path, folder: str) -> None:
    answers = [answer(str(10**18 + at), author={"nickname": "船" * 30}, play_count=at) for at in range(1, 12)]
    text, reply = replied(tmp_path, answers, Path("/") / folder / folder)
    tops = reply["top_by_plays"], reply["top_by_likes"]
    assert max(sizes(text, reply)) <= 4000
    assert [post["video_id"] for post in tops[0][:2]] == [str(10**18 + 11), str(10**18 + 10)]
    assert 0 < len(tops[1]) <= len(tops[0]) < 5


# The time of a call


@pytest.mark.anyio
async def test_another_wish_of_formats_is_another_run_and_each_is_joined_by_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(desk.root)
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    held = Held(monkeypatch)
    first, second = await desk.ask("summarize_raw", formats="csv"), await desk.ask("summarize_raw", formats="html")
    assert (first["status"], second["status"], held.runs) == ("pending", "pending", 2)
    desk.environ["TIKHUB_CALL_SECONDS"] = "20"
    held.go.set()
    tables, page = await desk.ask("summarize_raw", formats=["csv"]), await desk.ask("summarize_raw", formats=["html"])
    assert (tables["status"], page["status"], held.runs) == ("ok", "ok", 2)
    assert (tables["html_path"], page["csv_path"]) == (None, None)
    assert listing(desk.root / "reports") == sorted(NAMES["csv"] + NAMES["html"])


@pytest.mark.anyio
async def test_the_same_formats_in_another_order_are_the_same_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(desk.root)
    desk.environ["TIKHUB_CALL_SECONDS"] = "1"
    held = Held(monkeypatch)
    assert (await desk.ask("summarize_raw", formats="xlsx csv"))["status"] == "pending"
    held.go.set()
    reply = await desk.ask("summarize_raw", formats=["csv", "xlsx", "csv"])
    assert (reply["status"], held.runs) == ("ok", 1)


class Stepwise(Held):
    """summarize, which takes its next step when it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.seen: list[tuple[int, int]] = []
        self.turn = threading.Semaphore(0)

    def __call__(self, source: Path, target: Path, formats: tuple[Format, ...], **watch: Json) -> Summary:
        def progress(done: int, total: int) -> None:
            watch["progress"](done, total)
            self.seen.append((done, total))
            while not self.turn.acquire(timeout=0.01) and not watch["stopped"]():
                pass

        return self._real(source, target, formats, progress=progress, stopped=watch["stopped"])


@pytest.mark.anyio
async def test_progress_is_told_while_all_formats_are_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(desk.root)
    desk.heard, steps = [], Stepwise(monkeypatch)
    call = start(desk.ask("summarize_raw", formats=list(FORMATS)))
    for step in range(1, 9):  # two for each file
        await until(lambda step=step: len(steps.seen) == step)  # type: ignore[misc]
        if step in (2, 6):
            await until(lambda step=step: any(heard.done == step for heard in desk.heard or ()))  # type: ignore[misc]
        steps.turn.release()
    assert (await call)["status"] == "ok"
    assert steps.seen == [(step, 8) for step in range(1, 9)]
    assert {(heard.total, heard.message) for heard in desk.heard} == {(8.0, "steps done")}
    assert all(before.done < after.done for before, after in pairwise(desk.heard))
    assert isinstance(desk.heard[0], Heard)


@pytest.mark.anyio
@pytest.mark.parametrize("step", [1, 5, 8], ids=["reading", "writing", "at the end"])
async def test_a_cancelled_summary_leaves_none_of_its_formats_half_made(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    filled(desk.root)
    steps = Stepwise(monkeypatch)
    for _ in range(step - 1):
        steps.turn.release()
    call = start(desk.ask("summarize_raw", formats=list(FORMATS)))
    await until(lambda: len(steps.seen) == step)
    assert len(desk.parts) == 5
    await cancel(call)
    await until(lambda: not listing(desk.root / "reports"))
    assert listing(tmp_path / "temp") == []
    assert len(steps.seen) == step
    for _ in range(8):
        steps.turn.release()
    assert (await desk.ask("summarize_raw", formats=list(FORMATS)))["status"] == "ok"


@pytest.mark.parametrize("asked", [0, 4, 6])
def test_whoever_stops_a_summary_finds_the_formats_of_before(tmp_path: Path, asked: int) -> None:
    filled(tmp_path)
    before = {name: path.read_bytes() for name, path in summarize(tmp_path / "raw", tmp_path, FORMATS).paths.items()}
    (tmp_path / "raw" / "0000.json").unlink()
    words = iter([False] * asked + [True])
    with pytest.raises(SummaryStopped):
        summarize(tmp_path / "raw", tmp_path, FORMATS, stopped=lambda: next(words, True))
    assert not list(tmp_path.glob("*.part"))
    assert {name: path.read_bytes() for name, path in summary_paths(tmp_path).items()} == before


def summary_paths(folder: Path) -> dict[str, Path]:
    kinds = {"csv": 1, "json": 0, "xlsx": 0, "html": 0}
    return {kind: folder / NAMES[kind][at] for kind, at in kinds.items()} | {"history": folder / NAMES["csv"][0]}


# By people


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with raw answers beside it; the environment names no key."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path))
    filled(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ([], ["csv", "json"]),
        (["--formats", "html"], ["html"]),
        (["--formats", "json,xlsx"], ["json", "xlsx"]),
        (["--formats", "html, csv"], ["csv", "html"]),
        (["--formats=csv json xlsx html"], ["csv", "json", "xlsx", "html"]),
    ],
    ids=str,
)
def test_people_get_the_formats_that_they_ask_for(
    here: Path, capsys: pytest.CaptureFixture[str], wish: list[str], expected: list[str]
) -> None:
    assert main(["summarize", *wish]) == 0
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": /" in line)
    paths = summary_paths(here)
    kinds = expected + ["history"] * ("csv" in expected)
    assert printed == {kind: str(paths[kind]) for kind in kinds}
    assert list(printed) == kinds
    assert listing(here) == sorted(name for kind in expected for name in NAMES[kind])


def test_the_reply_for_programs_has_all_paths(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summarize", "--json", "--formats", "csv,xlsx,html"]) == 0
    reply = SummaryReply.model_validate_json(capsys.readouterr().out)
    found = {name: getattr(reply, name) for name in PATHS}
    assert [name for name, path in found.items() if not path] == ["json_path"]
    assert {path for path in found.values() if path} == {str(path) for path in here.iterdir()}


@pytest.mark.parametrize("wish", ["pdf", "csv,pdf", "CSV", "", ",", "csv;json"])
def test_people_are_told_which_formats_exist(here: Path, capsys: pytest.CaptureFixture[str], wish: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["summarize", "--formats", wish])
    assert ended.value.code == 2
    assert "--formats: any of csv,json,xlsx,html" in capsys.readouterr().err
    assert listing(here) == []


@pytest.mark.parametrize(("wish", "library", "extra"), LIBRARIES)
def test_people_are_told_which_extra_is_missing_and_get_the_other_formats(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wish: str, library: str, extra: str
) -> None:
    without(library, monkeypatch)
    assert main(["summarize", "--json", "-o", "new", "--formats", f"json,{wish}"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: invalid_input: An extra is not installed: '{extra}' for the format {wish}. ")
    assert json.loads(out)["error"]["message"] in err
    assert listing(here / "new") == NAMES["json"]
    monkeypatch.setattr(summary_summarize, "read_regular", pytest.fail)
    assert main(["summarize", "-o", "nowhere", "--formats", wish]) == 2
    assert not (here / "nowhere").exists()


def test_a_folder_in_nobodys_home_is_a_usage_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summarize", "-o", "~nobody-of-that-name/x"]) == 2
    assert "leads nowhere" in capsys.readouterr().err


# By the code


@pytest.mark.parametrize(("extra", "library"), extras.LIBRARIES.items())
def test_the_extra_that_is_named_brings_the_library_and_more_is_not_needed(extra: str, library: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {Requirement(text).name for text in project["optional-dependencies"][extra]}
    assert project["optional-dependencies"]["xlsx"] == [extras.WORKBOOK_REQUIREMENT]
    owners = importlib.metadata.packages_distributions()
    assert set(map(canonical, owners[library])) <= set(map(canonical, brought))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_without_the_extra_of_the_chart_the_page_has_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("vl_convert", monkeypatch)
    save_all(tmp_path / "raw", [answer("1", day, play_count=1000 + day) for day in (0, 1)])
    page = summarize(tmp_path / "raw", tmp_path, ["html"]).paths["html"].read_text(encoding="utf-8")
    assert '"plays":1001' in page
    assert '<script type="module"></script>' in page


def test_csv_and_json_are_the_default_everywhere(tmp_path: Path) -> None:
    filled(tmp_path)
    assert (("csv", "json"), get_args(Format)) == (DEFAULT_FORMATS, FORMATS)
    assert set(summarize(tmp_path / "raw", tmp_path).paths) == {"csv", "history", "json"}
