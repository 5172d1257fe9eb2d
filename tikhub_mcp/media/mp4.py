"""Verification of MP4 files: checks that a file is complete and can be played, and reads its properties.

Box names are those of ISO/IEC 14496-12, the ISO base media file format. Two things are read: the index (`moov`, and
the `moof` boxes of a fragmented file), and the length of the first NAL unit of every picture in `mdat` (ISO/IEC
14496-15), which is invalid where zeros or other bytes have replaced the media. Two defects are not detected: changed
bytes elsewhere in the media, and missing fragments at the end of a fragmented file, whose duration is then that of the
remaining fragments.
"""

import re
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain, islice
from mmap import mmap
from pathlib import Path
from typing import TypeVar

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.boxes import BoxReader, read_after_times, read_int, read_rows, top_level
from tikhub_mcp.media.samples import SampleTables, in_a_row

MAX_INDEX_BYTES = 32 << 20  # bytes of moov and moofs together; 107 minutes at 60 frames a second need about 15 MB
ORDINARY_INDEX_BYTES = 256 << 10  # bytes; larger indexes are read one at a time, to limit memory
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
_large = threading.Lock()  # held while an index is read that is larger than ORDINARY_INDEX_BYTES
T = TypeVar("T")


class NoVideoTrack(MediaInvalid):
    """The file has no video track: new links would bring the same."""

    refused_content = True


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
    starts: "array[int]"
    ends: "array[int]"


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
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    with path.open("rb") as file:
        return inspect_file(file)


def inspect_file(file: BufferedIOBase) -> Media:
    """Check an open file from its first byte to its last, as `inspect` does."""
    return _examined(file, _video)


def inspect_sound_track(file: BufferedIOBase) -> int | None:
    """Check that an open file is a complete MP4 with a sound track that can be played, whether or not it has a video.

    Returns the duration of the sound track's samples in milliseconds; None if the file does not give it.

    Raises:
        MediaInvalid: It is not; see `inspect`.
        OSError, CancelledError: See `inspect`.
    """
    return _examined(file, _sound)


def _examined(file: BufferedIOBase, judge: Callable[[BufferedIOBase, list[_Track], BoxReader], T]) -> T:
    """Return what `judge` makes of the tracks of a file."""
    with ExitStack() as held:
        try:
            reader = BoxReader()
            return judge(file, _tracks(reader, _layout(file, reader, held)), reader)
        except MediaInvalid as invalid:
            raise invalid.with_traceback(None) from None  # the frames would keep the index in memory


def _video(file: BufferedIOBase, tracks: list[_Track], reader: BoxReader) -> Media:
    video = _playable(tracks)
    _check_pictures(file, video, reader)
    return Media(
        codec=_codec(video),
        width=read_int(video.description, 24, 2),
        height=read_int(video.description, 26, 2),
        duration_ms=_milliseconds(video),
        has_audio=any(map(_has_sound, tracks)),
    )


def _sound(_file: BufferedIOBase, tracks: list[_Track], _reader: BoxReader) -> int | None:
    sounds = list(filter(_has_sound, tracks))
    if not sounds:
        raise refused("it has no sound track")
    _check_clear(tracks)
    return _milliseconds(max(sounds, key=lambda track: track.samples))


def _has_sound(track: _Track) -> bool:
    return track.handler == b"soun" and bool(track.entry) and track.samples > 0


def _playable(tracks: list[_Track]) -> _Track:
    """Return the video track of a file whose tracks can be played."""
    pictures = [track for track in tracks if track.handler == b"vide" and track.entry]
    if not pictures:
        raise NoVideoTrack("it has no video track")
    video = max(pictures, key=lambda track: track.samples)  # chapter images are a video track too
    if not video.samples:
        raise MediaInvalid("its video track is empty")
    _check_clear(tracks)
    if _codec(video) == "h266":
        raise refused("it is coded in ByteDance's H.266, which nothing plays")
    return video


def _check_clear(tracks: list[_Track]) -> None:
    if any(track.encrypted for track in tracks if track.handler in (b"vide", b"soun")):
        raise refused("it is encrypted")


def refused(reason: str) -> MediaInvalid:
    """Return the error about a complete file with the wrong content, which new links would bring again."""
    error = MediaInvalid(reason)
    error.refused_content = True
    return error


def _codec(video: _Track) -> str:
    return CODECS.get(video.entry) or re.sub("[^0-9A-Za-z]", "", video.entry.decode("latin-1")) or "unknown"


def _layout(file: BufferedIOBase, reader: BoxReader, held: ExitStack) -> _Layout:
    """Read the top level; if the index is large, `held` keeps other large ones from being read at the same time."""
    # ISO/IEC 14496-12, 4.3: ftyp comes before every box of variable size, free space included.
    file.seek(0)
    if file.read(8)[4:] != b"ftyp":
        raise MediaInvalid("it is not an MP4 file: it does not begin with an 'ftyp' box")
    index: dict[bytes, list[tuple[int, memoryview]]] = {b"ftyp": [], b"moov": [], b"moof": []}
    starts, ends, size, is_large = array("Q"), array("Q"), 0, False
    for kind, box, start, end in top_level(file, reader):
        if kind in index:
            size += end - box
            if size > MAX_INDEX_BYTES:
                raise MediaInvalid(f"its index is larger than {MAX_INDEX_BYTES:,} bytes")
            if size > ORDINARY_INDEX_BYTES and not is_large:
                is_large = True
                _take_turn(held)
            file.seek(start)
            index[kind].append((box, _read(file, end - start)))
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


