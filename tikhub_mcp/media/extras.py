"""What is saved beside a video: its music, its cover and its captions; and the words of the captions."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.errors import FileError
from tikhub_mcp.media.captions import read_captions, transcribe
from tikhub_mcp.media.contents import EXTENSIONS, find_content
from tikhub_mcp.media.saved import Fetch, Saved
from tikhub_mcp.media.size_limit import OverLimit, SizeLimit
from tikhub_mcp.posts.extras import Caption, Extra
from tikhub_mcp.posts.post import Post
from tikhub_mcp.posts.renditions import Rendition

MAX_EXTRA_WARNINGS = 5  # about the extras of one post, which may have captions in many languages


@dataclass(frozen=True, slots=True)
class SavedExtra:
    """A file beside a video: what it is, where it is, and of captions which."""

    role: Extra
    path: Path
    caption: Caption | None = None


@dataclass(frozen=True, slots=True)
class SpokenText:
    """What is said in a video, in other people's words.

    Attributes:
        language: The code of the language.
        text: The words, at most `captions.MAX_TRANSCRIPT` characters.
        truncated: Whether there are more.
        auto_generated: Whether a machine wrote the captions.
    """

    language: str
    text: str
    truncated: bool
    auto_generated: bool


@dataclass(frozen=True, slots=True)
class _Item:
    role: Extra
    files: tuple[Rendition, ...]
    target: Path  # without its extension
    caption: Caption | None = None

    def in_words(self, post_id: str) -> str:
        what = f"The captions in {self.caption.language}" if self.caption else f"The {self.role}"
        return f"{what} of post {post_id}"

    def find(self, newer_than: float) -> Path | None:
        """The file on disk, if it is whole and was written after a time."""
        kind = self.files[0].kind
        paths = (self.target.with_name(self.target.name + extension) for extension in EXTENSIONS[kind])
        return next((path for path in paths if find_content(path, kind, newer_than)), None)


def notes_on_extras(post: Post, include: Collection[Extra]) -> dict[str, str]:
    """Return for each wanted extra that the post does not have the reason."""
    notes = dict[str, str]()
    nothing = "a photo post has none" if post.kind == "images" else "not in the answer"
    if not post.music:
        notes["music"] = "the answer has no link to it"
    if not _usable_covers(post):
        notes["cover"] = "it is there in HEIC only, which few programs open" if post.covers else nothing
    if not post.captions:
        notes["captions"] = nothing
    return {role: reason for role, reason in notes.items() if role in include}


async def save_extras(
    post: Post,
    include: Collection[Extra],
    stem: Path,
    limit: SizeLimit,
    fetch: Fetch,
    newer_than: float,
) -> tuple[tuple[SavedExtra, ...], tuple[str, ...]]:
    """Return the extras of a post, after fetching those that are not on disk, and warnings about what was fetched.

    Args:
        post: The post.
        include: The extras that are wanted.
        stem: The path of the video, without its extension.
        limit: The limit on the size of the post's files together.
        fetch: Downloads one file.
        newer_than: Files on disk that are older, in Unix seconds, are fetched again.
    """

    async def fetch_one(item: _Item, name: str) -> Saved:
        staging = stem.with_name(f"{post.platform}_{post.video_id}.{item.role}")
        return await fetch(item.files, item.target, staging, name, limit.counter(item))

    async def save_one(item: _Item) -> tuple[SavedExtra | None, list[str]]:
        name = item.in_words(post.video_id)
        try:
            if path := await in_thread(item.find, newer_than):
                return SavedExtra(item.role, path, item.caption), []
            saved = await fetch_one(item, name)
        except OverLimit:
            failure = f"{name} is left out. {limit.message(post.video_id)}"
        except FileError as error:
            failure = error.message
        else:
            return SavedExtra(item.role, saved.path, item.caption), [f"{name}: {each}" for each in saved.warnings]
        limit.forget(item)
        return None, [failure]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(save_one(item)) for item in _items(post, include, stem)]
    results = [task.result() for task in tasks]
    failures_first = sorted(results, key=lambda result: result[0] is not None)
    warnings = [warning for _, about in failures_first for warning in about]
    return tuple(extra for extra, _ in results if extra), tuple(warnings[:MAX_EXTRA_WARNINGS])


def spoken_text(extras: Collection[SavedExtra]) -> SpokenText | None:
    """Return what the captions say, in the language that is spoken, else in the first; None without captions.

    Raises:
        MediaInvalid, OSError: The file was changed meanwhile.
    """
    captions = [(extra.caption, extra.path) for extra in extras if extra.caption]
    if not captions:
        return None
    caption, path = next((each for each in captions if each[0].is_original), captions[0])
    words = transcribe(read_captions(path))
    return SpokenText(caption.language, words.text, words.truncated, caption.is_auto_generated)


def _usable_covers(post: Post) -> tuple[Rendition, ...]:
    return tuple(cover for cover in post.covers if cover.codec != "heic")


def _items(post: Post, include: Collection[Extra], stem: Path) -> list[_Item]:
    items = list[_Item]()
    if "music" in include and post.music:
        items.append(_Item("music", post.music, stem))
    if "cover" in include and (covers := _usable_covers(post)):
        items.append(_Item("cover", covers, stem.with_name(f"{stem.name}.cover")))
    for caption in post.captions if "captions" in include else ():
        target = stem.with_name(f"{stem.name}.{caption.language}")
        items.append(_Item("captions", (caption.file,), target, caption))
    return items
