"""Processes killed at any moment leave whole files; what else they leave is swept once it is a day old."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fault_server import Faulty
from tests.support.killed_processes import Nursery, Yard, kill_many
from tests.support.raw_answers import age
from tikhub_mcp.errors import NotWritable
from tikhub_mcp.storage.atomic import STALE_SECONDS, Part, make_folder, os_errors, sweep

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="Windows has no fork"), pytest.mark.slow]


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Faulty() as server:
        yield Yard(tmp_path, server)


@pytest.mark.parametrize("worker", ["download", "photos", "write"])
def test_whenever_a_process_is_killed_every_file_under_its_name_is_whole(yard: Yard, worker: str) -> None:
    tally, corrupt = kill_many(yard, kills=10, seed=20, workers=(worker,))
    assert corrupt == []
    if worker != "write":  # its files stay, so more were checked than the two summaries that are there before
        assert tally["checked"] > 2 * tally["kills"]
    assert tally["left"] == tally["swept"] > 0  # it was killed in the middle of a file, at least once
    assert not yard.parts


def left_by_a_kill(yard: Yard) -> Path:
    with Nursery(yard) as nursery, nursery.worker("hold"):
        wait_for_a_part(yard)
    [part] = yard.parts
    return part


def wait_for_a_part(yard: Yard) -> None:
    end = time.monotonic() + 10
    while not [part for part in yard.parts if part.stat().st_size]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_part_that_a_killed_process_left_goes_at_the_next_start_once_it_is_a_day_old(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = left_by_a_kill(yard)
    for seconds, there in ((0.0, True), (STALE_SECONDS - 60, True), (STALE_SECONDS + 60, False)):
        age(part, seconds)
        monkeypatch.setattr("tikhub_mcp.storage.atomic._swept", set())  # a process that has just been started
        make_folder(part.parent)
        assert part.exists() is there


def test_a_part_that_is_written_to_stays_and_one_that_is_swept_all_the_same_leaves_the_target_alone(
    tmp_path: Path,
) -> None:
    target = tmp_path / "video.mp4"
    target.write_bytes(b"whole")
    with Part(target) as part:
        age(part.path, 2 * STALE_SECONDS)
        part.file.write(b"more")
        sweep(tmp_path)
        assert part.path.exists()
    with Part(target) as part:
        age(part.path, 2 * STALE_SECONDS)
        sweep(tmp_path)
        with pytest.raises(NotWritable), os_errors(target):
            part.commit()
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(target, b"whole")]
