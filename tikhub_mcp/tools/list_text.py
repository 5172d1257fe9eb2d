"""The bytes of a list of links → its text, or what the file is instead."""

import re

from tikhub_mcp.errors import InvalidInput

_MARKS = (  # byte order marks; that of UTF-32 begins like that of UTF-16
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_KINDS = (  # how files begin that people take for lists, or name by mistake
    (rb"PK\x03\x04.*?xl/work", "an Excel workbook"),
    (rb"PK\x03\x04.*?opendocument\.spreadsheet", "an OpenDocument workbook"),
    (rb"PK\x03\x04.*?word/document", "a Word document"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office file, such as an Excel workbook (.xls)"),
    (rb"%PDF-", "a PDF document"),
    (rb"\{\\rtf", "an RTF document"),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|....ftyp(?:heic|heix|mif1|avif)", "a picture"),
    (rb"....ftyp", "a video"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"\x1f\x8b|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|BZh[1-9]1AY|\xfd7zXZ\0", "a compressed archive"),
)
_KIND_PATTERNS = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS]
_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})
_MAX_CONTROLS = 0.02  # of the bytes of a text
_MIN_NULS = 0.05  # of the bytes of a text in UTF-16 that has links: each of their characters has one


def decode_list(content: bytes, name: str) -> str:
    """Return the text of a list: in UTF-8, UTF-16 or UTF-32, or in GB 18030, as Chinese spreadsheets save it.

    Args:
        content: The bytes of the list, or their beginning.
        name: What an error calls the file.

    Raises:
        InvalidInput: It is no text; the message says what it is.
    """
    kind = next((kind for pattern, kind in _KIND_PATTERNS if pattern.match(content)), None)
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None) or _utf_16(content)
    if encoding and not kind:
        return content.decode(encoding, "replace")
    controls = len(content) - len(content.translate(None, _CONTROLS))
    if kind or controls > _MAX_CONTROLS * len(content):
        raise InvalidInput(
            f"{name} is {kind or 'no text'}, and cannot be read as a list of links. Save or copy its links as text or "
            "CSV, one a line, and give that file."
        )
    for encoding in ("utf-8", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.count("http") == content.count(b"http"):  # in another encoding a letter before it may swallow the h
            return text
    return content.decode("utf-8", "replace")


def _utf_16(content: bytes) -> str | None:
    """The byte order of a text in UTF-16 without a mark: ASCII has a NUL in every second byte."""
    high, low = content[::2].count(0), content[1::2].count(0)
    if max(high, low) < _MIN_NULS * len(content) or min(high, low) * 10 > max(high, low):
        return None
    encoding = "utf-16-be" if high > low else "utf-16-le"
    try:
        content[: len(content) // 2 * 2].decode(encoding)
    except UnicodeDecodeError:
        return None
    return encoding
