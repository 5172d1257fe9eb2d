"""The demo: as a stranger runs it, and that it notices when something is not as it should be."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

import pytest

from tests.support import forked
from tikhub_mcp.cli import demo
from tikhub_mcp.errors import InvalidInput

pytestmark = pytest.mark.slow

SAID = (
    r"^Starting a stand-in for TikHub",
    r"It runs at http://127\.0\.0\.1:\d+\. Starting the server",
    r"1/4 download_video: 复制打开抖音",
    r"raw answer: \S+/raw/raw_7000000000000000002_\w+\.json",
    r"video: \S+/videos/douyin_\S+_7000000000000000002\.mp4",
    r"likes: \d+",
    r"plays: unknown \(Douyin does not report plays\)",
    r"2/4 The same call again\npaid API calls: 0",
    r"3/4 batch_download, with a photo post and a private one",
    r"ok +https://www\.tiktok\.com/\S+ +\S+/videos/tiktok_\S+\.mp4",
    r"ok +https://www\.tiktok\.com/\S+ +\S+/photos/tiktok_\S+_7000000000000000005  9,955 likes\n",
    r"failed +https://www\.douyin\.com/\S+ +post_unavailable: ",
    r"4 links: 3 succeeded, 1 failed, 0 skipped; 3 paid API calls",
    r"4/4 summarize_raw: a table of all that was saved\n4 rows, 1 without a post\n",
    r"\S+/reports/tikhub_videos_summary\.csv",
    r"/reports/tikhub_videos_report\.html\n",
    r"Everything as it should be\.\nThe files are in \S+",
)


def test_a_stranger_sees_it_work_without_key_or_settings_and_finds_one_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIKHUB_")}
    temporary = tmp_path / "tmp"
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8"}
    earlier, running, killed = (temporary / f"{demo.PREFIX}{name}" for name in ("earlier", "running", "killed"))
    for folder in (earlier / "reports", running, killed):
        folder.mkdir(parents=True)
    (earlier / "reports" / "tikhub_videos_summary.json").touch()
    os.utime(killed, (0, 0))
    command = [sys.executable, "-m", "tikhub_mcp", "demo"]
    ran = forked.run(command, env=environment, cwd=tmp_path, encoding="utf-8")
    assert (ran.returncode, ran.stderr) == (0, "")
    at = 0
    for words in SAID:  # in this order
        found = re.compile(words).search(ran.stdout, at)
        assert found, words
        at = found.end()
    assert len(ran.stdout.splitlines()) < 60
    [following] = re.findall("^Next: `(.+?)`", ran.stdout, re.MULTILINE)
    usage = subprocess.run(f"{following} --help", shell=True, cwd=tmp_path, env=environment, capture_output=True)
    assert usage.stdout.startswith(b"usage: tikhub-mcp install")
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]  # nothing in the home directory
    (folder,) = set(temporary.glob(f"{demo.PREFIX}*")) - {running}
    assert f"The files are in {folder};" in ran.stdout
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        "index.sqlite3",
        "photos",
        "raw",
        "reports",
        "videos",
    ]


def test_what_is_not_as_it_should_be_is_told_in_the_users_language_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setattr(demo, "BATCH", {**demo.BATCH, "private": "ok"})
    opened = list[str]()
    monkeypatch.setattr(demo, "_has_desktop", lambda _: True)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert demo.run(tmp_path / "new") == 1
    assert opened == [(tmp_path / "new" / "reports" / "tikhub_videos_report.html").as_uri()]
    said = capsys.readouterr().out
    assert "正在启动服务器" in said
    assert "不符：批量结果：应为 ['ok', 'ok', 'ok', 'ok']，实为 ['ok', 'ok', 'ok', 'post_unavailable']\n" in said
    assert "一切正常" not in said
    with pytest.raises(InvalidInput, match="里有以前的文件"):
        demo.run(tmp_path / "new")


def test_a_reader_that_has_had_enough_gets_no_traceback_and_no_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "print_video", closed)
    with pytest.raises(BrokenPipeError):
        demo.run()
    assert not list(tmp_path.iterdir())


def test_in_silence_a_line_says_that_the_demo_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    printed, goes_on = list[str](), threading.Event()

    def record(line: str) -> None:
        printed.append(line)
        if "moment" in line:
            goes_on.set()

    monkeypatch.setattr(demo, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(demo, "print_at_once", record)
    with demo._talking() as say:
        say("first")
        assert goes_on.wait(10)
    assert (printed[0], set(printed[1:])) == ("first", {"… a moment …"})


@pytest.mark.parametrize(
    ("variables", "terminal", "expected"),
    [
        ({"DISPLAY": ":0"}, True, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        ({}, True, False),
        ({"DISPLAY": ":0"}, False, False),
        ({"DISPLAY": ":0", "CI": "true"}, True, False),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "a b"}, True, False),
    ],
)
def test_the_page_is_opened_for_a_person_at_a_desktop_only(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], terminal: bool, expected: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert demo._has_desktop(variables) is expected
