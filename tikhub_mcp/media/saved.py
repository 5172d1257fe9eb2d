"""A file that was saved, and what fetches it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tikhub_mcp.media.mp4 import Media
from tikhub_mcp.posts.renditions import Rendition


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that is complete, verified and under its final name.

    Attributes:
        path: Where it is.
        size: In bytes.
        sha256: Of its content, in hexadecimal.
        media: What it contains.
        format: Its format, as in `contents.Content`.
        reused: Whether it was on disk already.
        first_choice: Whether it is the file that was wanted, not another rendition of the video.
        other_hash: Whether the answer gives a hash that is not the file's MD5.
        warnings: What a caller should know about it, such as a size that could not be confirmed.
        written: When it was written, in Unix seconds.
    """

    path: Path
    size: int
    sha256: str
    media: Media
    format: str = "mp4"
    reused: bool = False
    first_choice: bool = True
    other_hash: bool = False
    warnings: tuple[str, ...] = ()
    written: float = field(default_factory=time.time, compare=False)


class Fetch(Protocol):
    """Downloads one file, as `Downloader.fetch` does, when it is its turn."""

    def __call__(
        self, files: tuple[Rendition, ...], target: Path, staging: Path, name: str, progress: Callable[[int], None]
    ) -> Awaitable[Saved]:
        """Download the first of the files that can be had."""
        ...


def not_first_choice(wanted: Rendition, why: str) -> str:
    """Return the warning about a file that is not the first choice."""
    size = f", {wanted.width}x{wanted.height}" if wanted.width else ""
    return f"this is not the first choice ({wanted.codec or 'of an unknown format'}{size}): {why}"
