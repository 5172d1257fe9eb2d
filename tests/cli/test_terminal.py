"""The commands in front of a person: in a terminal of a known width, in Chinese, and where output cannot be written."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.cells import cell_len

from tests.support.forked import Forked
from tests.support.mcp_session import Reword
from tests.support.summary_inputs import answer, save_all
from tikhub_mcp.cli import running
from tikhub_mcp.cli.main import main
from tikhub_mcp.cli.parser import build_parser
from tikhub_mcp.cli.terminal import wrapped
from tikhub_mcp.errors import DiskFull
from tikhub_mcp.jobs.model import Call
from tikhub_mcp.sandbox import Sandbox, good_links, link

pytestmark = pytest.mark.slow

RIGHT_TO_LEFT = "דנה ABC (2)"
WIDE = "夜航星👩\u200d🚀 " * 20
LINKS = [link("slow"), link("not_found"), *good_links(2), link("photos"), "https://www.tiktok.com/@someone"]
IN_CHINESE = {"LC_ALL": "zh_CN.UTF-8"}
CJK = re.compile("[\u4e00-\u9fff]")
ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other settings than those of a new user of the sandbox."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "TIKHUB_API_KEY": "a-key-of-the-tests",
        "TIKHUB_BASE_URL": sandbox.base_url,
        "TIKHUB_OUTPUT_DIR": str(tmp_path / "root"),
        "HOME": str(tmp_path),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tikhub_mcp", *arguments]


def in_terminal(columns: int, *arguments: str, **variables: str) -> tuple[int, str]:
    """What a command shows in a terminal, with its control sequences; and its exit code."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    stdout = subprocess.PIPE if "PIPED" in variables else its
    with Forked(command(*arguments), stdin=its, stdout=stdout, stderr=its, env=os.environ | variables) as process:
        os.close(its)
        shown = b"".join(iter(lambda: received(ours), b""))
    os.close(ours)
    return process.returncode, shown.decode()


