"""The folder of a photo post on disk: finds it among others, and tells which of its files are there."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tikhub_mcp.media.contents import EXTENSIONS, find_content
from tikhub_mcp.media.photos.receipt import KINDS, PhotoFile, Receipt, Role, read_receipt
from tikhub_mcp.posts.aweme import MAX_PHOTOS
from tikhub_mcp.posts.pictures import order_stills
from tikhub_mcp.posts.post import Post
from tikhub_mcp.posts.renditions import Quality, Rendition
from tikhub_mcp.storage.filenames import photos_identity, photos_name

FileKey = tuple[Role, int | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that belongs in the folder: its role, the picture's number or None, and the renditions, the best first."""

    role: Role
    number: int | None
    files: tuple[Rendition, ...]
    stem: str

    @property
    def names(self) -> list[str]:
        """The names that the file may have, by its format."""
        return [f"{self.stem}{extension}" for extension in EXTENSIONS[KINDS[self.role]]]

    def in_words(self, post_id: str) -> str:
        """What messages call the file."""
        picture = f"picture {self.number} of post {post_id}"
        if self.role == "music":
            return f"The music of post {post_id}"
        return picture.capitalize() if self.role == "picture" else f"The moving half of {picture}"


@dataclass(slots=True)
class Folder:
    """A folder that is there with its receipt, or the path of a new one; and what is in it."""

    path: Path
    wanted: list[Wanted]
    receipt: Receipt | None = None
    have: dict[FileKey, PhotoFile] = field(default_factory=dict)
    without_clip: set[int | None] = field(default_factory=set)

    @property
    def todo(self) -> list[Wanted]:
        """The files that are not there."""
        return [each for each in self.wanted if not self.has(each)]

    def has(self, wanted: Wanted) -> bool:
        """Whether the file is there, or known not to exist."""
        return (wanted.role, wanted.number) in self.have or (
            wanted.role == "clip" and wanted.number in self.without_clip
        )

    def remove_damaged(self) -> None:
        """Remove the damaged files of the receipt in whose place there is a whole one in another format.

        What the receipt does not name is the user's own, even if its format is one that is not understood here.

        Raises:
            CancelledError: The caller of the thread that this runs in was cancelled.
        """
        for file in self.receipt.files if self.receipt else ():
            there, path = self.have.get((file.role, file.n)), self.path / file.name
            if there is None or there.name == file.name or path.is_symlink() or not path.is_file():
                continue
            if find_content(path, KINDS[file.role]) is None:
                with suppress(OSError):
                    path.unlink()

    def new_receipt(self, post: Post, missing: list[int]) -> Receipt:
        """Return the receipt of what is there now."""
        return Receipt(
            video_id=post.video_id,
            complete=not missing,
            missing=tuple(missing),
            sources=_sources(post),
            without_clip=tuple(sorted(filter(None, self.without_clip))),
            files=tuple(self.have[key] for key in sorted(self.have, key=place_of)),
        )


def _wanted_files(post: Post, quality: Quality, *, music: bool) -> list[Wanted]:
    wanted = list[Wanted]()
    for picture in post.pictures:
        stem = f"{picture.number:02}"
        wanted.append(Wanted("picture", picture.number, order_stills(picture.stills, quality), stem))
        if picture.clips:
            wanted.append(Wanted("clip", picture.number, picture.clips, stem))
    if music and post.music:
        wanted.append(Wanted("music", None, post.music, "music"))
    return wanted


def complete_folders(root: Path, quality: Quality) -> Callable[[str, str], bool]:
    """Return a function that tells whether the folder of a post, by platform and id, is complete by its receipt."""
    found = dict[tuple[str, str], list[Path]]()
    for name, (platform, video_id, _) in _names(root, quality):
        found.setdefault((platform, video_id), []).append(root / name)

    def is_complete(platform: str, video_id: str) -> bool:
        receipts = map(read_receipt, found.get((platform, video_id), ()))
        return any(receipt is not None and receipt.complete for receipt in receipts)

    return is_complete


def place_of(key: FileKey) -> tuple[int, str]:
    """Return the place of a file in a folder: by the picture's number, the still before the clip, the music last."""
    role, number = key
    return number or MAX_PHOTOS + 1, "1" if role == "picture" else role


def find_folder(root: Path, post: Post, quality: Quality, *, music: bool) -> Folder:
    """Find the folder whose receipt names the pictures of a post; else give a new path.

    Without its receipt, a folder may have other pictures of the post: it stays as it is.

    Args:
        root: The folder in which the folders of posts are.
        post: The post.
        quality: Which file of each picture is the first choice.
        music: Whether the music is wanted.

    Raises:
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    wanted = _wanted_files(post, quality, music=music)
    found = [(copy, name) for name, (*of, copy) in _names(root, quality) if of == [post.platform, post.video_id]]
    for _, name in sorted(found):
        receipt = read_receipt(root / name)
        if receipt and (receipt.video_id, receipt.sources) == (post.video_id, _sources(post)):
            return _examine(root / name, receipt, wanted)
    copy = max((copy for copy, _ in found), default=0) + 1
    return Folder(root / photos_name(post.platform, post.author, post.video_id, quality, copy), wanted)


def _names(root: Path, quality: Quality) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """Yield the names of folders of photo posts that are taken, by whatever, each with its platform, id and copy."""
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if of := photos_identity(entry.name, quality):
                yield entry.name, of


def _examine(path: Path, receipt: Receipt, wanted: list[Wanted]) -> Folder:
    """Check the files in a folder: those of its receipt, and those that came after it was written."""
    folder = Folder(path, wanted, receipt, without_clip={*receipt.without_clip})
    for file in receipt.files:
        if checked := file.check(path):
            folder.have[file.role, file.n] = checked
    for each in wanted:
        if not folder.has(each):
            others = (PhotoFile.find(path / name, each.role, each.number) for name in each.names)
            if there := next(filter(None, others), None):
                folder.have[each.role, each.number] = there
    return folder


def _sources(post: Post) -> tuple[str, ...]:
    return tuple(picture.source for picture in post.pictures)
