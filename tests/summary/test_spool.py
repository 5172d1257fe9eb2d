"""spool.py: rows as text on disk, whatever a disk gives and takes at once."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tikhub_mcp.errors import NotWritable
from tikhub_mcp.summary.csv_cells import MAX_DEPTH
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.spool import BLOCK, CHUNK, Spool

LAST = [False, True, None]


def rows(count: int, text: str = "不 🚤\r\n") -> list[Row]:
    return [{"number": number, "text": f'{number}"{text}', "is_latest": None} for number in range(count)]


def filled(made: list[Row], last: bytes) -> list[Row]:
    return [row | {"is_latest": LAST[value]} for row, value in zip(made, last, strict=True)]


class Stingy:
    """A file that takes and gives a few bytes at a time."""

    def __init__(self, **how: Any) -> None:  # noqa: ANN401 - what tempfile takes
        self._file = tempfile.NamedTemporaryFile(dir=how["dir"], buffering=0)  # noqa: SIM115 - closed by the spool

    def write(self, some: memoryview) -> int:
        return self._file.write(some[:1000])

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 700))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a file has
        return getattr(self._file, name)


@pytest.fixture
def stingy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tikhub_mcp.summary.spool.tempfile.TemporaryFile", Stingy)


@pytest.mark.usefixtures("stingy")
def test_no_row_is_lost_where_the_disk_takes_and_gives_little_at_a_time(tmp_path: Path) -> None:
    made = rows(3 * BLOCK + 5, "x" * 3000)
    last = bytes(number % 3 for number in range(len(made)))
    with Spool(tmp_path) as spool:
        spool.add(made[:100])
        spool.add(made[100:])
        blocks = list(spool.written(last))
        assert [row for block in blocks for row in block.rows()] == filled(made, last)
        assert b"".join(block.csv for block in blocks).count(b"\r\n") == len(made)
        assert [spool[number] for number in (0, 99, 100, len(made) - 1)] == [made[0], made[99], made[100], made[-1]]


def test_what_is_gone_from_the_disk_is_not_passed_over(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(rows(10))
        assert spool[9]["number"] == 9
        spool._json._file.truncate(100)
        with pytest.raises(NotWritable):
            list(spool.written(bytes(10)))


@pytest.mark.parametrize(("size", "most"), [(10, BLOCK), (CHUNK // 4, 3), (3 * CHUNK, 1)])
def test_a_block_has_so_many_rows_or_so_many_bytes(tmp_path: Path, size: int, most: int) -> None:
    made = rows(2 * BLOCK + 1, "x" * size)
    with Spool(tmp_path) as spool:
        for row in made:
            spool.add([row])
        counts = [block.count for block in spool.written(bytes(len(made)))]
    assert sum(counts) == len(made)
    assert set(counts[:-1]) == {most}


def test_only_the_column_is_filled_in_and_nothing_that_looks_like_it(tmp_path: Path) -> None:
    row = {"first": {"is_latest": None}, "text": '"is_latest": null', "is_latest": None, "link": '"is_latest": null'}
    with Spool(tmp_path) as spool:
        spool.add([row, row])
        [block] = spool.written(bytes([1, 0]))
        assert block.rows() == [row | {"is_latest": True}, row | {"is_latest": False}]
        assert [line.split(b",")[-2] for line in block.csv.splitlines()] == [b"true", b"false"]
        assert spool[1] == row


def test_no_rows_are_no_blocks(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add([])
        assert list(spool.written(b"")) == []


@pytest.mark.parametrize("kind", [list, dict])
def test_what_is_nested_too_deeply_is_refused_and_nothing_is_added(tmp_path: Path, kind: type) -> None:
    value: Any = None
    for _ in range(MAX_DEPTH):
        value = [value] if kind is list else {"a": value}
    with Spool(tmp_path) as spool:
        spool.add([{"number": value, "is_latest": None}])
        with pytest.raises(RecursionError):
            spool.add([*rows(3), {"number": [value], "is_latest": None}])
        assert len(spool) == 1
        assert spool[0]["number"] == value
