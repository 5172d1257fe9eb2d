"""The demo: as a stranger runs it, and that it notices when something is not as it should be."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tikhub_mcp.cli import demo
from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.sandbox import link

SAID = (
    r"1\. A stand-in for TikHub runs at http://127\.0\.0\.1:\d+; the server starts over stdio",
    r"protocol 20\d\d-\d\d-\d\d, tools: download_video, batch_download, summarize_raw",
    r"2\. download_video with share text",
    r"video +\S+/videos/douyin_\S+_7000000000000000002\.mp4",
    r"measured +h264, 360x640, \d+ ms, \d+ bytes",
    r"raw answer +\S+/raw/raw_7000000000000000002_\w+\.json",
    r"metrics +likes \d+, comments \d+, shares \d+, saves \d+, plays null",
    r"plays: Douyin does not report plays",
    r"3\. batch_download with 5 links",
    r"ok +a TikTok video: tiktok_\S+\.mp4, \d+ likes",
    r"failed +a photo post: .*: not_a_video, \d+ likes",
    r"failed +a private post: post_unavailable",
    r"complete: 3 succeeded, 2 failed as they should; 3 paid API calls",
    r"4\. summarize_raw",
    r"7000000000000000005 +\S.*\d+ +\d+ +true",
    r"4 rows; 1 is the private post",
    r"\S+/reports/tikhub_videos_summary\.csv",
    r"Everything as it should be\. The files are in \S+",
)


def test_a_stranger_sees_it_work_without_key_or_settings(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIKHUB_")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp"), "PYTHONIOENCODING": "utf-8"}
    environment["LC_ALL"] = "C.UTF-8"
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "tikhub_mcp", "demo"]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    at = 0
    for words in SAID:  # in this order
        found = re.compile(words).search(ran.stdout, at)
        assert found, words
        at = found.end()
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]  # nothing in the home directory
    assert "\x1b" not in ran.stdout
    (folder,) = (tmp_path / "tmp").glob("tikhub-mcp-demo-*")
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["index.sqlite3", "raw", "reports", "videos"]


IN_CHINESE = (
    r"1\. TikHub 的替身运行在 http://127\.0\.0\.1:\d+；服务器通过 stdio 启动",
    r"协议 20\d\d-\d\d-\d\d，工具：download_video, batch_download, summarize_raw",
    r"2\. download_video，直接粘贴分享文本",
    r"\n   视频        \S+/videos/douyin_\S+_7000000000000000002\.mp4",
    r"\n   实测        h264, 360x640, \d+ ms, \d+ bytes",
    r"3\. batch_download，5 个链接",
    r"ok +TikTok 视频：tiktok_\S+\.mp4，\d+ 个赞",
    r"failed +私密作品：post_unavailable",
    r"complete：3 个成功，2 个如预期失败；3 次付费 API 调用",
    r"4\. summarize_raw，汇总所有已保存的数据",
    r"4 行；其中 1 行是私密作品",
    r"一切正常。文件在 \S+，可随意删除。\n下一步：",
)


def test_in_a_chinese_locale_it_speaks_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    code, said = run(tmp_path)
    assert code == 0
    at = 0
    for words in IN_CHINESE:  # in this order
        found = re.compile(words).search(said, at)
        assert found, words
        at = found.end()
    with pytest.raises(InvalidInput, match="里有以前的文件"):
        demo.run(tmp_path)
    monkeypatch.setattr(demo, "BATCH", ((link("private"), "ok", "", "谎称正常的私密作品"), *demo.BATCH[1:]))
    code, said = run(tmp_path / "again")
    assert code == 1
    assert "与预期不符：" in said
    assert "谎称正常的私密作品：应为 'ok'，实为 'post_unavailable'" in said


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def run(folder: Path) -> tuple[int, str]:
    console = Console(file=io.StringIO(), soft_wrap=True)
    code = demo.run(folder, console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_what_is_not_as_it_should_be_is_told_and_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SHARE_TEXT", link("private"))
    monkeypatch.setattr(
        demo,
        "BATCH",
        ((link("private"), "ok", "a private post, said to be fine", "谎称正常的私密作品"), *demo.BATCH[1:]),
    )
    code, said = run(tmp_path)
    assert code == 1
    assert "Not as it should be:" in said
    assert "download_video: expected 'ok', got 'failed'" in said
    assert "a private post, said to be fine: expected 'ok', got 'post_unavailable'" in said
    assert "Everything as it should be" not in said


def test_a_folder_with_earlier_answers_is_refused_since_the_sums_would_not_come_out(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InvalidInput, match="holds earlier files"):
        demo.run(tmp_path)
