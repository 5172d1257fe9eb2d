"""Finding videos in a folder by their names, with a short-lived cache of folder listings."""

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from tikhub_mcp.errors import MediaInvalid
from tikhub_mcp.media.digests import Digests, digest_file
from tikhub_mcp.media.download import differs, has_md5, warnings_about
from tikhub_mcp.media.mp4 import Media, inspect
from tikhub_mcp.media.saved import Saved, not_first_choice
from tikhub_mcp.posts.post import Post
from tikhub_mcp.posts.renditions import Rendition
from tikhub_mcp.storage.filenames import identity, video_name
from tikhub_mcp.storage.moments import Moments
from tikhub_mcp.storage.reading import regular_status

# A listing is reused for GOOD_FOR times as long as it took, and for MAX_GOOD_SECONDS at most. Listings then take a
# fiftieth of the time (a tenth in a folder of 200,000 files), and are milliseconds old in a folder of a few hundred.
GOOD_FOR, MAX_GOOD_SECONDS = 50, 5.0


class Videos:
    """The videos in folders, from recent listings and from what this process has added since; thread-safe.

    Args:
        accepted: Stores which contents were downloaded although the answer's hash is not their MD5.
    """

    def __init__(self, accepted: Moments) -> None:
        self._accepted = accepted
        self._lock = Lock()
        self._listings: dict[Path, _Listing] = {}

    def find(self, folder: Path, quality: str, post: Post, files: Sequence[Rendition]) -> Saved | None:
        """Return the post's video if it is in the folder and valid (see `existing`), else None.

        A video that was saved under a former nickname of the author is found as well, unless another process added it
        within the last MAX_GOOD_SECONDS. A video under its current name is always found.

        A file whose MD5 is not the answer's hash may be another video of the same size. It is found only if its
        content was downloaded for this post: then the hash is something else, and another download would not help.

        Args:
            folder: Where to look; not its subfolders.
            quality: The quality that is part of the file's name.
            post: The post.
            files: The renditions that the video may be, the first choice first.
        """
        name = video_name(post.platform, post.author, post.video_id, quality)
        if saved := self._usable(folder / name, post, files):
            return saved
        with self._lock:
            others = self._listing(folder).of(name)
        same = (other for other in others if identity(other, quality) == (post.platform, post.video_id))
        return next(filter(None, (self._usable(folder / other, post, files) for other in same)), None)

    def _usable(self, path: Path, post: Post, files: Sequence[Rendition]) -> Saved | None:
        saved = existing(path, *files)
        if saved is None or not saved.other_hash:
            return saved
        content = post.platform, post.video_id, saved.sha256
        self._accepted.touch(*content)
        return saved if self._accepted.get(*content) else None

    def add(self, post: Post, saved: Saved) -> None:
        """Record a video of a post that this process has downloaded."""
        if saved.other_hash:
            self._accepted.put(time.time(), post.platform, post.video_id, saved.sha256)
        with self._lock:
            if listing := self._listings.get(saved.path.parent):
                listing.add(saved.path.name)

    def identities(self, folder: Path, quality: str) -> Collection[tuple[str, str]]:
        """Return the platform and the id of each video in the folder, from a new listing."""
        with self._lock:
            self._listings.pop(folder, None)
            names = self._listing(folder).names()
        return {found for name in names if (found := identity(name, quality))}

    def _listing(self, folder: Path) -> "_Listing":
        now = time.monotonic()
        self._listings = {path: listing for path, listing in self._listings.items() if now <= listing.good_until}
        return self._listings.get(folder) or self._listings.setdefault(folder, _Listing(folder))


class _Listing:
    """The names of the videos in a folder; empty, and not reused, if the folder cannot be listed."""

    def __init__(self, folder: Path) -> None:
        self._names: dict[str, list[str]] = {}
        begun = time.monotonic()
        self.good_until = begun
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self.add(entry.name)
        except OSError:  # the folder may not exist yet; whether it can be written to is checked elsewhere
            return
        now = time.monotonic()
        self.good_until = now + min(GOOD_FOR * (now - begun), MAX_GOOD_SECONDS)

    def add(self, name: str) -> None:
        if name.endswith(".mp4"):
            self._names.setdefault(_end(name), []).append(name)

    def of(self, name: str) -> list[str]:
        """The names with the same id and quality as this one."""
        return list(self._names.get(_end(name), ()))

    def names(self) -> list[str]:
        return [name for names in self._names.values() for name in names]


def _end(name: str) -> str:
    """The part of a name after the author's nickname: the id and the quality."""
    return name.rpartition("_")[2]


# Results of `existing` by path, size in bytes, modification time in nanoseconds, and whether the MD5 is wanted.
_inspected: dict[tuple[str, int, int, bool], tuple[Media, Digests]] = {}


def existing(path: Path, file: Rendition, *others: Rendition) -> Saved | None:
    """Return the file at a path if it is a complete, playable video of a rendition's size, else None.

    Reads the whole file the first time. Later results come from a cache, until size or modification time change.

    Args:
        path: Where the file is.
        file: The rendition that is wanted.
        others: The other renditions that it may be, the best first; a warning then says so.
    """
    try:
        status = regular_status(path)
        same = [each for each in (file, *others) if each.size in (None, status.st_size)]
        if not same:
            return None
        key = (str(path), status.st_size, status.st_mtime_ns, any(map(has_md5, same)))
        if key not in _inspected:
            _inspected[key] = inspect(path), digest_file(path, md5=key[-1])
    except (OSError, MediaInvalid):
        return None
    media, digests = _inspected[key]
    found = max(same, key=lambda each: (has_md5(each) and each.file_hash == digests.md5, each.size is not None))
    warnings = warnings_about(found, digests.md5, sized=False)
    if found is not file:
        warnings = (
            not_first_choice(file, "another one was saved before; each refresh tries the first choice again"),
            *warnings,
        )
    saved = Saved(path, status.st_size, digests.sha256, media, reused=True, warnings=warnings)
    other_hash = differs(found, digests.md5)
    return replace(saved, first_choice=found is file, other_hash=other_hash, written=status.st_mtime)
