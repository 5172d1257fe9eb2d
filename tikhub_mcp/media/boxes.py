"""Reading the boxes of MP4 and HEIC files (ISO/IEC 14496-12), with a check of every length."""

import os
import struct
from collections.abc import Iterator
from io import BufferedIOBase

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid

MAX_BOXES = 200_000  # in one file; an hour of fragments of a second each has 80,000
DAMAGED = "its index is damaged: a box in it is missing or too short"
_NAMED = (b"ftyp", b"moov", b"moof", b"mdat", b"meta", b"mfra", b"sidx", b"free", b"skip")  # messages may quote these
_ROWS = 10_000  # of a table, between two checks for a cancellation


class BoxReader:
    """Reads the boxes of one file, at most MAX_BOXES; a box that is read twice counts twice."""

    def __init__(self) -> None:
        self._count = 0

    def count(self) -> None:
        """Count one box.

        Raises:
            MediaInvalid: There are more than MAX_BOXES.
            CancelledError: See `check_cancelled`.
        """
        self._count += 1
        if self._count > MAX_BOXES:
            raise MediaInvalid(f"it has more than {MAX_BOXES:,} boxes")
        check_cancelled()

    def children(self, box: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Yield the type and the content of each box inside a box that is in memory."""
        while len(box) >= 8:  # QuickTime ends some lists with four zero bytes
            self.count()
            kind, start, size = read_header(box[:16], len(box))
            if size > len(box):
                raise MediaInvalid("its index is damaged: a box is larger than the box around it")
            yield kind, box[start:size]
            box = box[size:]

    def pick(self, box: memoryview, *kinds: bytes) -> list[memoryview]:
        """Return the content of the child of each kind; empty if there is none, so that reading from it fails."""
        found = {kind: content for kind, content in self.children(box) if kind in kinds}
        return [found.get(kind, box[:0]) for kind in kinds]


def top_level(file: BufferedIOBase, reader: BoxReader) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the top-level boxes: the type of each, and the file offsets of its start, its content and its end."""
    at, end = 0, file.seek(0, os.SEEK_END)
    while at != end:
        reader.count()
        file.seek(at)
        kind, start, size = read_header(memoryview(file.read(16)), end - at)
        if at + size > end:
            where = f"its '{kind.decode()}' box" if kind in _NAMED else "a box"
            raise MediaInvalid(f"the file ends inside {where}: {at + size - end:,} bytes missing")
        yield kind, at, at + start, at + size
        at += size


def read_header(head: memoryview, room: int) -> tuple[bytes, int, int]:
    """Return the type of a box, the size of its header and its total size; `room` bytes remain from its start."""
    kind, start, size = bytes(head[4:8]), 8, read_int(head, 0)
    if size == 1:
        start, size = 16, read_int(head, 8, 8)
    elif size == 0 and kind == b"mdat":  # extends to the end of the file; in any other box a size of 0 is damage
        size = room
    if size < start:
        raise MediaInvalid("a box is smaller than its own header")
    return kind, start, size


def read_after_times(header: memoryview) -> int:
    """Return the field after the two times, which are longer in version 1: a tkhd's track id or an mdhd's timescale."""
    return read_int(header, 20 if read_int(header, 0, 1) == 1 else 12)


def read_rows(box: memoryview, at: int, count: int, form: str) -> Iterator[tuple[int, ...]]:
    """Return the rows of the table at offset `at`; `form` is the struct format of a row."""
    width = struct.calcsize(form)
    if at + count * width > len(box):
        raise MediaInvalid(DAMAGED)
    return _rows(box[at : at + count * width], form, _ROWS * width)


def _rows(table: memoryview, form: str, step: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(table), step):
        check_cancelled()
        yield from struct.iter_unpack(form, table[start : start + step])


def read_int(box: memoryview, at: int, size: int = 4) -> int:
    """Return the unsigned integer at offset `at`."""
    if at + size > len(box):
        raise MediaInvalid(DAMAGED)
    return int.from_bytes(box[at : at + size], "big")