def _read(file: BufferedIOBase, size: int) -> memoryview:
    if size <= ORDINARY_INDEX_BYTES:
        return memoryview(file.read(size))
    content = mmap(-1, size)  # returned to the system at once; malloc would keep it, once for each thread
    file.readinto(content)
    return memoryview(content)


def _take_turn(held: ExitStack) -> None:
    """Wait until no other large index is being read; `held` ends the turn."""
    while not _large.acquire(timeout=0.1):
        check_cancelled()
    held.callback(_large.release)


def _tracks(reader: BoxReader, layout: _Layout) -> list[_Track]:
    """Return all tracks with the samples listed in moov and moofs, after checking that the samples are in the file."""
    tracks: dict[int, _Track] = {}
    defaults: dict[int, tuple[int, int]] = {}  # the default duration and size of a sample, by track id
    for kind, box in reader.children(layout.moov):
        if kind == b"trak":
            track = _track(box, reader, layout)
            tracks[track.number] = track
        elif kind == b"mvex":
            trexes = [trex for inner, trex in reader.children(box) if inner == b"trex"]
            defaults |= {read_int(trex, 4): (read_int(trex, 12), read_int(trex, 16)) for trex in trexes}
    listed = sum(_fragment(reader, start, moof, tracks, defaults) for start, moof in layout.moofs)
    missing = listed + sum(layout.starts) - sum(layout.ends)
    if missing > 0:
        raise MediaInvalid(f"the media of its fragments is not all there: {missing:,} bytes missing")
    return list(tracks.values())


def _track(trak: memoryview, reader: BoxReader, layout: _Layout) -> _Track:
    """Parse a track and its sample tables, which are empty in a fragmented file."""
    tkhd, mdia = reader.pick(trak, b"tkhd", b"mdia")
    mdhd, hdlr, minf = reader.pick(mdia, b"mdhd", b"hdlr", b"minf")
    (stbl,) = reader.pick(minf, b"stbl")
    stsd, stts = reader.pick(stbl, b"stsd", b"stts")
    tables = SampleTables.read(reader, stbl)
    entries = islice(reader.children(stsd[8:]), int.from_bytes(stsd[4:8], "big") or 1)
    entry, description = next(entries, (b"", stsd[:0]))
    return _Track(
        number=read_after_times(tkhd),
        handler=bytes(hdlr[8:12]),
        entry=entry,
        description=description,
        # Where an entry has its `sinf`, the box of the scheme of protection, differs between versions of the entry.
        encrypted=any(map(_is_encrypted, chain([(entry, description)], entries))),
        timescale=read_after_times(mdhd),
        # The sum of the samples' durations: encoders add the decoder delay to the durations in mdhd and mvhd.
        duration=sum(count * delta for count, delta in read_rows(stts, 8, read_int(stts, 4), ">II")),
        samples=tables.count(layout.starts, layout.ends),
        places=[tables.places()],
    )


def _is_encrypted(sample_entry: tuple[bytes, memoryview]) -> bool:
    kind, content = sample_entry
    return kind in ENCRYPTED or b"sinf" in bytes(content)


def _check_pictures(file: BufferedIOBase, video: _Track, reader: BoxReader) -> None:
    """Check that every picture begins with a NAL unit that fits into it, if the codec uses NAL units."""
    # A visual sample entry has 78 bytes of fields before its child boxes.
    configurations = {kind: box for kind, box in reader.children(video.description[78:]) if kind in NAL_LENGTHS}
    for kind, configuration in configurations.items():
        width = 1 + (read_int(configuration, NAL_LENGTHS[kind], 1) & 3)
        for at, size in islice(chain.from_iterable(video.places), MAX_PICTURES):
            check_cancelled()
            if size <= width:  # a dropped picture, which has no content
                continue
            file.seek(at)
            if not 0 < int.from_bytes(file.read(width), "big") <= size - width:
                raise MediaInvalid(EMPTIED)


def _fragment(
    reader: BoxReader,
    start: int,
    moof: memoryview,
    tracks: dict[int, _Track],
    defaults: dict[int, tuple[int, int]],
) -> int:
    """Add the samples of a moof, whose box starts at `start`, to their tracks, and return their total size in bytes."""
    total = 0
    for nth, traf in enumerate(box for kind, box in reader.children(moof) if kind == b"traf"):
        (tfhd,) = reader.pick(traf, b"tfhd")
        number, flags = read_int(tfhd, 4), read_int(tfhd, 0)
        default_duration, default_size = defaults.get(number, (0, 0))
        at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)  # base_data_offset, sample_description_index
        if flags & 0x8:
            default_duration, at = read_int(tfhd, at), at + 4
        if flags & 0x10:
            default_size = read_int(tfhd, at)
        base = read_int(tfhd, 8, 8) if flags & 0x1 else start
        place = base
        for trun in (box for kind, box in reader.children(traf) if kind == b"trun"):
            count, size = read_int(trun, 4), _total(trun, 0x200, default_size)
            total += size
            if read_int(trun, 0) & 0x1:
                place = base + read_int(trun, 8) - (read_int(trun, 8, 1) >> 7 << 32)  # data_offset is signed
            if number in tracks:
                tracks[number].samples += count
                tracks[number].duration += _total(trun, 0x100, default_duration)
                # A later traf without a base starts after the previous traf's data: its pictures are not checked.
                if read_int(trun, 0) & 0x200 and (nth == 0 or flags & 0x20001):
                    tracks[number].places.append(in_a_row(place, _column(trun, 0x200)))
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
