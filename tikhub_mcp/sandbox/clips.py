"""The sandbox's media files: small real ones, and the signed paths under which its CDN serves them."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

_FILES = {  # file name → width, height, what `url_key` calls the codec
    "h264_large.mp4": (360, 640, "h264"),
    "h264.mp4": (144, 256, "h264"),
    "h265.mp4": (360, 640, "bytevc1"),
    "h265_silent.mp4": (360, 640, "bytevc1"),
    "music.m4a": (720, 720, ""),  # what a photo post's `play_addr` claims for its music
}


@dataclass(frozen=True)
class Clip:
    """A media file, with what answers say about it."""

    name: str
    width: int
    height: int
    codec: str
    content: bytes
    md5: str
    duration_ms: int
    bit_rate: int  # bits a second, sound included


def load_clips() -> dict[str, Clip]:
    """Every clip by its name, which is the file's without the suffix."""
    folder = Path(__file__).parent / "media"
    return {Path(file).stem: _read(folder / file, *shape) for file, shape in _FILES.items()}


def md5(content: bytes) -> str:
    """The MD5 in hex, as `file_hash` and ETag carry it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sign(expires: str, variant: str, clip: str) -> str:
    """The 32 hex digits of a media link; the CDN refuses one whose other parts do not fit them."""
    return md5(f"{expires}/{variant}/{clip}".encode())


def cdn_path(mirror: str, expires: str, variant: str, clip: str) -> str:
    """Where the CDN serves a clip: `expires` is unix time in 8 hex digits, `variant` what happens to the file."""
    return f"/cdn-{mirror}/{sign(expires, variant, clip)}/{expires}/video/tos/{variant}/{clip}/"


def _read(path: Path, width: int, height: int, codec: str) -> Clip:
    content = path.read_bytes()
    start = content.index(b"mvhd") + 16  # our own files: version 0 of the box, with 32-bit times
    ticks_a_second, ticks = struct.unpack_from(">II", content, start)
    ms = ticks * 1000 // ticks_a_second
    return Clip(path.stem, width, height, codec, content, md5(content), ms, len(content) * 8000 // ms)
