"""Which videos a folder holds, by their names, without listing it for each one that is looked for."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from tikhub_mcp.download import Saved, existing
from tikhub_mcp.names import identity, video_name
from tikhub_mcp.post import Post, Rendition

# A listing is good for so many times as long as it took: then at most a fiftieth of the time goes into listings, in a
# folder of any size, and in one of a few hundred files they are milliseconds old.
GOOD_FOR = 50


class Videos:
    """What the last listing of a folder found; for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listed: tuple[Path, str] | None = None
        self._until = 0.0
        self._names: dict[tuple[str, str], list[str]] = {}

    def find(self, folder: Path, quality: str, post: Post, file: Rendition) -> Saved | None:
        """The post's video, whatever its author was called then, when it is whole; see `existing`.

        One that another process fetched under the author's former name a moment ago may be missed, and is fetched
        again; what has the name that it would get now is always seen.
        """
        name = video_name(post.platform, post.author, post.video_id, quality)
        if saved := existing(folder / name, file):
            return saved
        others = self._named(folder, quality).get((post.platform, post.video_id), ())
        return next(filter(None, (existing(folder / other, file) for other in others if other != name)), None)

    def identities(self, folder: Path, quality: str) -> Collection[tuple[str, str]]:
        """The platform and id of each video in the folder."""
        return self._named(folder, quality).keys()

    def _named(self, folder: Path, quality: str) -> dict[tuple[str, str], list[str]]:
        """The names in the folder by platform and id."""
        with self._lock:
            if self._listed != (folder, quality) or time.monotonic() > self._until:
                begun = time.monotonic()
                self._names = _list(folder, quality)
                self._listed = folder, quality
                self._until = begun + (1 + GOOD_FOR) * (time.monotonic() - begun)
            return self._names


def _list(folder: Path, quality: str) -> dict[tuple[str, str], list[str]]:
    names: dict[tuple[str, str], list[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if found := identity(entry.name, quality):
                    names.setdefault(found, []).append(entry.name)
    except OSError:  # not there yet; what cannot be read cannot be written to either, which is said elsewhere
        return {}
    return names
