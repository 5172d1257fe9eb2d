"""The receipt of a photo post's folder, `post.json`: which files it has, and how each can be checked."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tikhub_mcp.media.contents import Content, find_content
from tikhub_mcp.media.digests import digest_file
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.posts.aweme import MAX_PHOTOS
from tikhub_mcp.posts.renditions import FileKind
from tikhub_mcp.storage.atomic import Part, os_errors, write_all
from tikhub_mcp.storage.reading import read_regular, regular_status

Role = Literal["picture", "clip", "music"]

RECEIPT_NAME = "post.json"
MAX_RECEIPT_BYTES = 4 << 20  # that of 999 moving pictures has 1 MB
KINDS: dict[Role, FileKind] = {"picture": "picture", "clip": "clip", "music": "sound"}


class PhotoFile(BaseModel):
    """One file in the folder of a photo post; all values are measured from the file itself."""

    model_config = ConfigDict(frozen=True)

    n: int | None = None
    role: Role
    name: Annotated[str, Field(pattern=r"^(\d{2,3}|music)\.[a-z0-9]{3,4}$")]
    size_bytes: int
    sha256: str
    format: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, saved: Saved, role: Role, number: int | None) -> "PhotoFile":
        """Return the entry of a file that was downloaded."""
        content = Content(saved.media, saved.format, saved.path.suffix, saved.warnings)
        return cls._of(saved.path, role, number, content, saved.size, saved.sha256)

    @classmethod
    def _of(cls, path: Path, role: Role, number: int | None, content: Content, size: int, sha256: str) -> "PhotoFile":
        return cls(
            n=number,
            role=role,
            name=path.name,
            size_bytes=size,
            sha256=sha256,
            format=content.format,
            width=content.media.width or None,
            height=content.media.height or None,
            duration_ms=content.media.duration_ms,
            warnings=content.warnings,
        )

    @classmethod
    def find(cls, path: Path, role: Role, number: int | None) -> "PhotoFile | None":
        """Return the entry of a file on disk if it is complete and of its kind, else None."""
        with suppress(OSError):
            if content := find_content(path, KINDS[role]):
                return cls._of(path, role, number, content, path.stat().st_size, digest_file(path, md5=False).sha256)
        return None

    def check(self, folder: Path) -> "PhotoFile | None":
        """Return this entry if its file is unchanged, a new one if it is another complete file, else None."""
        path = folder / self.name
        with suppress(OSError):
            same_size = regular_status(path).st_size == self.size_bytes
            if same_size and digest_file(path, md5=False).sha256 == self.sha256:
                return self
        return PhotoFile.find(path, self.role, self.n)


class Receipt(BaseModel):
    """The receipt of a folder; it is written last, so that all files that it names are there.

    Attributes:
        video_id: The id of the post.
        complete: Whether every picture is there, and every moving half.
        missing: The numbers of the pictures that are not.
        sources: For each picture of the post, `PostPicture.source`.
        without_clip: The numbers of the pictures that have music in the place of a moving half.
        files: The files.
    """

    model_config = ConfigDict(frozen=True)

    video_id: str
    complete: bool
    missing: tuple[int, ...]
    sources: Annotated[tuple[str, ...], Field(max_length=MAX_PHOTOS)]
    without_clip: tuple[int, ...] = ()
    files: Annotated[tuple[PhotoFile, ...], Field(max_length=2 * MAX_PHOTOS + 1)]

    def write(self, folder: Path, staging: Path) -> None:
        """Write the receipt, replacing an earlier one.

        Args:
            folder: The folder of the post.
            staging: The path beside which the part file is written, so that it is never in the folder.

        Raises:
            DiskFull, NotWritable: It could not be written. The earlier one is unchanged, or replaced as a whole.
        """
        with os_errors(folder), Part(staging) as part:
            write_all(part.file, self.model_dump_json(indent=2).encode())
            part.target = folder / RECEIPT_NAME
            part.commit()


def read_receipt(folder: Path) -> Receipt | None:
    """Return the receipt in a folder; None if there is none, none that can be read, or the folder is a link."""
    if folder.is_symlink():
        return None
    try:
        return Receipt.model_validate_json(read_regular(folder / RECEIPT_NAME, MAX_RECEIPT_BYTES))
    except (OSError, ValueError):
        return None
