"""Verification of music files: MP3 (ISO/IEC 11172-3 and 13818-3, layer III), and MP4 with a sound track."""

import os
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

from tikhub_mcp.concurrency import check_cancelled
from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.mp4 import inspect_sound_track

SoundFormat = Literal["mp3", "m4a"]
MAX_MP3_FRAMES = 2_000_000  # about 14 hours
MAX_TAGS = 100  # at the beginning; an ordinary MP3 has one
_MPEG1 = 3  # the version field; 2 is MPEG 2, 0 is MPEG 2.5
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # samples a second
_KBITS = {  # kbit/s by the index of the bit rate; 0 ("free") and 15 are not used
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAME = 0xFFFE0C00  # the bits of a header that all frames of a file share: sync, version, layer, sample rate
_MIN_FRAMES = 3  # fewer could be other bytes that look like a header


@dataclass(frozen=True, slots=True)
class Sound:
    """The properties of a music file.

    Attributes:
        format: "mp3", or "m4a" for an MP4 with a sound track.
        duration_ms: In milliseconds; None if the file does not give it.
    """

    format: SoundFormat
    duration_ms: int | None

    @property
    def extension(self) -> str:
        """The extension of the file's name, with its dot."""
        return f".{self.format}"


def inspect_sound(path: Path) -> Sound:
    """Check that a regular file is a complete MP3 or an MP4 with a sound track, and return its properties.

    An MP3 that ends between two frames is complete unless it has a header that counts them (Xing, Info).

    Raises:
        MediaInvalid: It is not. The message is a clause that gives the reason and quotes none of the file's content.
        OSError: It cannot be read.
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return Sound("m4a", inspect_sound_track(file))
        return Sound("mp3", _mp3_duration(file))


def _mp3_duration(file: BufferedIOBase) -> int:
    """Walk the frames of an MP3 and return their duration in milliseconds."""
    at, end = _after_tags(file), _before_tags(file)
    first, frames, promised, rate, samples = 0, 0, 0, 1, 0
    while at < end:
        if not frames % 1000:
            check_cancelled()
        file.seek(at)
        header = int.from_bytes(file.read(4), "big")
        size, rate, samples = _frame(header)
        if not size or (frames and (header ^ first) & _SAME):
            raise MediaInvalid(
                "it is no MP3 and no MP4 with sound" if frames < _MIN_FRAMES else "its MP3 data is damaged or cut"
            )
        if at + size > end:
            raise MediaInvalid("the music is cut: the file ends inside an MP3 frame")
        if not frames:
            first, promised = header, _promised_frames(file.read(min(size, 200) - 4))
        frames, at = frames + 1, at + size
        if frames > MAX_MP3_FRAMES:
            raise MediaInvalid(f"it has more than {MAX_MP3_FRAMES:,} MP3 frames")
    if frames < _MIN_FRAMES:
        raise MediaInvalid("it is no MP3 and no MP4 with sound")
    frames -= promised > 0  # the frame with the count has no sound
    if frames < promised:
        raise MediaInvalid(f"the music is cut: {promised - frames:,} MP3 frames are missing")
    return frames * samples * 1000 // rate


def _frame(header: int) -> tuple[int, int, int]:
    """Return the size in bytes of a frame, the samples a second and the samples in it; a size of 0 if it is none."""
    version, layer, kbits, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or not 0 < kbits < 15 or rate == 3:
        return 0, 1, 0
    samples = 1152 if version == _MPEG1 else 576
    bits = 1000 * _KBITS[version == _MPEG1][kbits]
    return samples // 8 * bits // _RATES[version][rate] + (header >> 9 & 1), _RATES[version][rate], samples


def _promised_frames(content: bytes) -> int:
    """Return how many frames follow the first one, if that is a header of an encoder; else 0."""
    at = max(content.find(b"Xing", 0, 48), content.find(b"Info", 0, 48))
    has_count = at >= 0 and len(content) >= at + 12 and content[at + 7] & 1
    return int.from_bytes(content[at + 8 : at + 12], "big") if has_count else 0


def _after_tags(file: BufferedIOBase) -> int:
    """Return the offset after the ID3v2 tags at the beginning; their sizes have seven bits a byte."""
    at = 0
    for _ in range(MAX_TAGS):
        file.seek(at)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
        at += 10 + size + (10 if tag[5] & 0x10 else 0)
    return at


def _before_tags(file: BufferedIOBase) -> int:
    """Return the offset of the ID3v1 and APE tags at the end."""
    end = file.seek(0, os.SEEK_END)
    if _read(file, end - 128, 3) == b"TAG":
        end -= 128
    footer = _read(file, end - 32, 32)
    if footer[:8] == b"APETAGEX":
        has_header = footer[23] >> 7
        end -= int.from_bytes(footer[12:16], "little") + 32 * has_header
    return end


def _read(file: BufferedIOBase, at: int, size: int) -> bytes:
    if at < 0:
        return b""
    file.seek(at)
    return file.read(size)
