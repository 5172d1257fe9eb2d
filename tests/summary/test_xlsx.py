"""xlsx.py, opened again by other programs: openpyxl, and LibreOffice as a person has it."""

import errno
import gc
import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from openpyxl import load_workbook
from openpyxl.cell.cell import Cell
from openpyxl.utils.escape import unescape
from openpyxl.workbook.workbook import Workbook as Book
from openpyxl.worksheet.worksheet import Worksheet

from tests.support.payloads import envelope, private_answer, tiktok_post
from tests.support.summary_faults import FORMULAS, Full, poisoned
from tests.support.summary_inputs import answer, lines, rows, save_all
from tikhub_mcp.errors import DiskFull, InvalidInput, NotWritable
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.summary import xlsx
from tikhub_mcp.summary.columns import COLUMNS
from tikhub_mcp.summary.history import HISTORY
from tikhub_mcp.summary.rows import Row
from tikhub_mcp.summary.summarize import XLSX_NAME, Summary, summarize
from tikhub_mcp.summary.xlsx import HISTORY_COLUMNS, POSTS

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

SOFFICE = shutil.which("soffice")
IDS = ("aweme_id", "author_uid", "author_sec_uid", "author_unique_id", "music_id", "request_id")
WIDE = 32_767  # UTF-16 units that a cell holds


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing stays there, whatever happens."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def collected() -> Iterator[None]:
    """What a workbook that was given up left open is closed here, and not within whatever comes next."""
    yield
    gc.collect()


def made(tmp_path: Path, answers: dict[str, Json] | list[Json]) -> tuple[Book, Summary]:
    """The workbook of these answers as openpyxl has it, and what else was made of them."""
    done = summarize(save_all(tmp_path / "raw", answers), tmp_path / "out", ("csv", "json", "xlsx"))
    return load_workbook(done.paths["xlsx"]), done


def cells(sheet: Worksheet, number: int = 2) -> dict[str, Cell]:
    """A row's cells by the names of their columns."""
    found = [cell for cell in sheet[number] if isinstance(cell, Cell)]
    return dict(zip((str(cell.value) for cell in sheet[1]), found, strict=True))


def target(cell: Cell) -> str | None:
    """Where a click on the cell leads."""
    return cell.hyperlink.target if cell.hyperlink else None


def first(tmp_path: Path, value: Json) -> dict[str, Cell]:
    """The cells of the one row that this answer gives."""
    return cells(made(tmp_path, [value])[0]["Posts"])


def each(tmp_path: Path, values: list[Json]) -> list[dict[str, Cell]]:
    """The cells of the rows that these answers give."""
    sheet = made(tmp_path, values)[0]["Posts"]
    return [cells(sheet, number) for number in range(2, len(values) + 2)]


def text_of(cell: Cell) -> str:
    """What a cell shows: what XML cannot hold stands in it as _xHHHH_."""
    return unescape(str(cell.value))


MIXED: dict[str, Json] = {
    "a.json": answer("7300000000000000001", 0, digg_count=1_234_567),
    "b.json": answer("7300000000000000001", 1.5, digg_count=1_300_000),
    "c.json": answer("007", None, douyin=True, desc="河上的纸船 \U0001f6a3\u200d♀️ שלום"),
    "d.json": private_answer(),
    "e.json": b"",
}


# Sheets


def test_the_sheets_are_posts_history_and_columns(tmp_path: Path) -> None:
    book, _ = made(tmp_path, MIXED)
    assert book.sheetnames == ["Posts", "History", "Columns"]
    assert [cell.value for cell in book["Posts"][1]] == list(POSTS)
    assert [cell.value for cell in book["History"][1]] == list(HISTORY_COLUMNS)
    assert (sorted(POSTS), sorted(HISTORY_COLUMNS)) == (sorted(COLUMNS), sorted(HISTORY))
    assert POSTS[:5] == ("author_nickname", "desc", "create_time_unix", "platform", "play_count")
    assert book["History"].sheet_state == "visible"


def test_without_history_its_sheet_is_hidden(tmp_path: Path) -> None:
    book, _ = made(tmp_path, [answer("1"), answer("2"), b""])
    assert {name: book[name].sheet_state for name in book.sheetnames} == {
        "Posts": "visible",
        "History": "hidden",
        "Columns": "visible",
    }
    assert book["History"].max_row == 1


