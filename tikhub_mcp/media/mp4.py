"""What a file really is: an MP4 with moving pictures, whole to its last box, and what is in it.

The names of boxes and what they hold are those of ISO/IEC 14496-12, the ISO base media file format. Of the
file's content the index is read (`moov`, and the `moof`s of a fragmented file), and of every picture in `mdat` the
few bytes that give the length of its first NAL unit (ISO/IEC 14496-15): where zeros or other bytes took the place of
the media, that length is none. What this cannot see: changed bytes between these places, and whole fragments that are
missing at the end of a fragmented file; its duration is that of the fragments there are.
"""

import os
import re
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tikhub_mcp.errors import MediaInvalid

INDEX_LIMIT = 64 << 20  # bytes of moov and moofs together; 107 minutes at 60 frames a second need some 15 MB
BOX_LIMIT = 1_000_000  # on the top level; the same film, with a fragment of two boxes for every frame, has 770,000
PICTURE_LIMIT = 1_000_000  # looked at; the same film has 385,000
MAX_DURATION_MS = 1 << 53  # a longer duration is damage, and a number that not every reader of JSON can hold

CODECS = {
    **dict.fromkeys((b"avc1", b"avc3", b"dva1", b"dvav"), "h264"),
    **dict.fromkeys((b"hvc1", b"hev1", b"dvh1", b"dvhe"), "h265"),
    **dict.fromkeys((b"vvc1", b"vvi1", b"bvc2"), "h266"),  # bvc2 is ByteDance's own
    b"av01": "av1",
    b"vp09": "vp9",
}
NAL_LENGTHS = {b"avcC": 4, b"hvcC": 21}  # where a decoder's configuration has the width of the lengths before NAL units
DAMAGED = "its index is damaged: a box in it is missing or too short"
EMPTIED = "its media is damaged: where a picture should begin there is something else"
MISSING = "its index names media that are not in the file: part of it is missing"
_NAMED = (b"ftyp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"free", b"skip")  # what a message may call by name


@dataclass(frozen=True, slots=True)
class Media:
    """What a file holds, by its own index.

    Attributes:
        codec: Of the pictures: h264, h265, h266, av1, vp9, or the letters of another sample entry ("mp4v").
        width: In pixels, as coded and written in the visual sample entry: before the player turns or stretches it.
        height: The same.
        duration_ms: Of the video track's samples, in milliseconds; None where the file does not tell.
        has_audio: Whether there is a track of sound that is not empty.
    """

    codec: str
    width: int
    height: int
    duration_ms: int | None
    has_audio: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """The top level of a file: its index, and where the content of each mdat starts and ends, in the file's bytes."""

    moov: memoryview
    moofs: list[tuple[int, memoryview]]  # with where the box starts
    starts: list[int]
    ends: list[int]


@dataclass(slots=True)
class _Track:
    """One track, with its (first) sample entry; `duration`, in 1/`timescale` s, is that of the `samples` listed.

    `places` are the samples in the file, run by run: where each one starts, and its size in bytes.
    """

    number: int
    handler: bytes
    entry: bytes
    description: memoryview
    timescale: int
    duration: int
    samples: int
    places: list[Iterator[tuple[int, int]]]


def inspect(path: Path) -> Media:
    """Prove that a regular file is a whole MP4 with a video track, and tell what is in it.

    Raises:
        MediaInvalid: It is not; the message is the reason, a clause that quotes nothing of the file's content.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        # ISO/IEC 14496-12, 4.3: ftyp comes before every box of variable size, free space included.
        if file.read(8)[4:] != b"ftyp":
            raise MediaInvalid("it is not an MP4 file: it does not begin with an 'ftyp' box")
        tracks = _tracks(_layout(file))
        pictures = [track for track in tracks if track.handler == b"vide" and track.entry]
        if not pictures:
            raise MediaInvalid("it has no video track")
        video = max(pictures, key=lambda track: track.samples)  # the stills of chapters are a video track as well
        if not video.samples:
            raise MediaInvalid("its video track is empty")
        _check_pictures(file, video)
    return Media(
        codec=CODECS.get(video.entry) or re.sub("[^0-9A-Za-z]", "", video.entry.decode("latin-1")) or "unknown",
        width=_number(video.description, 24, 2),
        height=_number(video.description, 26, 2),
        duration_ms=_milliseconds(video),
        has_audio=any(track.handler == b"soun" and track.entry and track.samples for track in tracks),
    )


def _layout(file: BinaryIO) -> _Layout:
    index: dict[bytes, list[tuple[int, memoryview]]] = {b"ftyp": [], b"moov": [], b"moof": []}
    starts, ends, room = [], [], INDEX_LIMIT
    for kind, box, start, end in _boxes(file):
        if kind in index:
            room -= end - start
            if room < 0:
                raise MediaInvalid(f"its index is larger than {INDEX_LIMIT:,} bytes")
            file.seek(start)
            index[kind].append((box, memoryview(file.read(end - start))))
        elif kind == b"mdat":
            starts.append(start)
            ends.append(end)
    if len(index[b"ftyp"]) > 1 or len(index[b"moov"]) > 1:
        raise MediaInvalid("it is two files in one")
    if not index[b"moov"]:
        raise MediaInvalid("it has no 'moov' box, the index of its tracks")
    if starts == ends:
        raise MediaInvalid("it has no media data: no 'mdat' box, or nothing in it")
    return _Layout(index[b"moov"][0][1], index[b"moof"], starts, ends)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int, int]]:
    """The boxes of the top level: the type of each, where it starts, and where its content starts and ends."""
    at, end = 0, file.seek(0, os.SEEK_END)
    for _ in range(BOX_LIMIT):
        if at == end:
            return
        file.seek(at)
        kind, start, size = _header(memoryview(file.read(16)), end - at)
        if at + size > end:
            where = f"its '{kind.decode()}' box" if kind in _NAMED else "a box"
            raise MediaInvalid(f"the file ends inside {where}: {at + size - end:,} bytes missing")
        yield kind, at, at + start, at + size
        at += size
    raise MediaInvalid(f"it has more than {BOX_LIMIT:,} boxes")


def _children(box: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The boxes in the content of a box in memory: the type and the content of each."""
    while len(box) >= 8:  # QuickTime closes some lists with four zero bytes
        kind, start, size = _header(box[:16], len(box))
        if size > len(box):
            raise MediaInvalid("its index is damaged: a box is larger than the box around it")
        yield kind, box[start:size]
        box = box[size:]


def _header(head: memoryview, room: int) -> tuple[bytes, int, int]:
    """The type of a box with `room` bytes to the end, and how many bytes its header and the whole of it take."""
    kind, start, size = bytes(head[4:8]), 8, _number(head, 0)
    if size == 1:
        start, size = 16, _number(head, 8, 8)
    elif size == 0 and kind == b"mdat":  # to the end of the file; any other box without a size is a hole or garbage
        size = room
    if size < start:
        raise MediaInvalid("a box is smaller than its own header")
    return kind, start, size


def _tracks(layout: _Layout) -> list[_Track]:
    """All tracks, with the samples that moov and moofs list, once it is certain that these are in the file."""
    tracks: dict[int, _Track] = {}
    defaults: dict[int, tuple[int, int]] = {}  # what a sample of a track lasts and weighs if nobody says otherwise
    for kind, box in _children(layout.moov):
        if kind == b"trak":
            track = _track(box, layout)
            tracks[track.number] = track
        elif kind == b"mvex":
            trexes = [trex for inner, trex in _children(box) if inner == b"trex"]
            defaults |= {_number(trex, 4): (_number(trex, 12), _number(trex, 16)) for trex in trexes}
    promised = sum(_fragment(start, moof, tracks, defaults) for start, moof in layout.moofs)
    missing = promised + sum(layout.starts) - sum(layout.ends)
    if missing > 0:
        raise MediaInvalid(f"the media of its fragments is not all there: {missing:,} bytes missing")
    return list(tracks.values())


def _track(trak: memoryview, layout: _Layout) -> _Track:
    """A track by its own tables, which are empty in a fragmented file."""
    tkhd, mdia = _pick(trak, b"tkhd", b"mdia")
    mdhd, hdlr, minf = _pick(mdia, b"mdhd", b"hdlr", b"minf")
    (stbl,) = _pick(minf, b"stbl")
    stsd, stts = _pick(stbl, b"stsd", b"stts")
    entry, description = next(_children(stsd[8:]), (b"", stsd[:0]))
    return _Track(
        number=_after_times(tkhd),
        handler=bytes(hdlr[8:12]),
        entry=entry,
        description=description,
        timescale=_after_times(mdhd),
        # What the samples really last: writers add the decoder's delay to the durations in mdhd and mvhd.
        duration=sum(count * delta for count, delta in _rows(stts, 8, _number(stts, 4), ">II")),
        samples=_samples(stbl, layout),
        places=[_places(stbl)],
    )


def _samples(stbl: memoryview, layout: _Layout) -> int:
    """How many samples a track's tables list: every chunk of them must start in an mdat, and the last one end there.

    This is what shows a truncation where the mdat has no size of its own.
    """
    stsz, stz2, stsc, stco, co64 = _pick(stbl, b"stsz", b"stz2", b"stsc", b"stco", b"co64")
    chunks, form = (co64, ">Q") if co64 else (stco, ">I")
    samples, room = _number(stsz or stz2, 8), 0
    for (chunk,) in _rows(chunks, 8, _number(chunks, 4), form):
        mdat = bisect_right(layout.starts, chunk) - 1
        room = layout.ends[mdat] - chunk if mdat >= 0 else 0
        if room <= 0:
            raise MediaInvalid(MISSING)
    if _last_chunk(stsz, stsc, samples) > room:
        raise MediaInvalid(MISSING)
    return samples if room else 0


def _last_chunk(stsz: memoryview, stsc: memoryview, samples: int) -> int:
    """How many bytes the last chunk takes; 0 when only its start is known, as with the rare stz2."""
    entries = _number(stsc, 4)
    if not entries or not stsz:
        return 0
    inside = min(_number(stsc, 12 * entries), samples)  # samples_per_chunk of the last entry
    each = _number(stsz, 4)  # sample_size, 0 if there is a table of them
    return each * inside or sum(size for (size,) in _rows(stsz, 12 + 4 * (samples - inside), inside, ">I"))


def _places(stbl: memoryview) -> Iterator[tuple[int, int]]:
    """Where each sample of the tables starts, and its size in bytes; none where all are of one size, as sound is."""
    stsz, stsc, stco, co64 = _pick(stbl, b"stsz", b"stsc", b"stco", b"co64")
    if not stsz or not stsc or _number(stsz, 4):
        return
    sizes = (size for (size,) in _rows(stsz, 12, _number(stsz, 8), ">I"))
    runs = deque(_rows(stsc, 8, _number(stsc, 4), ">III"))
    chunks, form = (co64, ">Q") if co64 else (stco, ">I")
    inside = 0  # samples in a chunk
    for number, (at,) in enumerate(_rows(chunks, 8, _number(chunks, 4), form), 1):
        while runs and runs[0][0] <= number:
            inside = runs.popleft()[1]
        yield from _in_a_row(at, islice(sizes, inside))


def _in_a_row(at: int, sizes: Iterator[int]) -> Iterator[tuple[int, int]]:
    for size in sizes:
        yield at, size
        at += size


def _check_pictures(file: BinaryIO, video: _Track) -> None:
    """Refuse a film with a picture that does not begin with a NAL unit that fits into it, where the codec has these."""
    # 78 bytes of a visual sample entry come before the boxes in it.
    setups = {kind: box for kind, box in _children(video.description[78:]) if kind in NAL_LENGTHS}
    for kind, setup in setups.items():
        width = 1 + (_number(setup, NAL_LENGTHS[kind], 1) & 3)
        for at, size in islice(chain.from_iterable(video.places), PICTURE_LIMIT):
            if size <= width:  # a picture that was dropped
                continue
            file.seek(at)
            if not 0 < int.from_bytes(file.read(width), "big") <= size - width:
                raise MediaInvalid(EMPTIED)


def _fragment(start: int, moof: memoryview, tracks: dict[int, _Track], defaults: dict[int, tuple[int, int]]) -> int:
    """Add the samples of a moof, a box that starts at `start`, to their tracks; how many bytes of media they take."""
    taken = 0
    for nth, traf in enumerate(box for kind, box in _children(moof) if kind == b"traf"):
        (tfhd,) = _pick(traf, b"tfhd")
        number, flags = _number(tfhd, 4), _number(tfhd, 0)
        lasts, weighs = defaults.get(number, (0, 0))
        at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)  # base_data_offset, sample_description_index
        if flags & 0x8:
            lasts, at = _number(tfhd, at), at + 4
        if flags & 0x10:
            weighs = _number(tfhd, at)
        base = _number(tfhd, 8, 8) if flags & 0x1 else start
        place = base
        for trun in (box for kind, box in _children(traf) if kind == b"trun"):
            count, size = _number(trun, 4), _total(trun, 0x200, weighs)
            taken += size
            if _number(trun, 0) & 0x1:
                place = base + _number(trun, 8) - (_number(trun, 8, 1) >> 7 << 32)  # data_offset has a sign
            if number in tracks:
                tracks[number].samples += count
                tracks[number].duration += _total(trun, 0x100, lasts)
                # Of a later traf that names no base its samples stand behind those of the one before: not looked at.
                if _number(trun, 0) & 0x200 and (nth == 0 or flags & 0x20001):
                    tracks[number].places.append(_in_a_row(place, _column(trun, 0x200)))
            place += size
    return taken


