"""Verification of MP4 files: checks that a file is complete and can be played, and reads its properties.

Box names are those of ISO/IEC 14496-12, the ISO base media file format. Two things are read: the index (`moov`, and
the `moof` boxes of a fragmented file), and the length of the first NAL unit of every picture in `mdat` (ISO/IEC
14496-15), which is invalid where zeros or other bytes have replaced the media. Two defects are not detected: changed
bytes elsewhere in the media, and missing fragments at the end of a fragmented file, whose duration is then that of the
remaining fragments.
"""

import os
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.boxes import children, pick, read_after_times, read_header, read_int, read_rows

MAX_INDEX_BYTES = 64 << 20  # bytes of moov and moofs together; 107 minutes at 60 frames a second need about 15 MB
MAX_BOXES = 1_000_000  # at the top level; the same video with a fragment of two boxes per frame has 770,000
MAX_PICTURES = 1_000_000  # pictures that are checked; the same video has 385,000
MAX_DURATION_MS = 1 << 53  # a longer duration is damage, and not every JSON parser can represent it

CODECS = {
    **dict.fromkeys((b"avc1", b"avc3", b"dva1", b"dvav"), "h264"),
    **dict.fromkeys((b"hvc1", b"hev1", b"dvh1", b"dvhe"), "h265"),
    **dict.fromkeys((b"vvc1", b"vvi1", b"bvc2"), "h266"),  # bvc2 is ByteDance's own
    b"av01": "av1",
    b"vp09": "vp9",
}
ENCRYPTED = (b"encv", b"enca", b"drmi", b"drms")  # ISO/IEC 14496-12, 8.12: video and sound; and Apple's own
NAL_LENGTHS = {b"avcC": 4, b"hvcC": 21}  # the offset of lengthSizeMinusOne in a decoder configuration record
EMPTIED = "its media is damaged: where a picture should begin there is something else"
MISSING = "its index names media that are not in the file: part of it is missing"
_NAMED = (b"ftyp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"free", b"skip")  # types that messages may quote


@dataclass(frozen=True, slots=True)
class Media:
    """The properties of a video file, from its index.

    Attributes:
        codec: The video codec: h264, h265, av1, vp9, or the code of another sample entry, such as "mp4v".
        width: In pixels, from the visual sample entry, before the player rotates or scales the picture.
        height: In pixels, as `width`.
        duration_ms: The duration of the video track's samples in milliseconds; None if the file does not give it.
        has_audio: Whether there is an audio track that is not empty.
    """

    codec: str
    width: int
    height: int
    duration_ms: int | None
    has_audio: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """The top level of a file: its index, and the file offsets at which the content of each mdat starts and ends."""

    moov: memoryview
    moofs: list[tuple[int, memoryview]]  # the file offset of each box, and its content
    starts: list[int]
    ends: list[int]


@dataclass(slots=True)
class _Track:
    """One track and the samples that the index lists for it."""

    number: int  # the track's id
    handler: bytes  # `vide` for video, `soun` for audio
    entry: bytes  # the type of the first sample entry, which names the codec
    description: memoryview  # the content of that sample entry
    encrypted: bool  # whether any of its sample entries is for encrypted media
    timescale: int  # units of time per second
    duration: int  # of all samples, in these units
    samples: int  # how many there are
    places: list[Iterator[tuple[int, int]]]  # runs of samples: the file offset and the size in bytes of each


def inspect(path: Path) -> Media:
    """Check that a regular file is a complete MP4 with a video track that can be played, and return its properties.

    Raises:
        MediaInvalid: It is not. The message is a clause that gives the reason and quotes none of the file's content.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        # ISO/IEC 14496-12, 4.3: ftyp comes before every box of variable size, free space included.
        if file.read(8)[4:] != b"ftyp":
            raise MediaInvalid("it is not an MP4 file: it does not begin with an 'ftyp' box")
        tracks = _tracks(_layout(file))
        video = _playable(tracks)
        _check_pictures(file, video)
    return Media(
        codec=_codec(video),
        width=read_int(video.description, 24, 2),
        height=read_int(video.description, 26, 2),
        duration_ms=_milliseconds(video),
        has_audio=any(track.handler == b"soun" and track.entry and track.samples for track in tracks),
    )


def _playable(tracks: list[_Track]) -> _Track:
    """Return the video track of a file whose tracks can be played."""
    pictures = [track for track in tracks if track.handler == b"vide" and track.entry]
    if not pictures:
        raise _refused("it has no video track")
    video = max(pictures, key=lambda track: track.samples)  # chapter images are a video track too
    if not video.samples:
        raise MediaInvalid("its video track is empty")
    if any(track.encrypted for track in tracks if track.handler in (b"vide", b"soun")):
        raise _refused("it is encrypted")
    if _codec(video) == "h266":
        raise _refused("it is coded in ByteDance's H.266, which nothing plays")
    return video


def _refused(reason: str) -> MediaInvalid:
    """The error about a complete file with the wrong content, which new links would bring again."""
    error = MediaInvalid(reason)
    error.refused_content = True
    return error


def _codec(video: _Track) -> str:
    return CODECS.get(video.entry) or re.sub("[^0-9A-Za-z]", "", video.entry.decode("latin-1")) or "unknown"


def _layout(file: BinaryIO) -> _Layout:
    index: dict[bytes, list[tuple[int, memoryview]]] = {b"ftyp": [], b"moov": [], b"moof": []}
    starts, ends, room = [], [], MAX_INDEX_BYTES
    for kind, box, start, end in _boxes(file):
        if kind in index:
            room -= end - start
            if room < 0:
                raise MediaInvalid(f"its index is larger than {MAX_INDEX_BYTES:,} bytes")
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
    """Yield the top-level boxes: the type of each, and the file offsets of its start, its content and its end."""
    at, end = 0, file.seek(0, os.SEEK_END)
    for _ in range(MAX_BOXES):
        if at == end:
            return
        file.seek(at)
        kind, start, size = read_header(memoryview(file.read(16)), end - at)
        if at + size > end:
            where = f"its '{kind.decode()}' box" if kind in _NAMED else "a box"
            raise MediaInvalid(f"the file ends inside {where}: {at + size - end:,} bytes missing")
        yield kind, at, at + start, at + size
        at += size
    raise MediaInvalid(f"it has more than {MAX_BOXES:,} boxes")


def _tracks(layout: _Layout) -> list[_Track]:
    """Return all tracks with the samples listed in moov and moofs, after checking that the samples are in the file."""
    tracks: dict[int, _Track] = {}
    defaults: dict[int, tuple[int, int]] = {}  # the default duration and size of a sample, by track id
    for kind, box in children(layout.moov):
        if kind == b"trak":
            track = _track(box, layout)
            tracks[track.number] = track
        elif kind == b"mvex":
            trexes = [trex for inner, trex in children(box) if inner == b"trex"]
            defaults |= {read_int(trex, 4): (read_int(trex, 12), read_int(trex, 16)) for trex in trexes}
    listed = sum(_fragment(start, moof, tracks, defaults) for start, moof in layout.moofs)
    missing = listed + sum(layout.starts) - sum(layout.ends)
    if missing > 0:
        raise MediaInvalid(f"the media of its fragments is not all there: {missing:,} bytes missing")
    return list(tracks.values())


def _track(trak: memoryview, layout: _Layout) -> _Track:
    """Parse a track and its sample tables, which are empty in a fragmented file."""
    tkhd, mdia = pick(trak, b"tkhd", b"mdia")
    mdhd, hdlr, minf = pick(mdia, b"mdhd", b"hdlr", b"minf")
    (stbl,) = pick(minf, b"stbl")
    stsd, stts = pick(stbl, b"stsd", b"stts")
    entries = list(islice(children(stsd[8:]), int.from_bytes(stsd[4:8], "big") or 1))
    entry, description = entries[0] if entries else (b"", stsd[:0])
    return _Track(
        number=read_after_times(tkhd),
        handler=bytes(hdlr[8:12]),
        entry=entry,
        description=description,
        # Where an entry has its `sinf`, the box of the scheme of protection, differs between versions of the entry.
        encrypted=any(kind in ENCRYPTED or b"sinf" in bytes(content) for kind, content in entries),
        timescale=read_after_times(mdhd),
        # The sum of the samples' durations: encoders add the decoder delay to the durations in mdhd and mvhd.
        duration=sum(count * delta for count, delta in read_rows(stts, 8, read_int(stts, 4), ">II")),
        samples=_samples(stbl, layout),
        places=[_places(stbl)],
    )


def _samples(stbl: memoryview, layout: _Layout) -> int:
    """Return the number of samples in a track's tables.

    Every chunk must start in an mdat, and the last chunk must end in it. This detects truncation even if the mdat has
    no size of its own.
    """
    stsz, stz2, stsc, stco, co64 = pick(stbl, b"stsz", b"stz2", b"stsc", b"stco", b"co64")
    chunks, form = (co64, ">Q") if co64 else (stco, ">I")
    samples, room = read_int(stsz or stz2, 8), 0
    for (chunk,) in read_rows(chunks, 8, read_int(chunks, 4), form):
        mdat = bisect_right(layout.starts, chunk) - 1
        room = layout.ends[mdat] - chunk if mdat >= 0 else 0
        if room <= 0:
            raise MediaInvalid(MISSING)
    if _last_chunk(stsz, stsc, samples) > room:
        raise MediaInvalid(MISSING)
    return samples if room else 0


def _last_chunk(stsz: memoryview, stsc: memoryview, samples: int) -> int:
    """Return the size of the last chunk in bytes; 0 if it is not known, as with the rare stz2."""
    entries = read_int(stsc, 4)
    if not entries or not stsz:
        return 0
    inside = min(read_int(stsc, 12 * entries), samples)  # samples_per_chunk of the last entry
    each = read_int(stsz, 4)  # sample_size; 0 if a table of sizes follows
    return each * inside or sum(size for (size,) in read_rows(stsz, 12 + 4 * (samples - inside), inside, ">I"))


def _places(stbl: memoryview) -> Iterator[tuple[int, int]]:
    """Yield the file offset and the size of each sample; nothing if all have the same size, as in audio tracks."""
    stsz, stsc, stco, co64 = pick(stbl, b"stsz", b"stsc", b"stco", b"co64")
    if not stsz or not stsc or read_int(stsz, 4):
        return
    sizes = (size for (size,) in read_rows(stsz, 12, read_int(stsz, 8), ">I"))
    runs = deque(read_rows(stsc, 8, read_int(stsc, 4), ">III"))
    chunks, form = (co64, ">Q") if co64 else (stco, ">I")
    inside = 0  # samples in a chunk
    for number, (at,) in enumerate(read_rows(chunks, 8, read_int(chunks, 4), form), 1):
        while runs and runs[0][0] <= number:
            inside = runs.popleft()[1]
        yield from _in_a_row(at, islice(sizes, inside))


def _in_a_row(at: int, sizes: Iterator[int]) -> Iterator[tuple[int, int]]:
    for size in sizes:
        yield at, size
        at += size


def _check_pictures(file: BinaryIO, video: _Track) -> None:
    """Check that every picture begins with a NAL unit that fits into it, if the codec uses NAL units."""
    # A visual sample entry has 78 bytes of fields before its child boxes.
    configurations = {kind: box for kind, box in children(video.description[78:]) if kind in NAL_LENGTHS}
    for kind, configuration in configurations.items():
        width = 1 + (read_int(configuration, NAL_LENGTHS[kind], 1) & 3)
        for at, size in islice(chain.from_iterable(video.places), MAX_PICTURES):
            if size <= width:  # a dropped picture, which has no content
                continue
            file.seek(at)
            if not 0 < int.from_bytes(file.read(width), "big") <= size - width:
                raise MediaInvalid(EMPTIED)


def _fragment(start: int, moof: memoryview, tracks: dict[int, _Track], defaults: dict[int, tuple[int, int]]) -> int:
    """Add the samples of a moof, whose box starts at `start`, to their tracks, and return their total size in bytes."""
    total = 0
    for nth, traf in enumerate(box for kind, box in children(moof) if kind == b"traf"):
        (tfhd,) = pick(traf, b"tfhd")
        number, flags = read_int(tfhd, 4), read_int(tfhd, 0)
        default_duration, default_size = defaults.get(number, (0, 0))
        at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)  # base_data_offset, sample_description_index
        if flags & 0x8:
            default_duration, at = read_int(tfhd, at), at + 4
        if flags & 0x10:
            default_size = read_int(tfhd, at)
        base = read_int(tfhd, 8, 8) if flags & 0x1 else start
        place = base
        for trun in (box for kind, box in children(traf) if kind == b"trun"):
            count, size = read_int(trun, 4), _total(trun, 0x200, default_size)
            total += size
            if read_int(trun, 0) & 0x1:
                place = base + read_int(trun, 8) - (read_int(trun, 8, 1) >> 7 << 32)  # data_offset is signed
            if number in tracks:
                tracks[number].samples += count
                tracks[number].duration += _total(trun, 0x100, default_duration)
                # A later traf without a base starts after the previous traf's data: its pictures are not checked.
                if read_int(trun, 0) & 0x200 and (nth == 0 or flags & 0x20001):
                    tracks[number].places.append(_in_a_row(place, _column(trun, 0x200)))
            place += size
    return total


def _total(trun: memoryview, column: int, default: int) -> int:
    """Return the sum of a trun's column, which is named by its flag; without the column each sample has the default."""
    return sum(_column(trun, column)) if read_int(trun, 0) & column else read_int(trun, 4) * default


def _column(trun: memoryview, column: int) -> Iterator[int]:
    flags = read_int(trun, 0)
    columns = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]  # duration, size, flags, time offset
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)  # data_offset, first_sample_flags
    index = columns.index(column)
    return (row[index] for row in read_rows(trun, at, read_int(trun, 4), f">{len(columns)}I"))


def _milliseconds(track: _Track) -> int | None:
    if not track.duration or not track.timescale:
        return None
    duration = (track.duration * 1000 + track.timescale // 2) // track.timescale
    return duration if duration < MAX_DURATION_MS else None
