"""csv_cells.py: values as a line of CSV, held to the standard library's reader and to what each text is made into
alone."""

import csv
import io
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary.csv_cells import MAX_CELL_UNITS, fitting, line, safe

INVISIBLE = [
    *"\x01\x1b\x7f\x9b\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200d\u200e\u202e\u2060\u2066\u2800\u3164\ufe0f\ufeff\uffa0\U000e0041"
]
BLANKS = [char for char in map(chr, range(0x3001)) if char.isspace()]
# Whatever a formula may begin with, hide behind, or be mistaken for, and what JSON or CSV escapes.
SIGNS = [*INVISIBLE, *"=+-@＝＋－＠\"'\\|!,;aé不🚤\0\x01\x7f/u0", *BLANKS]
TEXTS = st.text(st.sampled_from(SIGNS), max_size=6)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXTS


def read(values: list[Json]) -> list[str]:
    """What a reader of CSV finds in the line."""
    (cells,) = csv.reader(io.StringIO(line(values).decode(), newline=""))
    return cells


def written(value: Json) -> str:
    """What should be in a cell."""
    if isinstance(value, str):
        return safe(value)
    return "" if value is None else str(value).lower()


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(VALUES, min_size=2, max_size=6))
def test_a_line_holds_what_each_value_gives_alone(values: list[Json]) -> None:
    assert read(values) == [written(value) for value in values]


@pytest.mark.parametrize("trigger", "=+-@＝＋－＠")
def test_no_text_runs_whatever_it_hides_behind(trigger: str) -> None:
    for before in ["", *BLANKS, *INVISIBLE, '\ufeff \u200b"\xad', '"', ' "', '\u3000\xa0"\x1c\x85\u2028']:
        formula = f"{before}{trigger}1+1"
        assert read(["a", formula, formula]) == ["a", f"'{formula}", f"'{formula}"]


@pytest.mark.parametrize("text", [*"\t\r\n", "a|'/C calc'!A0", "\0=1", "a\0|'b'!", "\\=1\0"], ids=ascii)
def test_what_has_to_be_looked_at_closely_is(text: str) -> None:
    plain = text.replace("\0", "")
    assert read([text, 1]) == [plain if plain.startswith("\\") else f"'{plain}", "1"]


@pytest.mark.parametrize(
    "text",
    ["a=1", "1-1", "a@b", ",=", '",=1', "\\=", "|", "a|b", "'", '"a"', " a", "\xa0a", "\ufeffa", "\u200b1-1", "ㅤ한국어"],
)
def test_what_cannot_run_stays_as_it_is(text: str) -> None:
    assert read([text, text]) == [text, text]


@pytest.mark.parametrize("more", [0, 1, 5000])
@pytest.mark.parametrize("sign", ["a", "不", "🚤", "="])
def test_a_text_ends_where_a_cell_does(sign: str, more: int) -> None:
    width = len(sign.encode("utf-16-le")) // 2
    cell, _ = read([sign * (MAX_CELL_UNITS // width + more), None])
    assert len(cell.encode("utf-16-le")) <= 2 * MAX_CELL_UNITS
    assert cell == fitting(("'" if sign == "=" else "") + sign * (MAX_CELL_UNITS // width + more))


@pytest.mark.slow
def test_no_character_that_does_not_show_hides_a_formula() -> None:
    categories = ("Cc", "Cf", "Zl", "Zp", "Zs")
    hidden = [char for char in map(chr, range(1, sys.maxunicode + 1)) if unicodedata.category(char) in categories]
    assert [char for char in hidden if not safe(f"{char}=1+1").startswith("'")] == []
    assert [char for char in hidden if not line([f"{char}=1+1"]).startswith(b"\"'")] == []
