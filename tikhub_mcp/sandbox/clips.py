"""The media files of the sandbox, and the signed paths under which its CDN serves them."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

_FILES = {  # file name → width, height, name of the codec in `url_key`
    "h264_large.mp4": (360, 640, "h264"),
    "h264.mp4": (144, 256, "h264"),
    "h265.mp4": (360, 640, "bytevc1"),
    "h265_silent.mp4": (360, 640, "bytevc1"),
    "music.m4a": (720, 720, ""),  # the size that a photo post's `play_addr` gives for its music
}


@dataclass(frozen=True)
class Clip:
    """A media file, with the properties that answers give for it."""

    name: str
    width: int
    height: int
    codec: str
    content: bytes
    md5: str
    duration_ms: int
    bit_rate: int  # bits per second, sound included


def load_clips() -> dict[str, Clip]:
    """Return all clips by name: the file name without the suffix."""
    folder = Path(__file__).parent / "media"
    return {Path(file).stem: _read(folder / file, *shape) for file, shape in _FILES.items()}


def md5(content: bytes) -> str:
    """Return the MD5 in hex, as used in `file_hash` and in the ETag."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sign(expires: str, variant: str, clip: str) -> str:
    """Return the signature of a media link, 32 hex digits; the CDN answers 403 when it does not match the link."""
    return md5(f"{expires}/{variant}/{clip}".encode())


def cdn_path(mirror: str, expires: str, variant: str, clip: str) -> str:
    """Return the path of a clip on the CDN.

    Args:
        mirror: The mirror, "a" or "b".
        expires: When the link expires: Unix time in 8 hex digits.
        variant: How the CDN serves the file, such as "ok" or "refused".
        clip: The name of the clip.
    """
    return f"/cdn-{mirror}/{sign(expires, variant, clip)}/{expires}/video/tos/{variant}/{clip}/"


def _read(path: Path, width: int, height: int, codec: str) -> Clip:
    content = path.read_bytes()
    start = content.index(b"mvhd") + 16  # all clips have version 0 of the box, with 32-bit times
    ticks_a_second, ticks = struct.unpack_from(">II", content, start)
    ms = ticks * 1000 // ticks_a_second
    return Clip(path.stem, width, height, codec, content, md5(content), ms, len(content) * 8000 // ms)