def test_the_header_stays_in_sight_and_the_filter_lies_over_all_rows(tmp_path: Path) -> None:
    book, _ = made(tmp_path, MIXED)
    assert [book[name].freeze_panes for name in book.sheetnames] == ["B2", "B2", "A2"]
    assert [book[name].auto_filter.ref for name in ("Posts", "History")] == ["A1:BH6", "A1:Z3"]
    assert all(cell.font.b for name in book.sheetnames for cell in book[name][1])


def test_columns_are_as_wide_as_what_they_hold(tmp_path: Path) -> None:
    with zipfile.ZipFile(made(tmp_path, MIXED)[1].paths["xlsx"]) as parts:
        posts = parts.read("xl/worksheets/sheet1.xml").decode()
    spans = [piece.split('"')[:6] for piece in posts.split('<col min="')[1:]]
    widths = {number: float(span[4]) for span in spans for number in range(int(span[0]), int(span[2]) + 1)}
    named = dict(zip(POSTS, (widths[number] for number in range(1, len(POSTS) + 1)), strict=True))
    assert all(width > len(name) for name, width in named.items())
    assert min(named.values()) >= 12
    assert named["aweme_id"] > len("7300000000000000001")
    assert named["as_of"] > len("2025-10-09 08:53:20")
    assert named["create_time_unix"] > len("2025-10-09 08:53:20")
    assert named["desc"] == max(named.values())


def test_the_last_sheet_says_what_every_column_of_the_others_means(tmp_path: Path) -> None:
    book, _ = made(tmp_path, MIXED)
    header, *meanings = book["Columns"].iter_rows(values_only=True)
    assert header == ("column", "meaning", "comes from")
    told = {str(name): (str(meaning), source) for name, meaning, source in meanings}
    assert len(told) == len(meanings)
    assert told.keys() == {*COLUMNS, *HISTORY}
    assert told["play_count"][0].startswith("Plays, as the API counts them")
    assert told["digg_count_per_day"] == ("That change, per day", "tikhub-mcp")
    ours = {"source_file", "parse_ok", "error", "platform", "as_of", "engagement_rate", "is_latest", "link"}
    ours |= {"kind", "image_count", "clip_count"}
    api = {name for name, (_, source) in told.items() if source == "the API"}
    assert api == set(COLUMNS) - ours


def test_headings_and_meanings_are_chinese_where_the_locale_is_and_the_csv_keeps_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    book, done = made(tmp_path, MIXED)
    assert book.sheetnames == ["作品", "历史", "列说明"]
    header, *meanings = book["列说明"].iter_rows(values_only=True)
    assert header == ("列", "含义", "来源", "CSV 和 JSON 中的列名")
    by_name = {name: heading for heading, _, _, name in meanings}
    assert [cell.value for cell in book["作品"][1]] == [by_name[name] for name in POSTS]
    assert [cell.value for cell in book["历史"][1]] == [by_name[name] for name in HISTORY_COLUMNS]
    assert len({*by_name.values()}) == len(by_name)
    assert by_name["digg_count_per_day"] == "点赞每天变化"
    assert all(
        re.search("[\u4e00-\u9fff]", f"{heading}") and re.search("[\u4e00-\u9fff]", f"{meaning}")
        for heading, meaning, _, _ in meanings
    )
    csv = done.paths["csv"].read_text(encoding="utf-8-sig")
    assert csv.splitlines()[0] == ",".join(COLUMNS)


# Cells


def shown(column: str, value: Json) -> Json:
    """What a cell holds where the JSON has this value."""
    if value in (None, "") and not isinstance(value, bool):
        return None
    if column == "create_time_unix":
        return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)
    if column == "as_of":
        return datetime.fromisoformat(value).replace(tzinfo=None)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def for_people(row: Row) -> Row:
    """The row without Douyin's plays, which are not reported."""
    return row | ({"play_count": None} if row["platform"] == "douyin" else {})


