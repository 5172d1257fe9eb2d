"""Verification of a picture file of any format, and of the video that a motion photo has behind its picture."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.mp4 import inspect_file, refused
from tikhub_mcp.media.pictures.heic import read_heic
from tikhub_mcp.media.pictures.jpeg import read_jpeg
from tikhub_mcp.media.pictures.png import read_png
from tikhub_mcp.media.pictures.reading import Extent, PictureReader
from tikhub_mcp.media.pictures.webp import read_webp

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PictureFormat = Literal["jpeg", "png", "webp", "heic"]
_READERS: dict[PictureFormat, Callable[[PictureReader], Extent]] = {
    "jpeg": read_jpeg,
    "png": read_png,
    "webp": read_webp,
    "heic": read_heic,
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_NO_PICTURE = {
    b"<": "a web page or XML",
    b"{": "JSON",
    b"[": "JSON",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"ID3": "music",
    b"\x1aE\xdf\xa3": "a video",
    b"#EXTM3U": "a playlist",
    b"WEBVTT": "captions",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "compressed data",
    b"PK": "a zip archive",
}
_PAGES = (b"<", b"{", b"[")  # a server may send these in the place of any file


@dataclass(frozen=True, slots=True)
class Picture:
    """The properties of a picture file, from its bytes.

    Attributes:
        format: The format.
        width: In pixels. A rotation by the orientation in EXIF is not applied; one by the properties of HEIC is.
        height: In pixels, as `width`.
        video_at: The file offset at which a whole MP4 follows the picture, as in a motion photo; None if nothing
            follows. It may deserve a warning.
    """

    format: PictureFormat
    width: int
    height: int
    video_at: int | None

    @property
    def extension(self) -> str:
        """The extension of the file's name, with its dot."""
        return ".jpg" if self.format == "jpeg" else f".{self.format}"


def inspect_picture(path: Path) -> Picture:
    """Check that a regular file is one complete JPEG, PNG, WebP or HEIC picture, and return its properties.

    The pixels are not decoded; the modules of the formats say which defects are not detected.

    Raises:
        MediaInvalid: It is not. The message is a clause that gives the reason and quotes none of the file's content.
        OSError: It cannot be read.
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    with path.open("rb") as file:
        return inspect_picture_file(file)


def inspect_picture_file(file: BufferedIOBase) -> Picture:
    """Check an open file from its first byte to its last, as `inspect_picture` does."""
    reader = PictureReader(file)
    form = _format(file)
    width, height, end = _READERS[form](reader)
    if end < reader.size:
        _check_video(file, end)
    return Picture(form, width, height, end if end < reader.size else None)


def _format(file: BufferedIOBase) -> PictureFormat:
    """Return the format that a file's first bytes name."""
    file.seek(0)
    head = file.read(256)
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    if not head:
        raise MediaInvalid("it is empty")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, name in _NO_PICTURE.items():
        if text.startswith(start):
            reason = f"it is no picture but {name}"
            raise MediaInvalid(reason) if start in _PAGES else refused(reason)
    raise MediaInvalid("it is no picture in a known format (JPEG, PNG, WebP, HEIC)")


def _format_of_brands(head: bytes) -> PictureFormat:
    """Return the format of a file that begins with an `ftyp` box: its major brand, a version, compatible brands."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        raise refused("it is an AVIF picture, a format that is not verified here")
    if not brands & _HEIC_BRANDS:
        raise refused("it is no picture but a video or sound (MP4)")
    return "heic"


def _check_video(file: BufferedIOBase, start: int) -> None:
    """Check that the bytes from `start` to the file's end are one whole MP4."""
    try:
        inspect_file(BufferedReader(_Rest(file, start)))
    except MediaInvalid:
        raise MediaInvalid("something follows the end of the picture that is no complete video") from None


class _Rest(RawIOBase):
    """The bytes of a file from an offset on, as a file of their own."""

    def __init__(self, file: BufferedIOBase, start: int) -> None:
        self._file, self._start = file, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        return self._file.readinto(buffer)
