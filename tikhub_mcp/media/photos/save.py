"""Saves the pictures of a photo post in a folder: fetches what is missing in it, and writes its receipt.

A new folder is made under another name and renamed when all that can be had is in it. Later calls add files to it one
by one. A folder under its final name has complete files only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import FileError, MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media.contents import SoundInPlaceOfClip
from tikhub_mcp.media.download import Saved
from tikhub_mcp.media.photos.folder import FileKey, Folder, Wanted, find_folder, place_of, wanted_files
from tikhub_mcp.media.photos.receipt import PhotoFile, Receipt
from tikhub_mcp.posts.post import Post
from tikhub_mcp.posts.renditions import Quality, Rendition
from tikhub_mcp.storage.atomic import PartFolder, os_errors
from tikhub_mcp.text import first_few

MAX_NUMBERS = 10  # numbers of missing pictures in a message
MAX_WARNINGS = 5  # about the files of one post


class Fetch(Protocol):
    """Downloads one file, as `Downloader.fetch` does, when it is its turn."""

    def __call__(
        self, files: tuple[Rendition, ...], target: Path, staging: Path, name: str, progress: Callable[[int], None]
    ) -> Awaitable[Saved]:
        """Download the first of the files that can be had."""
        ...


@dataclass(frozen=True, slots=True)
class SavedPhotos:
    """The folder of a photo post, under its final name.

    Attributes:
        folder: Where it is.
        count: How many pictures the post has.
        files: The files in it, in order.
        missing: The numbers of the pictures that are not complete.
        reused: Whether all of it was on disk already.
        failure: Why pictures are missing, or None.
        warnings: What a caller should know about it.
    """

    folder: Path
    count: int
    files: tuple[PhotoFile, ...]
    missing: tuple[int, ...]
    reused: bool
    failure: FileError | None = None
    warnings: tuple[str, ...] = ()


class _OverLimit(Exception):
    """The files of a post are larger together than the limit."""


class PhotoFolders:
    """Saves the pictures of photo posts, each post in a folder of its own.

    Args:
        largest: The most bytes that the files of one post may have together.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest

    async def save(
        self,
        root: Path,
        post: Post,
        quality: Quality,
        fetch: Fetch,
        progress: Callable[[int, int], None],
        *,
        music: bool,
    ) -> SavedPhotos:
        """Return the folder of a post, after fetching what is missing in it, side by side.

        Args:
            root: The folder in which the folders of posts are; it exists.
            post: The post.
            quality: Which file of each picture is the first choice.
            fetch: Downloads one file.
            progress: Called with the number of files that are there or were tried, and the number that are wanted.
            music: Whether the music is wanted.

        Raises:
            MediaUnavailable: Nothing came, and there is no folder.
            TooLarge, DiskFull, NotWritable: It cannot be saved.
        """
        wanted = wanted_files(post, quality, music=music)
        folder = await in_thread(find_folder, root, post, quality, wanted)
        staging = root / f"{post.platform}_{post.video_id}"
        work = _Work(self._largest, post, folder, fetch, progress)
        with ExitStack() as held:
            part: PartFolder | None = None
            if folder.is_new:
                with os_errors(folder.path):
                    part = held.enter_context(PartFolder(folder.path))
            todo = [each for each in wanted if not folder.has(each)]
            await work.fetch_all(todo, len(wanted), part.path if part else folder.path, staging)
            missing = sorted({each.number for each in todo if each.number and not folder.has(each)})
            if part and not folder.have:
                raise work.failure(missing)
            receipt = folder.new_receipt(post, missing)
            await in_thread(_finish, receipt, folder, part, staging)
        return SavedPhotos(
            folder.path,
            len(post.pictures),
            receipt.files,
            receipt.missing,
            reused=not todo,
            failure=work.failure(missing) if missing else None,
            warnings=(*work.warnings(), *_warnings(receipt.files))[:MAX_WARNINGS],
        )