@pytest.mark.parametrize("douyin", [False, True])
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0), (None, None, None)),
        (("0", 0.0, 0), (None, None, None)),
        ((0, 34, 0), (0, 34, 0)),
        ((0, None, 0), (0, None, 0)),
    ],
)
def test_counts_of_an_author_that_are_all_0_are_blank_in_the_workbook_and_0_in_the_tables(
    tmp_path: Path, douyin: bool, counts: tuple[Json, ...], expected: tuple[Json, ...]
) -> None:
    names = ("follower_count", "following_count", "aweme_count")
    book, done = made(tmp_path, [answer("1", douyin=douyin, author=dict(zip(names, counts, strict=True)))])
    assert tuple(cells(book["Posts"], 2)[f"author_{name}"].value for name in names) == expected
    assert tuple(rows(done.paths["json"])[0][f"author_{name}"] for name in names) == counts


def test_every_cell_holds_what_the_json_holds_but_for_what_is_not_reported(tmp_path: Path) -> None:
    book, done = made(tmp_path, MIXED)
    found = [[cell.value for cell in row] for row in book["Posts"].iter_rows(min_row=2)]
    expected = [[shown(name, row[name]) for name in POSTS] for row in map(for_people, rows(done.paths["json"]))]
    assert found == expected
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in expected]


def test_a_text_of_several_lines_stands_in_one_row_of_ordinary_height(tmp_path: Path) -> None:
    book, _ = made(tmp_path, [answer("1", desc="One\ntwo"), answer("2", desc="One")])
    found = [
        (cell["desc"].value, cell["desc"].alignment.wrap_text) for cell in map(partial(cells, book["Posts"]), (2, 3))
    ]
    assert found == [("One\ntwo", True), ("One", None)]
    assert [book["Posts"].row_dimensions[number].height for number in (2, 3)] == [15.75, None]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "1899-12-31T00:00:00Z", "1900-02-28T00:00:00Z"])
def test_a_time_before_the_first_date_of_spreadsheets_stays_a_text(tmp_path: Path, text: str) -> None:
    assert first(tmp_path, answer("1", create_time=text))["create_time_unix"].value == text


def test_the_second_sheet_holds_what_the_history_holds(tmp_path: Path) -> None:
    book, done = made(tmp_path, MIXED)
    numbers = [name for name in HISTORY if name.endswith(("_count", "_change", "_per_day", "_previous", "_rate"))]
    expected = lines(done.paths["history"])
    assert len(expected) == book["History"].max_row - 1 == 2
    for at, line in enumerate(expected, 2):
        row = cells(book["History"], at)
        assert {name: row[name].value for name in numbers} == {
            name: float(line[name]) if line[name] else None for name in numbers
        }
        assert (row["aweme_id"].value, row["is_latest"].value) == (line["aweme_id"], line["is_latest"] == "true")
        assert row["as_of"].value == datetime.fromisoformat(line["as_of"]).replace(tzinfo=None)
    assert row["digg_count_change"].value == 65_433


def test_ids_are_text_also_where_they_came_as_numbers(tmp_path: Path) -> None:
    ids = {"uid": 2**60 + 1, "unique_id": 12, "sec_uid": 34}
    post = tiktok_post(aweme_id=7_300_000_000_000_000_001, author=ids, music={"mid": 2**61 + 1})
    row = first(tmp_path, envelope(post, request_id=5))
    found = {name: (row[name].data_type, row[name].value) for name in IDS}
    assert found == {
        "aweme_id": ("s", "7300000000000000001"),
        "author_uid": ("s", str(2**60 + 1)),
        "author_sec_uid": ("s", "34"),
        "author_unique_id": ("s", "12"),
        "music_id": ("s", str(2**61 + 1)),
        "request_id": ("s", "5"),
    }


TIMES: list[tuple[Json, Json]] = [
    (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20)),  # noqa: DTZ001 - a workbook's dates have no zone
    ("1700000000", datetime(2023, 11, 14, 22, 13, 20)),  # noqa: DTZ001
    (1, datetime(1970, 1, 1, 0, 0, 1)),  # noqa: DTZ001
    (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59)),  # noqa: DTZ001
    (253_402_300_800, 253_402_300_800),
    (0, 0),
    (-5, -5),
    (1_700_000_000.5, 1_700_000_000.5),
    ("soon", "soon"),
    (True, True),
    ([1], "[1]"),
    (None, None),
]


