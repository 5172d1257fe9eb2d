"""lifetime.py: however the server ends, it is gone in time, and nothing half-made is left."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tikhub_mcp.jobs.scheduler import LOCK_NAME
from tikhub_mcp.jobs.worker import MAX_TRANSFERS
from tikhub_mcp.sandbox import Sandbox, good_links
from tikhub_mcp.stdio import lifetime
from tikhub_mcp.storage.database import INDEX_NAME

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and process groups as POSIX has them")

MESSAGES = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "a-client", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "batch_download", "arguments": {"urls": good_links(MAX_TRANSFERS)}},
    },
)
LINES = b"".join(json.dumps(message).encode() + b"\n" for message in MESSAGES)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(media_bytes_per_second=20_000) as running:  # a download takes 8 s
        yield running


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    ours = {"TIKHUB_API_KEY": "a-key", "TIKHUB_BASE_URL": sandbox.base_url, "TIKHUB_OUTPUT_DIR": str(tmp_path)}
    return {**os.environ, **ours}


def files(folder: Path) -> list[str]:
    """What is there, beside what servers that share a folder keep for each other."""
    names = (path.name for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != LOCK_NAME and not name.startswith(INDEX_NAME))


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def downloading(folder: Path) -> int:
    return sum(name.endswith(".part") and ".mp4." in name for name in files(folder))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_ten_downloads_within_two_seconds_without_a_part_and_with_the_paid_answers(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tikhub_mcp"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, cwd="/"
    ) as server:
        assert server.stdin is not None
        server.stdin.write(LINES)
        server.stdin.flush()
        assert wait_until(lambda: downloading(tmp_path) == MAX_TRANSFERS, 15)
        server.send_signal(number)
        assert server.wait(2) == 128 + number
    left = files(tmp_path)
    assert len(left) == MAX_TRANSFERS
    assert all(name.startswith("raw_") for name in left)


def test_a_dead_parent_ends_it_within_five_seconds_although_somebody_else_holds_its_pipe(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # The parent starts the server on a pipe whose writing end this process holds as well, and is then killed.
    reading, writing = os.pipe()
    script = (
        "import subprocess, sys, time\n"
        "server = subprocess.Popen([sys.executable, '-m', 'tikhub_mcp'], stdin=0, stdout=subprocess.DEVNULL)\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=reading, stdout=subprocess.PIPE, env=environment, cwd="/"
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.write(writing, LINES)
        assert wait_until(lambda: downloading(tmp_path) == MAX_TRANSFERS, 15)
        parent.kill()
        parent.wait()
        gone = wait_until(lambda: not is_running(pid), 5)
    os.close(reading)
    os.close(writing)
    assert gone
    assert not downloading(tmp_path)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a zombie that nobody buried has ended, too
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_garbage_is_collected_again_after_the_imports_and_after_one_that_fails() -> None:
    with lifetime.importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), lifetime.importing():
        raise ImportError
    assert gc.isenabled()
