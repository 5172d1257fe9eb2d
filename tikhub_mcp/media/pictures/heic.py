"""The structure of HEIC files (ISO/IEC 23008-12): boxes, items, and the H.265 data of the picture that is shown.

The data is not decoded. What is checked of it: that all items lie in the file's media data, and that the NAL units of
each coded picture fill it exactly. Other bytes inside a NAL unit are not detected.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.boxes import BoxReader, read_header, read_int, top_level
from tikhub_mcp.media.mp4 import refused
from tikhub_mcp.media.pictures.reading import Extent, PictureReader, check_dimensions

MAX_META_BYTES = 4 << 20  # of the index; a picture of 200 megapixels has about 1,000 tiles, and 30 kB
_CODED = (b"hvc1", b"hev1")
_DERIVED = (b"grid", b"iden", b"iovl")  # pictures that are made of others
_DAMAGED = "its HEIC structure is damaged"
_MISSING = "the picture is cut: its index names HEIC data that is not in the file"


@dataclass(frozen=True, slots=True)
class _Index:
    """The `meta` box of a file."""

    kinds: dict[int, bytes]  # the type of each item that is not protected
    extents: dict[int, list[tuple[int, int]]]  # the file offset and the size of each extent of an item
    sources: dict[int, list[int]]  # of a picture that is made of others, their items
    properties: dict[int, list[tuple[bytes, memoryview]]]  # of each item, in their order


def read_heic(reader: PictureReader) -> Extent:
    """Walk a HEIC file that begins with an `ftyp` box of its own brands.

    Raises:
        MediaInvalid: It is cut, damaged, or coded in something else.
    """
    boxes = BoxReader()
    meta: tuple[int, int] | None = None
    media: list[tuple[int, int]] = []
    end = reader.size
    for kind, box, start, stop in top_level(reader.file, boxes):
        if kind == b"ftyp" and box:  # another file: the video of a motion photo
            end = box
            break
        if kind == b"meta":
            if meta or stop - start > MAX_META_BYTES:
                raise MediaInvalid(_DAMAGED)
            meta = start, stop
        elif kind == b"mdat":
            media.append((start, stop))
    if not meta:
        raise MediaInvalid("the picture is cut, or damaged: it has no 'meta' box, the index of its items")
    content = memoryview(reader.read(meta[0], meta[1] - meta[0]))
    primary, index = _read_index(reader, boxes, content, meta[0], media)
    width, height = _check_primary(reader, index, primary)
    check_dimensions(width, height)
    return Extent(width, height, end)


def _read_index(
    reader: PictureReader, boxes: BoxReader, meta: memoryview, at: int, media: list[tuple[int, int]]
) -> tuple[int, _Index]:
    """Return the item that is shown, and the index; `at` is the file offset of the content of the `meta` box."""
    pitm, iinf, iloc, iref, iprp = boxes.pick(meta[4:], b"pitm", b"iinf", b"iloc", b"iref", b"iprp")
    index = _Index(
        kinds=dict(_kinds(boxes, iinf)),
        extents=dict(_extents(reader, iloc, media, [(at + start, at + end) for start, end in _idat(meta)])),
        sources=dict(_sources(reader, boxes, iref)),
        properties=dict(_properties(reader, boxes, iprp)),
    )
    return read_int(pitm, 4, _wide(pitm, 1)), index


def _wide(box: memoryview, version: int) -> int:
    """Return the size in bytes of the numbers of a box that are longer from this version on."""
    return 4 if read_int(box, 0, 1) >= version else 2


def _idat(meta: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where the content of the `idat` box starts and ends in that of the `meta` box."""
    at = 4
    while at + 8 <= len(meta):
        kind, start, size = read_header(meta[at : at + 16], len(meta) - at)
        if kind == b"idat":
            yield at + start, at + size
        at += size


def _kinds(boxes: BoxReader, iinf: memoryview) -> Iterator[tuple[int, bytes]]:
    """Yield the type of each item that is not protected."""
    for kind, infe in boxes.children(iinf[4 + _wide(iinf, 1) :]):
        if kind == b"infe" and read_int(infe, 0, 1) >= 2:
            width = _wide(infe, 3)
            if not read_int(infe, 4 + width, 2):
                yield read_int(infe, 4, width), bytes(infe[6 + width : 10 + width])