def test_a_time_is_a_date_and_what_is_none_stays_what_it_is(tmp_path: Path) -> None:
    posts = [envelope(tiktok_post(aweme_id=str(at), create_time=stamp)) for at, (stamp, _) in enumerate(TIMES, 1)]
    found = [row["create_time_unix"] for row in each(tmp_path, posts)]
    assert [(cell.value, type(cell.value)) for cell in found] == [(value, type(value)) for _, value in TIMES]
    assert [cell.is_date for cell in found] == [isinstance(value, datetime) for _, value in TIMES]


@pytest.mark.parametrize("stamp", ["Z", "soonZ", "2025-13-01T00:00:00Z"])
@pytest.mark.usefixtures("collected")
def test_a_text_that_looks_like_a_date_at_its_end_only_does_not_end_the_summary(tmp_path: Path, stamp: str) -> None:
    assert first(tmp_path, envelope(tiktok_post(create_time=stamp)))["create_time_unix"].value == stamp


def test_numbers_and_dates_are_shown_as_people_read_them(tmp_path: Path) -> None:
    book, _ = made(tmp_path, MIXED)
    row, line = cells(book["Posts"]), cells(book["History"], 3)
    formats = {
        "digg_count": "#,##0",
        "engagement_rate": "0.00%",
        "as_of": "yyyy-mm-dd hh:mm:ss",
        "create_time_unix": "yyyy-mm-dd hh:mm:ss",
        "aweme_id": "General",
    }
    assert {name: row[name].number_format for name in formats} == formats
    assert {name: line[name].number_format for name in ("digg_count_change", "digg_count_per_day")} == {
        "digg_count_change": "#,##0",
        "digg_count_per_day": "#,##0.0",
    }
    assert {row[name].data_type for name in ("parse_ok", "is_ads", "is_latest")} == {"b"}


NUMBERS: list[tuple[Json, Json]] = [
    (10**15 - 1, 10**15 - 1),
    (10**15, str(10**15)),
    (-(10**15), str(-(10**15))),
    (2**53 + 1, str(2**53 + 1)),
    (2**64, str(2**64)),
    (10**3000, str(10**3000)),
    (1.5e308, "1.5e+308"),
    (-5, -5),
    (0, 0),
    (0.5, 0.5),
    ("12", "12"),
]


def test_a_number_with_more_digits_than_a_spreadsheet_keeps_is_text(tmp_path: Path) -> None:
    posts = [answer(str(at), digg_count=number) for at, (number, _) in enumerate(NUMBERS, 1)]
    found = [(row["digg_count"].value, row["digg_count"].data_type) for row in each(tmp_path, posts)]
    assert found == [(value, "s" if isinstance(value, str) else "n") for _, value in NUMBERS]


# Texts


def test_what_looks_like_a_formula_is_text_and_is_not_changed(tmp_path: Path) -> None:
    formulas = [*FORMULAS, "+x", "@SUM(1)", "=1+1", "{=1+1}", "'=1+1"]
    book, done = made(tmp_path, [poisoned(formula) for formula in formulas])
    for number, (formula, row) in enumerate(zip(formulas, rows(done.paths["json"]), strict=True), 2):
        texts, found = [name for name, value in row.items() if value == formula], cells(book["Posts"], number)
        assert len(texts) >= 18
        assert {(found[name].data_type, text_of(found[name])) for name in texts} == {("s", formula)}
    with zipfile.ZipFile(done.paths["xlsx"]) as parts:
        assert not [name for name in parts.namelist() if b"<f>" in parts.read(name)]


def test_every_text_comes_back_as_it_was(tmp_path: Path) -> None:
    given = [
        "a\x00b\x01c\x1f\x7f",
        "a\r\nb\rc\nd\te",
        "_x0041_ and _x005F_",
        "\ufffe\uffff\ufeff",
        "\U0001f6a3\u200d♀️ שלום \u202e纸船\u2028",
        "  blanks  ",
        "<b>&amp;'\"]]>",
    ]
    found = each(tmp_path, [answer(str(at), content_desc=text) for at, text in enumerate(given, 1)])
    assert [text_of(row["content_desc"]) for row in found] == given


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("長" * 40_000, "長" * WIDE),
        ("=" * 40_000, "=" * WIDE),
        ("x" + "\U0001f6a3" * 20_000, "x" + "\U0001f6a3" * 16_383),
        ("\U0001f6a3" * 20_000, "\U0001f6a3" * 16_383),
        ("\x01" * 40_000, "\x01" * WIDE),
    ],
    ids=["wide", "formula", "two units each", "half a pair at the end", "control characters"],
)
def test_a_text_is_cut_to_what_a_cell_holds(tmp_path: Path, text: str, expected: str) -> None:
    assert text_of(first(tmp_path, answer("1", content_desc=text))["content_desc"]) == expected


