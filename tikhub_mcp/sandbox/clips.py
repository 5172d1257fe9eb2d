"""The media files of the sandbox, and the signed paths under which its CDN serves them."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

_CLIPS = {  # name → file name, and what answers say: width, height, name of the codec in `url_key`
    "h264_large": ("h264_large.mp4", 360, 640, "h264"),
    "h264": ("h264.mp4", 144, 256, "h264"),
    "h264_dash": ("h264_dash.mp4", 432, 768, "h264"),
    "h265": ("h265.mp4", 360, 640, "bytevc1"),
    "h265_silent": ("h265_silent.mp4", 360, 640, "bytevc1"),
    "media-video-hvc1": ("h265_silent.mp4", 720, 1280, "bytevc1"),  # the name is a part of its links
    "sound": ("music.m4a", 360, 640, "h264"),
    "encrypted": ("h264_large.mp4", 360, 640, "h264"),
    "h266": ("h265.mp4", 720, 1280, "bytevc2"),
    "music": ("music.m4a", 720, 720, ""),  # the size that a photo post's `play_addr` gives for its music
}
_ENTRIES = {"encrypted": (b"avc1", b"encv"), "h266": (b"hvc1", b"bvc2")}  # name → its sample entry, and a new one


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

    @property
    def media_type(self) -> str:
        """The content type with which the CDN serves the file."""
        return "video/mp4" if self.codec else "audio/mp4"

    @property
    def format(self) -> str:
        """The format that a gear names: "dash" for a file of the picture alone, which not all such files are given."""
        return "dash" if self.name == "h264_dash" else "mp4"


def load_clips() -> dict[str, Clip]:
    """Return all clips by name."""
    folder = Path(__file__).parent / "media"
    return {name: _read(name, folder / shape[0], *shape[1:]) for name, shape in _CLIPS.items()}


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


def _read(name: str, path: Path, width: int, height: int, codec: str) -> Clip:
    content = path.read_bytes()
    if name in _ENTRIES:
        old, new = _ENTRIES[name]
        at = content.index(old, content.index(b"stsd"))
        content = content[:at] + new + content[at + len(old) :]
    start = content.index(b"mvhd") + 16  # all clips have version 0 of the box, with 32-bit times
    ticks_a_second, ticks = struct.unpack_from(">II", content, start)
    ms = ticks * 1000 // ticks_a_second
    return Clip(name, width, height, codec, content, md5(content), ms, len(content) * 8000 // ms)
