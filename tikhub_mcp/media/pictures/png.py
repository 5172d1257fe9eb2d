"""The structure of PNG files (ISO/IEC 15948): chunks with their checksums, and the compressed data to its last row."""

import zlib

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.pictures.reading import PIECE, Extent, PictureReader, check_dimensions

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits of a sample
_PALETTE = 3
# The passes of an interlaced picture: the first column and row, and the steps to the next ones.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_DAMAGED = "its PNG structure is damaged"
_DATA = "its PNG data is damaged"


class _Pixels:
    """Counts the bytes of the decompressed picture without keeping them."""

    def __init__(self, expected: int) -> None:
        self._stream = zlib.decompressobj()
        self._left = expected
        self.begun = False

    def feed(self, piece: bytes) -> None:
        full = self.begun = True
        while piece or full:
            check_cancelled()
            try:
                rows = self._stream.decompress(piece, PIECE)
            except zlib.error:
                raise MediaInvalid(_DATA) from None
            piece, full = self._stream.unconsumed_tail, len(rows) == PIECE
            self._left -= len(rows)
            if self._left < 0 or self._stream.unused_data:
                raise MediaInvalid(_DATA)

    def is_complete(self) -> bool:
        return self._stream.eof and not self._left


def read_png(reader: PictureReader) -> Extent:
    """Walk a PNG file that begins with its signature.

    Raises:
        MediaInvalid: It is cut or damaged.
    """
    header = reader.read(8, 8 + 13)
    if header[:8] != b"\0\0\0\x0dIHDR":
        raise MediaInvalid(_DAMAGED)
    width, height = int.from_bytes(header[8:12], "big"), int.from_bytes(header[12:16], "big")
    check_dimensions(width, height)
    pixels = _Pixels(_row_bytes(width, height, header[16:]))
    has_palette, kind, at = header[17] != _PALETTE, b"", 8
    while kind != b"IEND":
        before, head = kind, reader.read(at, 8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        has_palette |= kind == b"PLTE"
        known = kind in (b"IDAT", b"IEND", b"PLTE") or at == 8
        late = kind == b"IDAT" and (not has_palette or (pixels.begun and before != b"IDAT"))
        # A capital first letter means that the chunk is needed to show the picture.
        if late or not kind.isalpha() or (kind[:1].isupper() and not known):
            raise MediaInvalid(_DAMAGED)
        _check_chunk(reader, at, size, pixels if kind == b"IDAT" else None)
        at += 12 + size
    if not pixels.is_complete():
        raise MediaInvalid("the picture is cut: rows of its PNG data are missing")
    return Extent(width, height, at)


def _check_chunk(reader: PictureReader, at: int, size: int, pixels: _Pixels | None) -> None:
    """Check the checksum of a chunk whose content has `size` bytes, and pass on its part of the pixels."""
    reader.count()
    crc = zlib.crc32(reader.read(at + 4, 4))
    for piece in reader.pieces(at + 8, at + 8 + size):
        crc = zlib.crc32(piece, crc)
        if pixels is not None:
            pixels.feed(piece)
    if reader.read(at + 8 + size, 4) != crc.to_bytes(4, "big"):
        raise MediaInvalid("its PNG data is damaged: a checksum does not match")


def _row_bytes(width: int, height: int, form: bytes) -> int:
    """Return the size of the decompressed data; `form` is the rest of the header."""
    depth, colour, compression, filtering, interlace = form
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise MediaInvalid(_DAMAGED)
    bits = depth * _SAMPLES[colour]
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
