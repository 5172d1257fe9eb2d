"""The structure of JPEG files (ITU-T T.81): segments, and the entropy-coded data of each scan.

The data is not decoded. What is checked of it: that it ends in a marker, that its restart markers are in order and as
many as the picture needs, that it has the least number of bits that the picture's blocks take, and that all scans that
a progressive picture began are finished. Missing or changed bytes inside a scan without restart markers are otherwise
not detected if an end marker follows.
"""

import re
from dataclasses import dataclass

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.mp4 import refused
from tikhub_mcp.media.pictures.reading import Extent, PictureReader, check_dimensions

MAX_SCANS = 1_000  # progressive pictures have about 10
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}  # lossless, hierarchical or arithmetic: viewers show none
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_SEGMENTS = {0xC4, _SOS, 0xDB, 0xDC, _DRI, *range(0xE0, 0xF0), 0xFE}  # tables, scans, APPn and comments
_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # 0xFF 0x00 is a byte of data, and further 0xFF may come before a marker
_CUT = "the picture is cut: parts of its JPEG data are missing"
_DAMAGED = "its JPEG structure is damaged"


@dataclass(slots=True)
class _Frame:
    """The frame header, and what of each component the scans have brought so far."""

    width: int
    height: int
    progressive: bool
    sampling: dict[int, tuple[int, int]]  # the horizontal and vertical sampling factor, by component id
    missing_bits: dict[int, list[int]]  # of each of the 64 coefficients; -1 if no scan has brought it

    def units(self, components: bytes) -> tuple[int, int]:
        """Return how many minimum coded units and how many blocks a scan of these components has."""
        across, down = (max(factors) for factors in zip(*self.sampling.values(), strict=True))
        if len(components) == 1:  # not interleaved: one block is a unit
            h, v = self.sampling[components[0]]
            blocks = _ceil(_ceil(self.width * h, across), 8) * _ceil(_ceil(self.height * v, down), 8)
            return blocks, blocks
        units = _ceil(self.width, 8 * across) * _ceil(self.height, 8 * down)
        return units, units * sum(h * v for h, v in map(self.sampling.__getitem__, components))

    def is_complete(self) -> bool:
        """Return whether all components are there, and no scan is missing that would complete another one."""
        return all(bits[0] == 0 and max(bits) == 0 for bits in self.missing_bits.values())


def read_jpeg(reader: PictureReader) -> Extent:
    """Walk a JPEG file that begins with its start marker.

    Raises:
        MediaInvalid: It is cut or damaged.
    """
    frame, interval, scans, at = None, 0, 0, 2
    while True:
        code, at = _marker(reader, at)
        if code == _EOI:
            break
        content, at = _segment(reader, code, at)
        if code == _DRI:
            interval = int.from_bytes(content[:2], "big")
        elif code == _SOS:
            scans += 1
            if frame is None or scans > MAX_SCANS:
                raise MediaInvalid(_DAMAGED)
            at = _scan(reader, at, frame, content, interval)
        elif code not in _SEGMENTS:
            if frame is not None:
                raise MediaInvalid(_DAMAGED)
            frame = _read_frame(content, code)
    if frame is None or not frame.is_complete():
        raise MediaInvalid(_CUT)
    return Extent(frame.width, frame.height, at)


def _marker(reader: PictureReader, at: int) -> tuple[int, int]:
    """Return the code of the marker at `at`, and the offset after it; any number of 0xFF may fill up before it."""
    first, code = reader.read(at, 2)
    if first != 0xFF:
        raise MediaInvalid(_DAMAGED)
    while code == 0xFF:
        reader.count()
        at += 1
        code = reader.read(at + 1, 1)[0]
    reader.count()
    return code, at + 2


def _segment(reader: PictureReader, code: int, at: int) -> tuple[bytes, int]:
    """Return the content of the segment whose length is at `at`, and the offset after it."""
    if code in _OTHER_FRAMES:
        raise refused("it is a kind of JPEG that viewers do not show: lossless, hierarchical or arithmetic")
    if code not in _SEGMENTS and code not in _SEQUENTIAL and code != _PROGRESSIVE:
        raise MediaInvalid(_DAMAGED)
    size = int.from_bytes(reader.read(at, 2), "big")
    if size < 2:
        raise MediaInvalid(_DAMAGED)
    return reader.read(at + 2, size - 2), at + size


def _read_frame(content: bytes, code: int) -> _Frame:
    if len(content) < 6 or not 1 <= content[5] <= 4 or len(content) != 6 + 3 * content[5]:
        raise MediaInvalid(_DAMAGED)
    if content[0] != 8:
        raise refused("it is a JPEG of more than 8 bits a sample, which viewers do not show")
    width, height = int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
    check_dimensions(width, height)
    sampling = {
        number: (factors >> 4, factors & 15) for number, factors in zip(content[6::3], content[7::3], strict=True)
    }
    if len(sampling) != content[5] or not all(1 <= factor <= 4 for both in sampling.values() for factor in both):
        raise MediaInvalid(_DAMAGED)
    return _Frame(width, height, code == _PROGRESSIVE, sampling, {number: [-1] * 64 for number in sampling})


def _scan(reader: PictureReader, at: int, frame: _Frame, header: bytes, interval: int) -> int:
    """Check the scan whose data begins at `at`, and return the offset of the marker after it."""
    count = header[0] if header else 0
    components = header[1 : 1 + 2 * count : 2]
    if not 1 <= count <= 4 or len(header) != 4 + 2 * count or not frame.sampling.keys() >= set(components):
        raise MediaInvalid(_DAMAGED)
    first, last, missing = 0, 63, 0
    if frame.progressive:
        first, last, missing = header[-3], header[-2], header[-1] & 15
    if not first <= last < 64:
        raise MediaInvalid(_DAMAGED)
    for number in components:
        frame.missing_bits[number][first : last + 1] = [missing] * (last + 1 - first)
    units, blocks = frame.units(components)
    end = _end_of_scan(reader, at, _ceil(units, interval) - 1 if interval else 0)
    # A block takes a bit for each of its codes at least: one for the first coefficient, one for the end of the others.
    # In a progressive picture one code can end the others of many blocks.
    if 8 * (end - at) < blocks * ((first == 0) + (not frame.progressive)):
        raise MediaInvalid(_CUT)
    return end


def _end_of_scan(reader: PictureReader, at: int, restarts: int) -> int:
    """Return the offset of the first marker that is no restart marker; of these there must be as many as `restarts`."""
    for found, (place, code) in enumerate(reader.find_pairs(_MARKER, at)):
        if not 0xD0 <= code <= 0xD7:
            if found < restarts:
                raise MediaInvalid(_CUT)
            return place
        if code != 0xD0 + found % 8 or found > restarts or not restarts:  # some encoders write one after the last unit
            raise MediaInvalid("its JPEG data is damaged: a restart marker is in the wrong place")
        reader.count()
    raise MediaInvalid("the picture is cut: its JPEG data has no end")


def _ceil(number: int, by: int) -> int:
    return -(-number // by)