def received(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the last program that had it has ended
        return b""


def lines_of(shown: str) -> Iterator[str]:
    """The lines that are shown, also those that are written over, without control sequences."""
    yield from filter(None, re.split("[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)))


@pytest.mark.parametrize(("columns", "locale"), [(80, {}), (100, IN_CHINESE)], ids=["80", "100, Chinese"])
def test_rows_of_a_batch_appear_as_posts_are_done_and_fit_the_terminal(
    reword: Reword, columns: int, locale: dict[str, str]
) -> None:
    reword(desc=WIDE, author={"nickname": RIGHT_TO_LEFT})
    code, shown = in_terminal(columns, "batch", *LINKS, **locale)
    lines = list(lines_of(shown))
    ok, failed, counts = ("完成", "失败", "5/6，失败 2") if locale else ("ok", "failed", "5 of 6, 2 failed")
    assert code == 1
    assert not [line for line in lines if cell_len(line) > columns and str(Path.cwd()) not in line]
    rows = [line for line in lines if re.match(rf"{ok}|{failed} ", line)]
    assert sum(line.startswith(ok) for line in rows) == 4
    assert sum(line.startswith(failed + " ") for line in rows) == 2
    assert sum(f"\u2068{RIGHT_TO_LEFT}\u2069" in line for line in rows) == 4
    assert rows[-1].endswith("…")
    [first_count, *_] = [at for at, line in enumerate(lines) if counts in line]
    assert lines.index(rows[-2]) < first_count < lines.index(rows[-1])  # while the slow one is waited for
    assert [bool(CJK.search(line)) for line in lines[-3:-1]] == [bool(locale)] * 2
    assert str(Path.cwd() / "root" / "videos") in lines[-1]


@pytest.mark.parametrize("arguments", [["doctor"], ["install", "cursor", "--file", "mcp.json", "--yes"]], ids=str)
@pytest.mark.parametrize("locale", [{}, IN_CHINESE], ids=["English", "Chinese"])
def test_what_doctor_and_install_say_is_wrapped_between_words(arguments: list[str], locale: dict[str, str]) -> None:
    _, shown = in_terminal(80, *arguments, **locale)
    lines = list(lines_of(shown))
    assert len(lines) > 2
    assert not [line for line in lines if cell_len(line) > 80 and " " in line.strip().removeprefix("-> ")]


def test_where_a_reader_may_write_to_the_same_terminal_there_is_no_bar() -> None:
    assert in_terminal(80, "batch", link("slow"), link("tiktok"), "--metrics-only", PIPED="1") == (0, "")


def test_without_colour_there_is_none() -> None:
    for variables, is_coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        _, shown = in_terminal(80, "batch", link("slow"), link("tiktok"), "--metrics-only", **variables)
        assert bool(re.search(r"\x1b\[[0-9;]*3[0-8]", shown)) == is_coloured


@pytest.mark.parametrize("arguments", [["batch", *good_links(30), "--metrics-only"], ["batch", "--help"], ["doctor"]])
def test_a_reader_that_has_had_enough_ends_a_command_without_a_traceback(
    arguments: list[str], sandbox: Sandbox
) -> None:
    with Forked(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(sandbox.calls) < 30  # nothing more is paid for


@pytest.mark.parametrize(
    "arguments",
    [
        ["one", link("tiktok"), "--metrics-only"],
        ["one", link("tiktok"), "--json"],
        ["batch", link("tiktok"), link("private")],
        ["summarize", "-i", "raw"],
        ["--help"],
        ["doctor"],
        ["sandbox", "--port", "0"],
    ],
    ids=" ".join,
)
def test_output_that_cannot_be_written_is_one_sentence(arguments: list[str]) -> None:
    save_all(Path("raw"), [answer()])
    with Path("/dev/full").open("w") as full:
        process = Forked(command(*arguments), stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=30)
    said = b"error: not_writable: Standard output cannot be written: No space left on device.\n"
    assert (process.returncode, err) == (1, said)


def test_a_server_whose_input_was_closed_before_it_started_ends() -> None:
    ran = subprocess.run(["sh", "-c", f"{sys.executable} -m tikhub_mcp <&-"], capture_output=True, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_without_a_terminal_a_line_now_and_then_says_how_far_a_batch_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "LINE_SECONDS", 0.5)
    assert main(["batch", link("slow"), link("tiktok"), "--metrics-only"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 10
    assert re.fullmatch("[12] of 2, 2 paid", lines[-1])
    assert main(["batch", link("slow"), link("tiktok"), "--metrics-only", "--refresh", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_leaves_errors_and_verbose_gives_rows_with_links_and_a_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", link("tiktok"), link("private"), "-q"]) == 1
    out, err = capsys.readouterr()
    assert (out.splitlines()[:2], err) == (["failed:", f"  {link('private')}"], "")
    assert main(["one", link("tiktok"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["one", link("h265"), "--verbose", "--metrics-only"]) == 0
    assert "TikHub answered HTTP 200" in caplog.text
    _, shown = in_terminal(80, "batch", link("h265"), "--metrics-only", "-v")
    assert f"ok       {link('h265')}  {Path.cwd()}/root/raw/raw_" in shown


@pytest.mark.parametrize("given", [["--include", "captions,music"], ["--include=music", "--include", "captions"]])
def test_extras_are_named_with_commas_or_one_by_one(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one", link("captions_unsized"), *given, "--json", "--out-dir", "here"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert {"music", "captions"} <= {extra["role"] for extra in reply["extras"]} | reply["metrics"]["notes"].keys()
    assert Path(reply["file"]["path"]).parent == Path.cwd() / "here"


def test_more_workers_than_there_are_are_said_to_be_fewer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", link("tiktok"), "--max-workers", "50", "--dry-run"]) == 0
    assert capsys.readouterr().err == "note: --max-workers 50: 10 are used; 1 to 10 can be.\n"


def commands() -> Iterator[list[str]]:
    [names] = [action.choices for action in build_parser()._actions if isinstance(action.choices, dict)]
    yield from ([], *([name] for name in names))


@pytest.mark.parametrize("name", list(commands()), ids=str)
@pytest.mark.parametrize("locale", ["C", "zh_CN.UTF-8"])
def test_the_help_of_each_command_fits_eighty_columns_and_has_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], locale: str, name: list[str]
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    examples = [line for line in lines if line.startswith("  tikhub-mcp ")]
    assert len(examples) == 2
    assert not [line for line in lines if cell_len(line) > 80 and line not in examples]
    if locale != "C":
        assert not [line for line in lines if ENGLISH.search(line) and line not in examples]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["one", link("private")], "错误：post_unavailable: 作品 7000000000000000010 是私密作品（TikHub 已计费）。"),
        (["one", link("all_refused")], "错误：media_unavailable: 作品 7000000000000000061 无法下载（镜像 3 个，"),
        (["one", link("bad_key")], "错误：api_key_invalid: TikHub 拒绝了 API 密钥：密钥有误、已过期或未启用。请到"),
        (["one", link("no_scope")], "或账户已被停用。请到 https://user.tikhub.io/ 检查密钥的权限。只影响 TikTok。"),
        (["batch", "gone.txt"], "错误：invalid_input: gone.txt 既不是链接也不是文件。分享文本请加引号。"),
        (["batch", "empty.txt"], "错误：invalid_input: empty.txt 中没有链接。请给出每行一个链接的文本文件。"),
        (["summarize"], "错误：invalid_input: 无法读取 "),
        (["batch", link("tiktok"), "--max-api-calls", "-1"], "--max-api-calls 必须是 0（不限）或更大的数。"),
    ],
)
def test_a_person_in_china_reads_chinese_and_a_program_english(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], shown: str
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    Path("empty.txt").touch()
    assert main(arguments) != 0
    err = capsys.readouterr().err
    assert shown in err
    assert not ENGLISH.search(err)
    assert main([*arguments, "--json"]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert not CJK.search(error["message"])
    assert error["tell_human"] is None or CJK.search(error["tell_human"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "缺少参数：URL"),
        (["bacht"], "无效的值 'bacht'（可选："),
        (["batch", "x", "--max-workers", "ten"], "参数 --max-workers：值 'ten' 不是有效的整数"),
        (["one", "x", "--include", "sound"], "参数 --include：应为 music,cover,captions 中的若干项，用逗号分隔"),
        (["one", "x", "--dry-run"], "无法识别的参数：--dry-run"),
    ],
)
def test_wrong_usage_is_told_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(SystemExit):
        main(arguments)
    err = capsys.readouterr().err
    assert err.startswith("用法：tikhub-mcp")
    assert said in err


def test_the_results_of_one_and_of_summarize_are_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    for arguments in (["one", link("photos")], ["one", link("douyin")], ["summarize", "-o", "out"]):
        assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "分辨率：无（图集作品）" in lines
    assert "播放：未知（抖音不提供播放数）" in lines
    assert any(re.fullmatch("2 个作品：.*次播放（2 个作品中的 1 个）.*", line) for line in lines)
    assert [line for line in lines if not re.search("：| {8}|读取", line)] == []


@pytest.mark.parametrize("width", [10, 30, 80])
def test_wrapped_lines_fit_and_lose_nothing(width: int) -> None:
    text = "链接、加引号的分享文本，或每行一个 link 的文本文件（# 开头为注释）；- 表示标准输入。https://x.y/" + "z" * 30
    lines = wrapped(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(line) <= width or "https" in line for line in lines)
    assert not [line for line in lines if re.match("[，。；）、]", line)]
    assert wrapped("", width) == [""]


@pytest.mark.anyio
async def test_an_error_of_a_command_stays_what_it_is_inside_the_progress() -> None:
    screen = running.Screen([], Call(SecretStr("a-key-of-the-tests")), progress=False)
    with pytest.raises(DiskFull):
        async with screen.watching():
            raise DiskFull("full")
