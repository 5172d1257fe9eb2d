"""What a file contains: it is verified as the kind of file that it has to be."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.captions import read_captions
from tikhub_mcp.media.mp4 import Media, NoVideoTrack, inspect, refused
from tikhub_mcp.media.pictures.picture import inspect_picture
from tikhub_mcp.media.sound import inspect_sound
from tikhub_mcp.posts.renditions import FileKind
from tikhub_mcp.storage.reading import regular_status

EXTENSIONS: dict[FileKind, tuple[str, ...]] = {  # that names of files have, but of videos
    "picture": (".jpg", ".png", ".webp", ".heic"),
    "cover": (".jpg", ".png", ".webp"),
    "clip": (".mp4",),
    "sound": (".mp3", ".m4a"),
    "caption": (".vtt",),
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a verified file contains.

    Attributes:
        media: Its properties. The codec of a file that is no video is its format; width and height may be 0.
        format: "mp4", "jpeg", "png", "webp", "heic", "mp3", "m4a" or "webvtt".
        extension: The extension that its name has to have, with the dot.
        warnings: What a caller should know about it.
    """

    media: Media
    format: str
    extension: str
    warnings: tuple[str, ...] = ()


class SoundInPlaceOfClip(Exception):
    """What has the place of a clip is music: the picture has no moving half."""


def inspect_content(path: Path, kind: FileKind) -> Content:
    """Check that a regular file is complete and of a kind, and return what it contains.

    Raises:
        MediaInvalid: It is not. The message is a clause that gives the reason and quotes none of the file's content.
        SoundInPlaceOfClip: A clip was expected, and it is a complete music file.
        OSError: It cannot be read.
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    match kind:
        case "video":
            return Content(inspect(path), "mp4", ".mp4")
        case "clip":
            return _inspect_clip(path)
        case "picture" | "cover":
            picture = inspect_picture(path)
            if kind == "cover" and picture.format == "heic":
                raise refused("it is in HEIC, which few programs open")
            warnings = () if picture.video_at is None else ("a video follows the picture in the same file",)
            media = Media(picture.format, picture.width, picture.height, None, has_audio=False)
            return Content(media, picture.format, picture.extension, warnings)
        case "sound":
            sound = inspect_sound(path)
            media = Media(sound.format, 0, 0, sound.duration_ms, has_audio=True)
            return Content(media, sound.format, sound.extension)
        case "caption":
            read_captions(path)
            return Content(Media("webvtt", 0, 0, None, has_audio=False), "webvtt", ".vtt")


def find_content(path: Path, kind: FileKind, newer_than: float = -math.inf) -> Content | None:
    """Return what a file on disk contains; None if it is not complete, not of the kind, or not named for its content.

    Args:
        path: Where the file is.
        kind: What it has to be.
        newer_than: A file that is not newer does not count, in Unix seconds.

    Raises:
        CancelledError: See `inspect_content`.
    """
    with suppress(OSError, MediaInvalid, SoundInPlaceOfClip):
        if regular_status(path).st_mtime > newer_than:
            content = inspect_content(path, kind)
            return content if content.extension == path.suffix else None
    return None


def _inspect_clip(path: Path) -> Content:
    try:
        return Content(inspect(path), "mp4", ".mp4")
    except MediaInvalid as invalid:
        if not _is_music(path, invalid):
            raise
    raise SoundInPlaceOfClip


def _is_music(path: Path, invalid: MediaInvalid) -> bool:
    try:
        return inspect_sound(path).format == "mp3" or isinstance(invalid, NoVideoTrack)
    except MediaInvalid:
        return False
