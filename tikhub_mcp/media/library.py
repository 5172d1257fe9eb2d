"""Which videos a folder holds, by their names, without listing it for each one that is looked for."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from tikhub_mcp.media.download import Saved, existing
from tikhub_mcp.posts.post import Post, Rendition
from tikhub_mcp.storage.filenames import identity, video_name

# A listing is good for so many times as long as it took, and for so many seconds at most: a fiftieth of the time goes
# into listings (a tenth in a folder of 200,000 files), and in one of a few hundred files they are milliseconds old.
GOOD_FOR, MAX_GOOD_SECONDS = 50, 5.0


class Videos:
    """What the last listings of folders found, and what came since from this process; for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listings: dict[Path, _Listing] = {}

    def find(self, folder: Path, quality: str, post: Post, file: Rendition) -> Saved | None:
        """The post's video, whatever its author was called then, when it is whole; see `existing`.

        One that somebody else put there within the last MAX_GOOD_SECONDS, under a former name of the author's, may be
        missed, and is fetched again; what has the name that it would get now is always seen.
        """
        name = video_name(post.platform, post.author, post.video_id, quality)
        if saved := existing(folder / name, file):
            return saved
        with self._lock:
            others = self._listing(folder).of(name)
        same = (other for other in others if identity(other, quality) == (post.platform, post.video_id))
        return next(filter(None, (existing(folder / other, file) for other in same)), None)

    def add(self, path: Path) -> None:
        """Note a video that was put there."""
        with self._lock:
            if listing := self._listings.get(path.parent):
                listing.add(path.name)

    def identities(self, folder: Path, quality: str) -> Collection[tuple[str, str]]:
        """The platform and id of each video that is in the folder now."""
        with self._lock:
            self._listings.pop(folder, None)
            names = self._listing(folder).names()
        return {found for name in names if (found := identity(name, quality))}

    def _listing(self, folder: Path) -> "_Listing":
        now = time.monotonic()
        self._listings = {kept: listing for kept, listing in self._listings.items() if now <= listing.good_until}
        return self._listings.get(folder) or self._listings.setdefault(folder, _Listing(folder))


class _Listing:
    """The videos in a folder; none where it cannot be listed, which is tried again the next time."""

    def __init__(self, folder: Path) -> None:
        self._names: dict[str, list[str]] = {}
        begun = time.monotonic()
        self.good_until = begun
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self.add(entry.name)
        except OSError:  # not there yet, or none of ours; whether it can be written to is looked at elsewhere
            return
        now = time.monotonic()
        self.good_until = now + min(GOOD_FOR * (now - begun), MAX_GOOD_SECONDS)

    def add(self, name: str) -> None:
        if name.endswith(".mp4"):
            self._names.setdefault(_end(name), []).append(name)

    def of(self, name: str) -> list[str]:
        """The names that end as this one does."""
        return list(self._names.get(_end(name), ()))

    def names(self) -> list[str]:
        return [name for names in self._names.values() for name in names]


def _end(name: str) -> str:
    """What is behind the author's name: the id, and the quality."""
    return name.rpartition("_")[2]