# Links


def followed(tmp_path: Path, links: list[str]) -> list[str | None]:
    """Where clicks on the cells of these links lead."""
    found = [row["link"] for row in each(tmp_path, [answer(str(at), link=link) for at, link in enumerate(links, 1)])]
    assert [text_of(cell) for cell in found] == links
    return [target(cell) for cell in found]


def test_links_can_be_followed_and_those_that_give_the_answer_away_are_none(tmp_path: Path) -> None:
    row = first(tmp_path, envelope(tiktok_post()))
    for name in ("link", "cover_url", "play_url_sample"):
        assert target(row[name]) == row[name].value
    assert str(row["cache_url"].value).startswith("https://cache.example/")
    assert [name for name, cell in row.items() if cell.hyperlink] == ["link", "cover_url", "play_url_sample"]


def test_links_of_any_allowed_length_and_script_can_be_followed(tmp_path: Path) -> None:
    links = ["https://a.example/" + "x" * 2061, "http://a.example/?a=1&b=2", "https://纸船.example/"]
    assert followed(tmp_path, links) == links


def test_links_that_are_odd_or_too_long_are_plain_text(tmp_path: Path) -> None:
    links = [
        "https://a.example/" + "x" * 2062,
        "https://a.example/a b",
        "https://a.example/\n",
        "javascript:alert(1)",
        "internal:Columns!A1",
        "external:c:\\windows\\calc.exe",
        "file:///etc/passwd",
        "\\\\evil.example\\share",
        "mailto:a@b.example",
        "HTTPS://a.example/",
        "5",
    ]
    assert followed(tmp_path, links) == [None] * len(links)


@pytest.mark.parametrize(
    "odd", ["\x01", "\x00", "\ufffe", "\U0001f6a3" * 1040], ids=["control", "NUL", "nonchar", "two units each"]
)
@pytest.mark.usefixtures("collected")
def test_links_with_what_a_workbook_cannot_hold_are_plain_text(tmp_path: Path, odd: str) -> None:
    assert followed(tmp_path, [f"https://a.example/{odd}"]) == [None]


def test_a_sheet_has_no_more_links_than_excel_bears_and_the_rest_is_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "MAX_HYPERLINKS", 4)
    book, done = made(tmp_path, [answer(str(number)) for number in range(3)])
    found = [cell for row in book["Posts"].iter_rows(min_row=2) for cell in row if cell.hyperlink]
    assert len(found) == 4
    assert [cells(book["Posts"], at)["link"].value for at in (2, 3, 4)] == ["https://vm.example/ABC/"] * 3
    assert cells(book["Posts"], 4)["play_url_sample"].value == rows(done.paths["json"])[2]["play_url_sample"]


# What cannot be written


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.usefixtures("collected")
def test_more_rows_than_a_sheet_holds_are_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROWS", 4 if fits else 3)  # its header is one of them
    answers: list[Json] = [answer(str(number)) for number in range(3)]
    if fits:
        assert made(tmp_path, answers)[0]["Posts"].max_row == 4
        return
    with pytest.raises(InvalidInput, match="no more than 3 rows: leave the format xlsx out"):
        made(tmp_path, answers)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("writes", [0, 1, 5, 20])
@pytest.mark.usefixtures("collected")
def test_a_full_disk_leaves_the_old_workbook_and_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    _, done = made(tmp_path, [answer("1")])
    before, fdopen, source = done.paths["xlsx"].read_bytes(), os.fdopen, save_all(tmp_path / "raw", MIXED)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda *arguments, **named: Full(fdopen(*arguments, **named), writes))
        with pytest.raises(DiskFull):
            summarize(source, tmp_path / "out", ["xlsx"])
    assert done.paths["xlsx"].read_bytes() == before
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".json", ".xlsx"}


