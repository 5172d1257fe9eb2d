"""The structure of WebP files (RFC 9649): the RIFF container to its end, and the headers of the pictures in it.

The pictures are not decoded (RFC 6386 for lossy ones). What is checked of their data: that a lossy picture's partitions
fit, and that an uncompressed alpha channel has a byte for each pixel. Other bytes in the place of the data are not
detected if the container's length is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.pictures.reading import Extent, PictureReader, check_dimensions

_ANIMATED = 0x02  # a flag of VP8X
_HEADER_BYTES = 64  # of a lossy picture; its header takes at most 24 before the number of partitions
_DAMAGED = "its WebP structure is damaged"
_CUT = "the picture is cut: parts of its WebP data are missing"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a RIFF file: its type, and the file offset and the size of its content."""

    kind: bytes
    at: int
    size: int


def read_webp(reader: PictureReader) -> Extent:
    """Walk a WebP file that begins with its RIFF header.

    Raises:
        MediaInvalid: It is cut or damaged.
    """
    end = 8 + _number(reader.read(4, 4))
    if end > reader.size:
        raise MediaInvalid(f"the picture is cut: {end - reader.size:,} bytes of its WebP data are missing")
    chunks = _chunks(reader, 12, end)
    first = next(chunks, None)
    if first is None or first.kind not in (b"VP8 ", b"VP8L", b"VP8X"):
        raise MediaInvalid(_DAMAGED)
    if first.kind != b"VP8X":
        width, height = _size(reader, first)
        for _ in chunks:  # unknown ones, to be ignored
            pass
        return Extent(width, height, end)
    head = _head(reader, first, 10)
    canvas = 1 + _number(head[4:7]), 1 + _number(head[7:10])
    check_dimensions(*canvas)
    _check_extended(reader, chunks, canvas, animated=bool(head[0] & _ANIMATED))
    return Extent(*canvas, end)


def _check_extended(
    reader: PictureReader, chunks: Iterator[_Chunk], canvas: tuple[int, int], *, animated: bool
) -> None:
    """Check the chunks after a VP8X header: one picture of the canvas's size, or frames that lie on the canvas."""
    if not animated:
        if _only_picture(reader, chunks) != canvas:
            raise MediaInvalid(_DAMAGED)
        return
    frames = 0
    for chunk in chunks:
        if chunk.kind == b"ANMF":
            frames += 1
            head = _head(reader, chunk, 16)
            x, y = 2 * _number(head[:3]), 2 * _number(head[3:6])
            size = 1 + _number(head[6:9]), 1 + _number(head[9:12])
            found = _only_picture(reader, _chunks(reader, chunk.at + 16, chunk.at + chunk.size))
            if found != size or x + size[0] > canvas[0] or y + size[1] > canvas[1]:
                raise MediaInvalid(_DAMAGED)
    if not frames:
        raise MediaInvalid(_CUT)


def _only_picture(reader: PictureReader, chunks: Iterator[_Chunk]) -> tuple[int, int]:
    """Return the size of the one picture among some chunks, after a check of its alpha channel."""
    sizes: list[tuple[int, int]] = []
    alpha: _Chunk | None = None
    for chunk in chunks:
        if chunk.kind == b"ALPH":
            alpha = chunk
        elif chunk.kind in (b"VP8 ", b"VP8L"):
            sizes.append(_size(reader, chunk))
    if len(sizes) != 1:
        raise MediaInvalid(_DAMAGED if sizes else _CUT)
    if alpha:
        compression = _head(reader, alpha, 1)[0] & 3
        if compression > 1 or alpha.size - 1 < (1 if compression else sizes[0][0] * sizes[0][1]):
            raise MediaInvalid(_CUT)
    return sizes[0]


def _chunks(reader: PictureReader, at: int, end: int) -> Iterator[_Chunk]:
    """Yield the chunks between two file offsets, all of which must lie there."""
    while at < end:
        reader.count()
        if at + 8 > end:
            raise MediaInvalid(_CUT)
        head = reader.read(at, 8)
        chunk = _Chunk(head[:4], at + 8, _number(head[4:]))
        at += 8 + chunk.size
        if at > end:
            raise MediaInvalid(_CUT)
        yield chunk
        at += chunk.size & 1  # a padding byte, which some encoders leave out at the end


