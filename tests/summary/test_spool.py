"""spool.py: rows as text on disk, whatever a disk gives and takes at once."""

from pathlib import Path
from typing import Any

import pytest

from tikhub_mcp.errors import NotWritable
from tikhub_mcp.summary.csv_cells import MAX_DEPTH
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.spool import Spool

LAST = [False, True, None]


def rows(count: int, text: str = "不 🚤\r\n") -> list[Row]:
    return [{"number": number, "text": f'{number}"{text}', "is_latest": None} for number in range(count)]


def filled(made: list[Row], last: bytes) -> list[Row]:
    return [row | {"is_latest": LAST[value]} for row, value in zip(made, last, strict=True)]


def test_rows_come_back_in_order_alone_and_in_blocks(tmp_path: Path) -> None:
    made = rows(197, "x" * 3000)
    last = bytes(number % 3 for number in range(len(made)))
    with Spool(tmp_path) as spool:
        spool.add(made[:100])
        spool.add([])
        spool.add(made[100:])
        blocks = list(spool.written(last))
        assert [row for block in blocks for row in block.rows()] == filled(made, last)
        assert [block.count for block in blocks] == [100, 97]
        assert b"".join(block.csv for block in blocks).count(b"\r\n") == len(made)
        assert [spool[number] for number in (0, 99, 100, len(made) - 1)] == [made[0], made[99], made[100], made[-1]]


def test_what_is_gone_from_the_disk_is_not_passed_over(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(rows(10))
        assert spool[9]["number"] == 9
        spool._file.truncate(100)
        with pytest.raises(NotWritable):
            list(spool.written(bytes(10)))


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