class Short(Full):
    """A file of which a write takes a part only, as it may."""

    def write(self, content: bytes) -> Json:
        return self.file.write(content[: self.writes])


@pytest.mark.usefixtures("collected")
def test_a_write_that_takes_only_a_part_is_followed_by_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *arguments, **named: Short(fdopen(*arguments, **named), 1000))
    assert made(tmp_path, MIXED)[0].sheetnames == ["Posts", "History", "Columns"]


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def on_full_disk(dir: str) -> tuple[int, str]:  # noqa: A002 - mkstemp's own name for it
    """A temporary file that takes nothing."""
    name = Path(dir) / f"temporary-{len(list(Path(dir).iterdir()))}"
    name.symlink_to("/dev/full")
    return os.open(name, os.O_RDWR), str(name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to offer")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize(
    ("call", "instead"), [("TemporaryDirectory", full), ("mkstemp", full), ("mkstemp", on_full_disk)]
)
def test_a_full_disk_for_temporary_files_is_said_to_be_one_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, instead: Json
) -> None:
    source = save_all(tmp_path / "raw", [answer("1")])
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, call, instead)
        with pytest.raises(DiskFull):
            summarize(source, tmp_path / "out", ["xlsx"])
    assert list((tmp_path / "out").iterdir()) == []


def open_in(folder: Path) -> list[str]:
    """What this process holds open in a folder, or in one that was there."""
    held = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]  # but the one to this folder itself
    return [name for name in (str(link.readlink()) for link in held) if str(folder) in name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell what is open")
@pytest.mark.usefixtures("collected")
def test_a_workbook_that_is_given_up_holds_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROWS", 1)
    with pytest.raises(InvalidInput) as caught:
        made(tmp_path, [answer("1")])
    assert caught.value.code == "invalid_input"  # whose traceback holds the workbook
    assert open_in(temporary) == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_replaced_by_a_workbook(tmp_path: Path, make: Json) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / XLSX_NAME)
    with pytest.raises(NotWritable):
        made(tmp_path, MIXED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [XLSX_NAME]


# As a person has it


def converted(workbook_path: Path, folder: Path) -> Path:
    """Each sheet as LibreOffice shows it: a CSV with quotes around what is text there, and none around the rest."""
    shape = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true,true,false,false,false,-1"
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = [str(SOFFICE), profile, "--headless", "--convert-to", shape, "--outdir", str(folder), str(workbook_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return folder


CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])')


def read(path: Path) -> list[list[tuple[bool, str]]]:
    """The rows of such a CSV; of each cell whether it is text, and what it shows."""
    found: list[list[tuple[bool, str]]] = [[]]
    for text, other, end in CELL.findall(path.read_bytes().decode()):
        found[-1].append((bool(text), text.replace('""', '"') or other))
        if end == "\n":
            found.append([])
    return found[:-1]


def displayed(column: str, value: Json) -> tuple[bool, str]:
    """The same for what the JSON holds."""
    held = shown(column, value)
    if held is None:
        return False, ""
    if column == "engagement_rate":
        return False, f"{100 * held:.4f}".rstrip("0") + "%"
    return isinstance(held, str), str(held).upper() if isinstance(held, bool) else str(held)


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_libreoffice_shows_the_same_values_and_runs_none_of_the_texts(tmp_path: Path) -> None:
    answers = [poisoned(formula) for formula in FORMULAS]
    _, done = made(tmp_path, {**{f"{at:02}.json": value for at, value in enumerate(answers)}, **MIXED})
    folder = converted(done.paths["xlsx"], tmp_path)
    header, *found = read(folder / f"{XLSX_NAME.removesuffix('.xlsx')}-Posts.csv")
    assert header == [(True, name) for name in POSTS]
    told = map(for_people, rows(done.paths["json"]))
    assert found == [[displayed(name, row[name]) for name in POSTS] for row in told]
    _, *lines_found = read(folder / f"{XLSX_NAME.removesuffix('.xlsx')}-History.csv")
    assert [line[1] for line in lines_found] == [(True, "7300000000000000001")] * 2
