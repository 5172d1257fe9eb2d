"""list_text.py: the bytes of a list, in the encodings that people have, and of what is no list."""

import random
import zipfile
from io import BytesIO

import pytest

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.tools.list_text import decode_list

LINK = "https://www.douyin.com/search/猫咪?modal_id=7000000000000001002"
LIST = f"作品,链接\n今天的海,{LINK}\n"


def zipped(name: str, content: str = "secret") -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gbk", "gb18030"]
)
def test_a_list_is_read_in_every_encoding_that_editors_and_spreadsheets_save(encoding: str) -> None:
    assert decode_list(LIST.encode(encoding), "links.csv") == LIST
    assert decode_list((LIST * 50).encode(encoding), "links.csv") == LIST * 50


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "caf\u00e9 https://a.example/x", "\0 https://a.example/x " + "x" * 100]
)
def test_a_text_stays_a_text(text: str) -> None:
    assert decode_list(text.encode(), "links.txt") == text


@pytest.mark.parametrize(
    "text", ["caf\u00e9 https://a.example/x", "\u00e9https://a.example/x", "\u00e9\u00e8\u00bbhttps://a.example/x"]
)
def test_an_unknown_encoding_costs_no_link(text: str) -> None:
    assert "https://a.example/x" in decode_list(text.encode("latin-1"), "links.txt")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped("xl/workbook.xml"), "an Excel workbook"),
        (zipped("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument workbook"),
        (zipped("word/document.xml"), "a Word document"),
        (zipped("links.txt", LIST), "a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + LIST.encode("utf-16-le"), "an old or encrypted Office file"),
        (b"%PDF-1.7\n" + LIST.encode(), "a PDF document"),
        (rb"{\rtf1 " + LIST.encode(), "an RTF document"),
        (b"\x89PNG\r\n\x1a\n" + LIST.encode(), "a picture"),
        (b"\xff\xd8\xff\xe0" + LIST.encode(), "a picture"),
        (b"RIFF\1\2\3\4WEBPVP8 ", "a picture"),
        (b"\0\0\0\x18ftypheic", "a picture"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"SQLite format 3\0" + LIST.encode(), "an SQLite database"),
        (b"\x1f\x8b\x08" + LIST.encode(), "a compressed archive"),
        (random.Random(1).randbytes(5000) + LIST.encode(), "no text"),
        (bytes(5000) + LIST.encode(), "no text"),
    ],
)
def test_what_is_no_text_is_called_what_it_is_and_nothing_of_it_is_told(content: bytes, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"^links is {kind}.*, and cannot be read .* as text or CSV") as caught:
        decode_list(content, "links")
    assert "douyin" not in caught.value.message
