"""What the commands print, wherever the locale is not UTF-8: UTF-8, and paths of files that are there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import forked
from tikhub_mcp.sandbox import Sandbox, link
from tikhub_mcp.stdio.lifetime import write_utf8

pytestmark = pytest.mark.slow

LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # names of files are ASCII
    {"PYTHONIOENCODING": "gbk:strict"},
]

BOTH = f"""
import sys
from tikhub_mcp.__main__ import main
for more in ([], ["--json"]):
    sys.argv = ["tikhub-mcp", "one", {link("douyin")!r}, *more]
    main()
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def run(
    sandbox: Sandbox, folder: Path, locale: dict[str, str], *arguments: str | bytes, code: str = ""
) -> subprocess.CompletedProcess[bytes]:
    ours = {"TIKHUB_API_KEY": "key-of-the-tests", "TIKHUB_BASE_URL": sandbox.base_url, "HOME": str(folder)}
    command = [sys.executable, *(("-c", code) if code else ("-m", "tikhub_mcp")), *arguments]
    environment = {**ours, **locale}
    if not locale:
        return forked.run([os.fsdecode(word) for word in command], env=environment, cwd=folder)
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False)


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_output_is_utf8_and_its_paths_exist_in_every_locale(
    sandbox: Sandbox, tmp_path: Path, locale: dict[str, str]
) -> None:
    shown, _, reply_in_json = run(sandbox, tmp_path, locale, code=BOTH).stdout.decode("utf-8").partition("{")
    lines = dict(line.split(": ", 1) for line in shown.splitlines())
    assert lines["author"].startswith("夜航星")
    assert Path(lines["video"]).is_file()
    reply = json.loads("{" + reply_in_json)
    assert (reply["file"]["path"], reply["metrics"]["author"]) == (lines["video"], lines["author"])
    refused = run(sandbox, tmp_path, locale, "one", link("tiktok"), "--夜")
    assert (refused.returncode, "--夜" in refused.stderr.decode("utf-8")) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are not UTF-8")
def test_bytes_of_a_path_that_are_not_utf8_are_not_lost(sandbox: Sandbox, tmp_path: Path) -> None:
    ask = ("one", link("tiktok"), "-o", b"\xff\xe9")
    shown = run(sandbox, tmp_path, {}, *ask)
    [path] = [line for line in shown.stdout.splitlines() if line.startswith(b"video: ")]
    assert Path(os.fsdecode(path.removeprefix(b"video: ").removesuffix(b" (was already there)"))).is_file()
    reply = json.loads(run(sandbox, tmp_path, {}, *ask, "--json").stdout.decode("utf-8"))
    assert Path(reply["file"]["path"]).is_file()


def test_half_a_character_is_printed_as_a_question_mark() -> None:
    write_utf8()
    assert "a\ud800b\udcff".encode("utf-8", write_utf8.__name__) == b"a?b\xff"
