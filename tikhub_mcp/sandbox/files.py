"""The small files of the sandbox beside its clips: pictures, music and captions, and their paths on the CDN."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tikhub_mcp.sandbox.clips import md5, sign

_FILES = {  # extension in a link → file name, content type
    ".jpeg": ("photo.jpeg", "image/jpeg"),
    ".webp": ("photo.webp", "image/webp"),
    ".heic": ("photo.heic", "image/heic"),
    ".m4a": ("music.m4a", "audio/mp4"),
    ".vtt": ("captions.vtt", "text/plain"),
}
PHOTO_SIZE = (96, 128)  # width and height of the pictures, in pixels


@dataclass(frozen=True)
class SmallFile:
    """A file that the CDN serves as it is."""

    content: bytes
    md5: str
    media_type: str


def load_files() -> dict[str, SmallFile]:
    """Return the files by the extension of the links to them."""
    folder = Path(__file__).parent / "media"
    contents = {extension: ((folder / name).read_bytes(), kind) for extension, (name, kind) in _FILES.items()}
    return {extension: SmallFile(content, md5(content), kind) for extension, (content, kind) in contents.items()}


def extension_of(name: str) -> str:
    """Return the extension of a name in a link."""
    return PurePosixPath(name).suffix


def file_path(mirror: str, expires: str, variant: str, name: str) -> str:
    """Return the path of a small file on the CDN; the arguments are those of `clips.cdn_path`."""
    return f"/cdn-{mirror}/{sign(expires, variant, name)}/{expires}/file/{variant}/{name}"
