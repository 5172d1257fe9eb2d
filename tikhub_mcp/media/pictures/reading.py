"""Bounded reading of a picture's file, shared by all formats."""

import os
import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid

MAX_PARTS = 1_000_000  # segments, chunks, items and restart intervals of one file
MAX_SIDE = 65_535  # pixels; the limit of JPEG
MAX_PIXELS = 1 << 28  # the largest phone cameras give 200 million
PIECE = 1 << 20  # bytes that are in memory at once
_FIRST_PIECE = 4 << 10  # bytes; a file may have very many short scans


class Extent(NamedTuple):
    """What a picture's structure tells: its size in pixels, and the file offset of the first byte after it."""

    width: int
    height: int
    end: int


class PictureReader:
    """Reads one file in pieces; `size` is its size in bytes."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        self._count = 0

    def count(self) -> None:
        """Count one part of the file.

        Raises:
            MediaInvalid: There are more than MAX_PARTS.
            CancelledError: See `check_cancelled`.
        """
        self._count += 1
        if self._count > MAX_PARTS:
            raise MediaInvalid(f"it has more than {MAX_PARTS:,} parts")
        check_cancelled()

    def read(self, at: int, size: int) -> bytes:
        """Return exactly `size` bytes from the file offset `at`.

        Raises:
            MediaInvalid: The file ends before.
        """
        self.file.seek(at)
        content = self.file.read(size)
        if len(content) < size:
            raise MediaInvalid("the picture is cut: the file ends before it is complete")
        return content

    def pieces(self, at: int, end: int) -> Iterator[bytes]:
        """Yield the bytes between two file offsets in pieces of at most PIECE."""
        while at < end:
            check_cancelled()
            piece = self.read(at, min(PIECE, end - at))
            yield piece
            at += len(piece)

    def find_pairs(self, pattern: re.Pattern[bytes], at: int) -> Iterator[tuple[int, int]]:
        """Yield the file offset and the second byte of each match, from `at`, of a pattern that matches two bytes.

        The second byte of a match must not begin another.
        """
        step = _FIRST_PIECE
        while at + 1 < self.size:
            check_cancelled()
            piece = self.read(at, min(step, self.size - at))
            for match in pattern.finditer(piece):
                yield at + match.start(), piece[match.start() + 1]
            at += len(piece) - 1  # a match may lie across two pieces
            step = min(2 * step, PIECE)


def check_dimensions(width: int, height: int) -> None:
    """Check a picture's size in pixels.

    Raises:
        MediaInvalid: It is 0, or larger than MAX_SIDE or MAX_PIXELS.
    """
    if not width or not height:
        raise MediaInvalid("its width or height is 0")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaInvalid(f"it is larger than {MAX_PIXELS:,} pixels, or a side is longer than {MAX_SIDE:,}")
