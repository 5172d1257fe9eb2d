"""Captions in WebVTT (W3C): whether a file is one, and the words in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.text import clean

MAX_CAPTION_BYTES = 1 << 20  # an hour of speech has about 100 kB
MAX_TRANSCRIPT = 6_000  # characters
_FIRST_LINE = re.compile(r"\ufeff?WEBVTT(?:[ \t\r\n]|$)")
_LINE_END = re.compile(r"\r\n|\r|\n")
_TIMES = re.compile(r"\s*[\d:.,]+[ \t]*-->")
_TAG = re.compile(r"<[A-Za-z0-9./][^<>]*>")  # of a class, a voice, a style, or a time


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of captions, which are other people's.

    Attributes:
        text: On one line, at most MAX_TRANSCRIPT characters, without control characters.
        truncated: Whether there are more; the text then ends with an ellipsis.
    """

    text: str
    truncated: bool


def read_captions(path: Path) -> str:
    """Return the text of a WebVTT file, which its first line shows it to be.

    Raises:
        MediaInvalid: It is not one, not in UTF-8, or larger than MAX_CAPTION_BYTES. The message is a clause that quotes
            none of the file's content.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_CAPTION_BYTES + 1)
    if len(content) > MAX_CAPTION_BYTES:
        raise MediaInvalid(f"the captions have more than {MAX_CAPTION_BYTES:,} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise MediaInvalid("they are no captions in UTF-8, or they are cut") from None
    if not _FIRST_LINE.match(text):
        raise MediaInvalid("they are no captions: the first line is not 'WEBVTT'")
    return text


def transcribe(captions: str) -> Transcript:
    """Return the words of a WebVTT text without times, names of cues, notes, styles, markup and repeated lines.

    It takes up to a few seconds for a text of MAX_CAPTION_BYTES that is made to cost time.

    Raises:
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    lines: list[str] = []
    size = -1
    for line in _spoken(captions):
        lines.append(line)
        size += 1 + len(line)
        if size > MAX_TRANSCRIPT:
            break
    return Transcript(clean(" ".join(lines), MAX_TRANSCRIPT), size > MAX_TRANSCRIPT)


def _spoken(captions: str) -> Iterator[str]:
    """Yield the lines of the cues; one that the same or the previous cue has, as in captions that roll, only once."""
    previous, current, in_cue = set[str](), set[str](), False
    for line in _LINE_END.split(captions):
        check_cancelled()
        if _TIMES.match(line):
            in_cue, previous, current = True, current or previous, set()
        elif not line.strip():
            in_cue = False
        elif in_cue:
            words = clean(unescape(_TAG.sub("", line)), len(line))
            if words and words not in previous and words not in current:
                yield words
            current.update([words] if words else [])