def _extents(
    reader: PictureReader, iloc: memoryview, media: list[tuple[int, int]], inside: list[tuple[int, int]]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the extents of each item, after a check that they lie in an `mdat` box, or in the `idat` box (`inside`)."""
    version, sizes = read_int(iloc, 0, 1), read_int(iloc, 4, 2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    fields = _Fields(iloc, 6)
    for _ in range(fields.take(_wide(iloc, 2))):
        item, method = fields.take(_wide(iloc, 2)), fields.take(2) & 15 if version else 0
        external, base = fields.take(2), fields.take(base_size)
        if method > 1 or external:
            raise refused("parts of it are in other files, or in a form of HEIC that is not known")
        extents = []
        for _ in range(fields.take(2)):
            reader.count()
            fields.take(index_size)
            start, size = base + fields.take(offset_size), fields.take(length_size)
            start += inside[0][0] if method and inside else 0
            places = inside if method else media
            place = bisect_right(places, (start, reader.size)) - 1
            if not size or place < 0 or start + size > places[place][1]:
                raise MediaInvalid(_MISSING)
            extents.append((start, size))
        yield item, extents


def _sources(reader: PictureReader, boxes: BoxReader, iref: memoryview) -> Iterator[tuple[int, list[int]]]:
    """Yield each picture that is made of others, and these."""
    width = _wide(iref, 1) if iref else 0
    for kind, box in boxes.children(iref[4:]):
        if kind == b"dimg":
            fields = _Fields(box, 0)
            item, sources = fields.take(width), []
            for _ in range(fields.take(2)):
                reader.count()
                sources.append(fields.take(width))
            yield item, sources


def _properties(
    reader: PictureReader, boxes: BoxReader, iprp: memoryview
) -> Iterator[tuple[int, list[tuple[bytes, memoryview]]]]:
    """Yield the properties of each item."""
    ipco, ipma = boxes.pick(iprp, b"ipco", b"ipma")
    known = list(boxes.children(ipco))
    fields = _Fields(ipma, 4)
    width, index_size = _wide(ipma, 1), 1 + (read_int(ipma, 0) & 1)
    for _ in range(fields.take(4)):
        item, properties = fields.take(width), []
        for _ in range(fields.take(1)):
            reader.count()
            number = fields.take(index_size) & ((1 << 8 * index_size - 1) - 1)  # the first bit: is it essential
            if number > len(known):
                raise MediaInvalid(_DAMAGED)
            if number:  # 0 stands for no property
                properties.append(known[number - 1])
        yield item, properties


def _check_primary(reader: PictureReader, index: _Index, primary: int) -> tuple[int, int]:
    """Check the picture that is shown, and return its width and height."""
    kind = index.kinds.get(primary)
    if kind is None:
        raise MediaInvalid(_DAMAGED)
    tiles = index.sources.get(primary, []) if kind in _DERIVED else [primary]
    if any(index.kinds.get(tile) not in _CODED for tile in tiles):
        raise refused("its picture is not coded in H.265, or is encrypted")
    if not tiles:
        raise MediaInvalid(_DAMAGED)
    if kind == b"grid":
        _check_grid(reader, index, primary, tiles)
    for tile in set(tiles):
        _check_coded(reader, index, tile)
    return _shown_size(index, primary)


def _check_grid(reader: PictureReader, index: _Index, grid: int, tiles: list[int]) -> None:
    """Check that the tiles are as many as rows and columns need, and that they cover the picture."""
    ((start, size),) = index.extents.get(grid) or [(0, 0)]
    if size not in (8, 12):
        raise MediaInvalid(_DAMAGED)
    head = memoryview(reader.read(start, size))
    rows, columns = 1 + head[2], 1 + head[3]
    width, height = (read_int(head, at, (size - 4) // 2) for at in (4, 4 + (size - 4) // 2))
    tile = _coded_size(index, tiles[0])
    if len(tiles) != rows * columns or any(_coded_size(index, other) != tile for other in set(tiles)):
        raise MediaInvalid(_DAMAGED)
    if (width, height) != _coded_size(index, grid) or columns * tile[0] < width or rows * tile[1] < height:
        raise MediaInvalid(_DAMAGED)


def _check_coded(reader: PictureReader, index: _Index, item: int) -> None:
    """Check that NAL units fill the data of a coded picture exactly; data in several extents is not checked."""
    hvcc, extents = _property(index, item, b"hvcC"), index.extents.get(item, [])
    if not extents:
        raise MediaInvalid(_DAMAGED)
    width = 1 + (read_int(hvcc, 21, 1) & 3)
    at, size = extents[0]
    end = at + size
    while len(extents) == 1 and at < end:
        reader.count()
        unit = int.from_bytes(reader.read(at, width), "big")
        at += width + unit
        if not unit or at > end:
            raise MediaInvalid("its HEIC data is damaged: where a part of the picture should begin is something else")


def _property(index: _Index, item: int, kind: bytes) -> memoryview:
    """Return the property of a kind; empty if there is none, so that reading from it fails."""
    return next((box for other, box in index.properties.get(item, []) if other == kind), memoryview(b""))


def _coded_size(index: _Index, item: int) -> tuple[int, int]:
    """Return the width and height before the picture is cropped or rotated."""
    ispe = _property(index, item, b"ispe")
    return read_int(ispe, 4), read_int(ispe, 8)


def _shown_size(index: _Index, item: int) -> tuple[int, int]:
    """Return the width and height after the picture was cropped and rotated, in the order of these properties."""
    width, height = _coded_size(index, item)
    for kind, box in index.properties.get(item, []):
        if kind == b"clap":  # clean aperture: two fractions
            width, height = (read_int(box, at) // max(1, read_int(box, at + 4)) for at in (0, 8))
        elif kind == b"irot" and read_int(box, 0, 1) & 1:  # by 90 or 270 degrees
            width, height = height, width
    return width, height


class _Fields:
    """Reads the unsigned integers of a box one after the other."""

    def __init__(self, box: memoryview, at: int) -> None:
        self._box, self._at = box, at

    def take(self, size: int) -> int:
        number = read_int(self._box, self._at, size)
        self._at += size
        return number