def _total(trun: memoryview, column: int, default: int) -> int:
    """The sum of one column of a trun, named by its flag; where it has none, each sample has the default."""
    return sum(_column(trun, column)) if _number(trun, 0) & column else _number(trun, 4) * default


def _column(trun: memoryview, column: int) -> Iterator[int]:
    flags = _number(trun, 0)
    columns = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]  # duration, size, flags, time offset
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)  # data_offset, first_sample_flags
    index = columns.index(column)
    return (row[index] for row in _rows(trun, at, _number(trun, 4), f">{len(columns)}I"))


def _milliseconds(track: _Track) -> int | None:
    if not track.duration or not track.timescale:
        return None
    duration = (track.duration * 1000 + track.timescale // 2) // track.timescale
    return duration if duration < MAX_DURATION_MS else None


def _pick(box: memoryview, *kinds: bytes) -> list[memoryview]:
    """The content of the child of each kind; empty where there is none, so that reading from it fails."""
    found = {kind: content for kind, content in _children(box) if kind in kinds}
    return [found.get(kind, box[:0]) for kind in kinds]


def _after_times(header: memoryview) -> int:
    """What follows the two times of a tkhd (the track's number) or mdhd (the timescale): longer ones in version 1."""
    return _number(header, 20 if _number(header, 0, 1) == 1 else 12)


def _rows(box: memoryview, at: int, count: int, form: str) -> Iterator[tuple[int, ...]]:
    """The rows of a table at `at`, each of a struct's form."""
    end = at + count * struct.calcsize(form)
    if end > len(box):
        raise MediaInvalid(DAMAGED)
    return struct.iter_unpack(form, box[at:end])


def _number(box: memoryview, at: int, size: int = 4) -> int:
    """The unsigned number at `at`."""
    if at + size > len(box):
        raise MediaInvalid(DAMAGED)
    return int.from_bytes(box[at : at + size], "big")