class _Work:
    """The downloads for one folder."""

    def __init__(
        self,
        largest: int,
        post: Post,
        folder: Folder,
        fetch: Fetch,
        progress: Callable[[int, int], None],
    ) -> None:
        self._largest, self._post, self._folder, self._fetch, self._progress = largest, post, folder, fetch, progress
        self._sizes = {key: file.size_bytes for key, file in folder.have.items()}
        self._failures: dict[FileKey, FileError] = {}

    async def fetch_all(self, todo: list[Wanted], total: int, path: Path, staging: Path) -> None:
        """Fetch the files side by side; what can be had is added to the folder."""
        done = total - len(todo)
        self._progress(done, total)

        async def fetch_one(wanted: Wanted) -> None:
            nonlocal done
            await self._fetch_one(wanted, path, staging)
            done += 1
            self._progress(done, total)

        try:
            async with asyncio.TaskGroup() as group:
                for each in todo:
                    group.create_task(fetch_one(each))
        except BaseExceptionGroup as several:
            first = several.exceptions[0]
            if isinstance(first, _OverLimit):
                raise TooLarge(
                    f"The files of post {self._post.video_id} have more than {self._largest:,} bytes together "
                    "(TIKHUB_MAX_BYTES)."
                ) from None
            raise first from None

    async def _fetch_one(self, wanted: Wanted, path: Path, staging: Path) -> None:
        key, folder = (wanted.role, wanted.number), self._folder

        def note_size(received: int) -> None:
            self._sizes[key] = received
            if sum(self._sizes.values()) > self._largest:
                raise _OverLimit

        name = wanted.in_words(self._post.video_id)
        try:
            if not wanted.files:
                raise _no_links(name)
            beside = staging.with_name(f"{staging.name}.{wanted.stem}")
            saved = await self._fetch(wanted.files, path / wanted.stem, beside, name, note_size)
        except SoundInPlaceOfClip:
            if wanted.number is not None:
                folder.without_clip.add(wanted.number)
        except (MediaUnavailable, MediaInvalid) as failure:
            self._failures[wanted.role, wanted.number] = failure
        else:
            folder.have[key] = PhotoFile.of(saved, wanted.role, wanted.number)
            self._sizes[key] = saved.size
            return
        self._sizes.pop(key, None)

    def failure(self, missing: list[int]) -> MediaUnavailable:
        """Return the error about the pictures that are missing."""
        failures = [self._failures[key] for key in sorted(self._failures, key=place_of) if key[0] != "music"]
        kept = "What came is kept: the same call again fetches only the rest." if self._folder.have else ""
        numbers = first_few([str(number) for number in missing], MAX_NUMBERS)
        of_all = f"Missing of the {len(self._post.pictures)} pictures: {len(missing)} (numbers {numbers})."
        error = MediaUnavailable(
            " ".join(filter(None, (failures[0].message, of_all, kept))), retry_after=failures[0].retry_after
        )
        error.retryable = any(failure.retryable for failure in failures)
        error.refused_content = any(failure.refused_content for failure in failures)
        return error

    def warnings(self) -> list[str]:
        """Return what could not be had although the pictures do not need it."""
        return [failure.message for (role, _), failure in self._failures.items() if role == "music"]


def _no_links(name: str) -> MediaUnavailable:
    error = MediaUnavailable(f"{name} has no link in TikHub's answer, or only one with a watermark.")
    error.retryable = False
    return error


def _warnings(files: Iterable[PhotoFile]) -> list[str]:
    return [f"{file.name}: {warning}" for file in files for warning in file.warnings]


def _finish(receipt: Receipt, folder: Folder, part: PartFolder | None, staging: Path) -> None:
    """Write the receipt if it is a new one, and give a new folder its final name."""
    if receipt != folder.receipt:
        receipt.write(part.path if part else folder.path, staging)
    if part:
        with os_errors(folder.path):
            part.commit()
