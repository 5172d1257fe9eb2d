"""However the server ends and whatever it is doing then: gone in two seconds, nothing half-made, nothing paid twice."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import stdio_client
from tests.support.forked import Forked
from tests.support.mcp_session import SLOW, patience
from tests.support.payloads import envelope, tiktok_post, video
from tests.support.stdio_client import Deaf, Environment, Process, Wire, downloading, parts, wait
from tikhub_mcp.jobs.model import MAX_TRANSFERS
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox, good_links, link
from tikhub_mcp.storage.atomic import STALE_SECONDS
from tikhub_mcp.summary.summarize import CSV_NAME, JSON_NAME

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="signals, pipes and terminals as POSIX has them"),
    pytest.mark.slow,
]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
END_OF_INPUT = 0  # among the signals
SECONDS = 2  # then hosts kill what is not gone
ANSWERS = 5000  # of which a summary takes some seconds


def name_of(ending: int) -> str:
    return signal.Signals(ending).name if ending else "end of input"


def end(wire: Wire, ending: int) -> None:
    """End the server; it is gone in time, and its exit code says why."""
    if ending == END_OF_INPUT:
        assert wire.process.stdin is not None
        wire.process.stdin.close()
    else:
        wire.process.send_signal(ending)
    assert wire.process.wait(patience(SECONDS)) == (128 + ending if ending else 0)


def call(tool: str, arguments: Json, number: int = 1) -> Json:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def download(wire: Wire, sandbox: Sandbox, root: Path) -> None:
    """Have ten downloads under way, which take 8 s each."""
    sandbox.media_bytes_per_second = SLOW
    wire.send(call("batch_download", {"urls": good_links(MAX_TRANSFERS)}))
    wait(lambda: downloading(root) == MAX_TRANSFERS)


@pytest.mark.parametrize("ending", [*SIGNALS, END_OF_INPUT], ids=name_of)
def test_ten_downloads_are_given_up_and_their_paid_answers_stay(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path, ending: int
) -> None:
    with Wire(environment, tmp_path / "log") as wire:
        wire.shake_hands()
        download(wire, sandbox, root)
        end(wire, ending)
    assert not list(root.rglob("*.part")) + list(root.rglob("*.mp4"))
    assert len(list((root / "raw").glob("raw_*.json"))) == len(sandbox.calls) == MAX_TRANSFERS


# Starts the server in a process group of its own, as hosts do, and is there until it is killed.
PARENT = """
import subprocess, sys, time
server = subprocess.Popen([sys.executable, "-m", "tikhub_mcp"], stderr=subprocess.DEVNULL)
print(server.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def has_ended(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    with suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] == "Z"  # ended, but no parent has asked
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="processes as /proc has them")
def test_a_dead_parent_ends_it_within_five_seconds_although_somebody_else_holds_its_pipe(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    with Wire(environment, tmp_path / "log", [sys.executable, "-c", PARENT], subprocess.Popen) as wire:
        wire.shake_hands()
        download(wire, sandbox, root)
        wire.process.kill()
        server = int((tmp_path / "log").read_text(encoding="utf-8"))
        wait(lambda: has_ended(server), patience(5))
    assert not parts(root)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with many raw answers, all of them the same file, because that is made sooner."""
    folder = tmp_path_factory.mktemp("answers")
    many = video(bit_rate=50 * video()["bit_rate"])
    (folder / "0.json").write_text(json.dumps(envelope(tiktok_post(video=many))), encoding="utf-8")
    for number in range(1, ANSWERS):
        os.link(folder / "0.json", folder / f"{number}.json")
    return folder


@pytest.mark.parametrize("ending", [signal.SIGTERM, END_OF_INPUT], ids=name_of)
def test_a_summary_is_given_up_and_the_one_before_it_stays(
    environment: Environment, tmp_path: Path, home: Path, root: Path, answers: Path, ending: int
) -> None:
    earlier = {CSV_NAME: "an earlier table", JSON_NAME: "an earlier document"}
    reports = root / "reports"
    reports.mkdir(parents=True)
    for name, text in earlier.items():
        (reports / name).write_text(text, encoding="utf-8")
    environment["TIKHUB_ALLOWED_DIRS"] = str(answers)
    with Wire(environment, tmp_path / "log") as wire:
        wire.shake_hands()
        wire.send(call("summarize_raw", {"input": str(answers)}))
        wait(lambda: parts(reports))
        end(wire, ending)
    assert not parts(home)
    assert {path.name: path.read_text(encoding="utf-8") for path in reports.iterdir()} == earlier


def unread(wire: Wire) -> int:
    """The bytes in the pipe of its standard output."""
    assert wire.process.stdout is not None
    size: int = struct.unpack("i", fcntl.ioctl(wire.process.stdout.fileno(), termios.FIONREAD, bytes(4)))[0]
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="how much a pipe holds")
def test_the_end_of_input_ends_it_while_nobody_reads_its_replies(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    with Deaf(environment, tmp_path / "log") as deaf:
        download(deaf, sandbox, root)
        for number in range(2, 20):
            deaf.send({"jsonrpc": "2.0", "id": number, "method": "tools/list"})
        wait(lambda: unread(deaf) > 55_000)  # of 65,536: the next reply, of 9,800, does not fit
        deaf.send(b"no JSON")
        deaf.send({"jsonrpc": "2.0", "id": 20, "method": "initialize", "params": stdio_client.HANDSHAKE})
        end(deaf, END_OF_INPUT)
    assert not parts(root)


CLOGGED = """
import os, sys
from tikhub_mcp.__main__ import main
sys.stderr = open(os.dup2(os.open(sys.argv.pop(), os.O_WRONLY), 2), "w")
main()
"""


@pytest.fixture
def clogged(tmp_path: Path) -> Iterator[list[str]]:
    """The command of a server with a standard error that nobody reads and that is full."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    for piece in (bytes(4096), b"0"):
        with suppress(BlockingIOError):
            while True:
                os.write(held, piece)
    yield [sys.executable, "-c", CLOGGED, str(pipe)]
    os.close(held)


@pytest.mark.parametrize("ending", [signal.SIGTERM, END_OF_INPUT], ids=name_of)
def test_a_log_that_nobody_reads_keeps_it_neither_from_answering_nor_from_ending(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path, clogged: list[str], ending: int
) -> None:
    assert environment["TIKHUB_LOG_LEVEL"] == "DEBUG"  # each call to TikHub is a line
    with Wire(environment, tmp_path / "log", clogged) as wire:
        wire.shake_hands()
        assert wire.call(2, "download_video", {"url": link("private")}).code == "post_unavailable"
        download(wire, sandbox, root)
        end(wire, ending)
    assert not parts(root)


@pytest.mark.parametrize("ending", [signal.SIGTERM, END_OF_INPUT], ids=name_of)
def test_an_answer_under_way_has_been_paid_for_and_is_kept(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path, ending: int
) -> None:
    sandbox.latency = 1.0
    links = good_links(3)
    with Wire(environment, tmp_path / "log") as wire:
        wire.shake_hands()
        wire.send(call("batch_download", {"urls": links}))
        wait(lambda: len(sandbox.calls) == len(links))
        end(wire, ending)
    assert [asked.status for asked in sandbox.calls] == [200] * len(links)
    assert len(list((root / "raw").glob("raw_*.json"))) == len(links)
    assert "Ended before" not in (tmp_path / "log").read_text(encoding="utf-8")
    assert not parts(root)


def test_an_answer_that_comes_too_late_is_named_in_the_log_in_one_line(
    environment: Environment, tmp_path: Path, sandbox: Sandbox, root: Path
) -> None:
    sandbox.latency = 5.0
    environment["TIKHUB_LOG_LEVEL"] = "WARNING"
    links = good_links(5)
    with Wire(environment, tmp_path / "log") as wire:
        wire.shake_hands()
        wire.send(call("batch_download", {"urls": links}))
        wait(lambda: len(sandbox.calls) == len(links))
        end(wire, signal.SIGTERM)
    posts = ", ".join(f"post {url.rpartition('/')[2]}" for url in links)
    lost, ended = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert lost.endswith(f"Ended before TikHub's answer was stored, which may be charged, for {posts}")
    assert ended.endswith("WARNING tikhub_mcp.stdio.lifetime: Ended, with code 143")
    assert not list((root / "raw").glob("raw_*.json"))


# Its standard input becomes the terminal that controls it, as a shell arranges that.
IN_A_TERMINAL = (
    "import fcntl, os, termios\n"
    "os.setsid()\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "from tikhub_mcp.__main__ import main\n"
    "main()\n"
)


@contextmanager
def terminal(environment: Environment, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a terminal, and the terminal's other end."""
    outer, inner = os.openpty()
    with log.open("wb") as errors:
        command = [sys.executable, "-c", IN_A_TERMINAL]
        process = Forked(command, stdin=inner, stdout=inner, stderr=errors, cwd="/", env=environment)
    os.close(inner)
    try:
        yield process, outer
    finally:
        process.kill()
        process.wait()
        with suppress(OSError):  # a test may have closed it
            os.close(outer)


def press_ctrl_c(outer: int) -> None:
    os.write(outer, b"\x03")


@pytest.mark.parametrize(
    ("act", "codes"),
    # Of a terminal that goes away two things tell at once: a signal, and the end of input.
    [(press_ctrl_c, {130}), (os.close, {129, 0})],
    ids=["Ctrl-C", "the terminal is closed"],
)
def test_in_a_terminal_it_ends_as_other_programs_do(
    environment: Environment,
    tmp_path: Path,
    sandbox: Sandbox,
    root: Path,
    act: Callable[[int], None],
    codes: set[int],
) -> None:
    sandbox.media_bytes_per_second = SLOW
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": stdio_client.HANDSHAKE}
    ask = call("batch_download", {"urls": good_links(MAX_TRANSFERS)})
    with terminal(environment, tmp_path / "log") as (process, outer):
        for message in (hello, {"jsonrpc": "2.0", "method": "notifications/initialized"}, ask):
            os.write(outer, json.dumps(message).encode() + b"\n")
        wait(lambda: downloading(root) == MAX_TRANSFERS)
        act(outer)
        assert process.wait(patience(SECONDS)) in codes
    assert not parts(root)


def lay(folder: Path, name: str, age: float) -> Path:
    """Put a part into a folder, as old as that (seconds)."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / name
    part.write_bytes(b"half of a file")
    os.utime(part, (time.time() - age,) * 2)
    return part


def test_parts_of_killed_processes_are_gone_before_anybody_calls_and_those_of_others_stay(
    environment: Environment, tmp_path: Path, root: Path
) -> None:
    folders = [root / name for name in ("videos", "raw", "reports")]
    stale = [lay(folder, f".x{number}.mp4.0123abcd.part", STALE_SECONDS + 60) for folder in folders for number in "12"]
    others = [lay(folder, ".young.mp4.0123abcd.part", STALE_SECONDS - 600) for folder in folders]
    others += [lay(folder, "somebody's own.part", 2 * STALE_SECONDS) for folder in folders]
    with Wire(environment, tmp_path / "log") as wire:
        wait(lambda: not any(part.exists() for part in stale), patience(10))
        wire.shake_hands()
        # These look at the folders once more, and end after that.
        assert wire.call(1, "download_video", {"url": link("tiktok")})["status"] == "ok"
        assert wire.call(2, "summarize_raw", {})["status"] == "ok"
        end(wire, END_OF_INPUT)
    assert sorted(parts(root)) == sorted(others)


NOISE = "; ".join(
    (
        "print('printed noise', flush=True)",
        "print('noise ' * 5000)",  # more than a buffer holds
        "print('noise that is not flushed')",
        "os.write(1, b'noise of a descriptor\\n')",
        "subprocess.run(['/bin/echo', 'noise of a child'])",
    )
)
AT_IMPORT = f"""
import builtins, os, subprocess
real = builtins.__import__

def noisy(name, *rest, **named):
    if name == "tikhub_mcp.tools.handlers":
        {NOISE}
    return real(name, *rest, **named)

builtins.__import__ = noisy
from tikhub_mcp.cli.main import main
main([])
"""
IN_A_CALL = f"""
import os, subprocess
from tikhub_mcp.posts import lists
real = lists.one_and_others

def noisy(url):
    {NOISE}
    return real(url)

lists.one_and_others = noisy
from tikhub_mcp.cli.main import main
main([])
"""


@pytest.mark.parametrize(
    ("code", "start"), [(AT_IMPORT, subprocess.Popen), (IN_A_CALL, Forked)], ids=["at import", "in a call"]
)
def test_only_protocol_reaches_standard_output(
    environment: Environment, tmp_path: Path, code: str, start: type[Process]
) -> None:
    log = tmp_path / "log"
    with Wire(environment, log, [sys.executable, "-c", code], start) as wire:
        wire.shake_hands()  # each line is held to the protocol
        assert wire.call(1, "download_video", {"url": link("tiktok"), "metrics_only": True})["status"] == "ok"
        assert wire.end()[0] == 0
    assert wire.heard == []
    logged = log.read_text(encoding="utf-8")
    assert [logged.count(noise) for noise in ("printed noise", "noise of a descriptor", "noise of a child")] == [
        1,
        1,
        1,
    ]