def _size(reader: PictureReader, chunk: _Chunk) -> tuple[int, int]:
    """Return the width and height of a picture."""
    width, height = (_lossless if chunk.kind == b"VP8L" else _lossy)(reader, chunk)
    check_dimensions(width, height)
    return width, height


def _lossless(reader: PictureReader, chunk: _Chunk) -> tuple[int, int]:
    head = _head(reader, chunk, 6)
    fields = _number(head[1:5])  # 14 bits of width, 14 of height, one for alpha, three of version
    if head[0] != 0x2F or fields >> 29:
        raise MediaInvalid(_DAMAGED)
    return 1 + (fields & 0x3FFF), 1 + (fields >> 14 & 0x3FFF)


def _lossy(reader: PictureReader, chunk: _Chunk) -> tuple[int, int]:
    """Read the frame header and check that all partitions are there; the last one has no length of its own."""
    head = _head(reader, chunk, 10)
    tag = _number(head[:3])
    if tag & 1 or head[3:6] != b"\x9d\x01\x2a":  # not a key frame
        raise MediaInvalid(_DAMAGED)
    first = tag >> 5
    parts = _partitions(reader.read(chunk.at + 10, min(_HEADER_BYTES, first, chunk.size - 10)))
    table = 10 + first
    rest = table + 3 * (parts - 1)
    if rest < chunk.size:
        sizes = reader.read(chunk.at + table, 3 * (parts - 1))
        rest += sum(_number(sizes[at : at + 3]) for at in range(0, len(sizes), 3))
    if rest >= chunk.size:
        raise MediaInvalid(_CUT)
    return _number(head[6:8]) & 0x3FFF, _number(head[8:10]) & 0x3FFF


def _partitions(header: bytes) -> int:
    """Return the number of partitions of coefficients, from the header of a key frame (RFC 6386, 9.2 to 9.5)."""
    bits = _Bits(header)
    bits.read(2)  # colour space, clamping
    if bits.read(1):  # segmentation
        has_map, has_data = bits.read(1), bits.read(1)
        if has_data:
            bits.read(1)
            bits.skip_optional(4, 8)  # quantizers: seven bits and a sign
            bits.skip_optional(4, 7)  # filter levels: six bits and a sign
        if has_map:
            bits.skip_optional(3, 8)  # probabilities
    bits.read(10)  # filter type, level and sharpness
    if bits.read(1) and bits.read(1):  # changes of the filter level
        bits.skip_optional(8, 7)
    return 1 << bits.read(2)


class _Bits:
    """The boolean decoder of RFC 6386, 7.3, for fields whose bits are as likely 0 as 1."""

    def __init__(self, content: bytes) -> None:
        content = content.ljust(_HEADER_BYTES, b"\0")
        self._value, self._next = int.from_bytes(content[:2], "big"), iter(content[2:])
        self._range, self._shifted = 255, 0

    def read(self, count: int) -> int:
        number = 0
        for _ in range(count):
            number = 2 * number + self._bit()
        return number

    def skip_optional(self, times: int, size: int) -> None:
        """Skip fields of `size` bits, each behind a bit that says whether it is there."""
        for _ in range(times):
            if self.read(1):
                self.read(size)

    def _bit(self) -> int:
        split = 1 + (self._range - 1 >> 1)
        bit = int(self._value >= split << 8)
        if bit:
            self._range, self._value = self._range - split, self._value - (split << 8)
        else:
            self._range = split
        while self._range < 128:
            self._range, self._value, self._shifted = 2 * self._range, 2 * self._value, self._shifted + 1
            if self._shifted == 8:
                self._value, self._shifted = self._value | next(self._next, 0), 0
        return bit


def _head(reader: PictureReader, chunk: _Chunk, size: int) -> bytes:
    if chunk.size < size:
        raise MediaInvalid(_DAMAGED)
    return reader.read(chunk.at, size)


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")
