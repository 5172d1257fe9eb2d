"""outputs.py: all rows in a temporary file."""

from pathlib import Path

from tikhub_mcp.summary.outputs import CHUNK, Spool
from tikhub_mcp.summary.rows import Row


def test_rows_come_back_in_any_order_with_whether_they_are_the_newest(tmp_path: Path) -> None:
    long = "x" * CHUNK
    made: list[Row] = [
        {"number": number, "text": f'{number}"不 🚤\r\n{long}', "parse_ok": number != 2, "is_latest": None}
        for number in range(5)
    ]
    with Spool(tmp_path) as spool:
        for row in made:
            spool.add(row)
        assert len(spool) == 5
        assert [spool[number] for number in (4, 0, 3)] == [made[4], made[0], made[3]]
        found = list(spool.rows([1, 2, 4], {1, 2}))
        assert [row["is_latest"] for row in found] == [True, None, False]
        assert [row | {"is_latest": None} for row in found] == [made[1], made[2], made[4]]


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        assert list(spool.rows(range(len(spool)), ())) == []
