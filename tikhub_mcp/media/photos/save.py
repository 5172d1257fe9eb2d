"""Saves the pictures of a photo post in a folder: fetches what is missing in it, and writes its receipt.

A new folder is made under another name and renamed when all that can be had is in it. Later calls add files to it one
by one. A folder under its final name has complete files only.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import FileError, MediaInvalid, MediaUnavailable, TooLarge
from tikhub_mcp.media.contents import SoundInPlaceOfClip
from tikhub_mcp.media.photos.folder import FileKey, Folder, Wanted, place_of
from tikhub_mcp.media.photos.receipt import PhotoFile, Receipt
from tikhub_mcp.media.saved import Fetch
from tikhub_mcp.media.size_limit import OverLimit, SizeLimit
from tikhub_mcp.posts.post import Post
from tikhub_mcp.storage.atomic import PartFolder, check_room, os_errors
from tikhub_mcp.text import first_few

MAX_NUMBERS = 10  # numbers of missing pictures in a message
MAX_WARNINGS = 5  # about the files of one post


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

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(file.size_bytes for file in self.files)


async def save_photos(
    folder: Folder, post: Post, largest: int, fetch: Fetch, progress: Callable[[int, int], None]
) -> SavedPhotos:
    """Return the folder of a post, after fetching what is missing in it, side by side.

    Args:
        folder: What `find_folder` found of the post.
        post: The post.
        largest: The most bytes that the files of the post may have together.
        fetch: Downloads one file.
        progress: Called with the number of files that are there or were tried, and the number that are wanted.

    Raises:
        MediaUnavailable: Nothing came, and there is no folder.
        TooLarge, DiskFull, NotWritable: It cannot be saved.
    """
    staging = folder.path.with_name(f"{post.platform}_{post.video_id}")
    todo, work = folder.todo, _Work(folder, post, largest, fetch)
    # Of those whose sizes the answer names: of files that begin together, each finds the room that is there.
    needed = sum(wanted.files[0].size or 0 for wanted in todo if wanted.files)
    check_room(needed, folder.path, largest=needed)
    with ExitStack() as held:
        part: PartFolder | None = None
        if folder.receipt is None:
            with os_errors(folder.path):
                part = held.enter_context(PartFolder(folder.path))
        await work.fetch_all(progress, part.path if part else folder.path, staging)
        missing = sorted({each.number for each in folder.todo if each.number})
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

    def __init__(self, folder: Folder, post: Post, largest: int, fetch: Fetch) -> None:
        self._folder, self._post, self._fetch = folder, post, fetch
        self._limit = SizeLimit(largest, {key: file.size_bytes for key, file in folder.have.items()})
        self._failures: dict[FileKey, FileError] = {}

    async def fetch_all(self, progress: Callable[[int, int], None], path: Path, staging: Path) -> None:
        """Fetch the missing files side by side; what can be had is added to the folder."""
        todo, total = self._folder.todo, len(self._folder.wanted)
        done = total - len(todo)
        progress(done, total)

        async def fetch_one(wanted: Wanted) -> None:
            nonlocal done
            await self._fetch_one(wanted, path, staging)
            done += 1
            progress(done, total)

        try:
            async with asyncio.TaskGroup() as group:
                for each in todo:
                    group.create_task(fetch_one(each))
        except BaseExceptionGroup as several:
            first = several.exceptions[0]
            raise (
                TooLarge(self._limit.message(self._post.video_id)) if isinstance(first, OverLimit) else first
            ) from None

    async def _fetch_one(self, wanted: Wanted, path: Path, staging: Path) -> None:
        key, name = (wanted.role, wanted.number), wanted.in_words(self._post.video_id)
        try:
            if not wanted.files:
                raise _no_links(name)
            beside, count = staging.with_name(f"{staging.name}.{wanted.stem}"), self._limit.counter(key)
            saved = await self._fetch(wanted.files, path / wanted.stem, beside, name, count)
        except SoundInPlaceOfClip:
            self._folder.without_clip.add(wanted.number)
        except (MediaUnavailable, MediaInvalid) as failure:
            self._failures[key] = failure
        else:
            self._folder.have[key] = PhotoFile.of(saved, wanted.role, wanted.number)
            return
        self._limit.forget(key)

    def failure(self, missing: list[int]) -> MediaUnavailable:
        """Return the error about the pictures that are missing."""
        failures = [self._failures[key] for key in sorted(self._failures, key=place_of) if key[0] != "music"]
        retryable = any(failure.retryable for failure in failures)
        kept = "What came is kept" + (": the same call again fetches only the rest." if retryable else ".")
        numbers = first_few([str(number) for number in missing], MAX_NUMBERS)
        of_all = f"Not complete of the {len(self._post.pictures)} pictures: {len(missing)} (numbers {numbers})."
        error = MediaUnavailable(
            " ".join((failures[0].message, of_all, *[kept] * bool(self._folder.have))),
            retry_after=failures[0].retry_after,
        )
        error.retryable = retryable
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
        folder.remove_damaged()  # before the receipt, after which nothing would look for them again
        receipt.write(part.path if part else folder.path, staging)
    if part:
        with os_errors(folder.path):
            part.commit()
