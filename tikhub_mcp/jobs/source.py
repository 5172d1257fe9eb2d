"""Where the files of a post come from: the post in its answer, and what of it is on disk."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tikhub_mcp.errors import PostUnavailable
from tikhub_mcp.jobs.model import Options
from tikhub_mcp.media.photos.folder import Folder, find_folder
from tikhub_mcp.posts.post import Post, choose
from tikhub_mcp.posts.renditions import Rendition
from tikhub_mcp.storage.archive import StoredAnswer
from tikhub_mcp.storage.filenames import video_name

LINK_LIFETIME_SECONDS = 1800.0  # download links that are younger than this are not treated as expired after a failure


@dataclass(frozen=True, slots=True)
class Source:
    """Where the files of a post come from.

    Attributes:
        post: The post.
        files: The files of a video, the first choice first; empty for a photo post.
        firsts: The first choice of each file that is wanted; for a photo post, of each that is not on disk.
        received: When the answer with the post was received, in Unix seconds.
        target: The path of the video.
        folder: The folder of a photo post; None for a video.
    """

    post: Post
    files: tuple[Rendition, ...]
    firsts: tuple[Rendition, ...]
    received: float
    target: Path
    folder: Folder | None

    @classmethod
    def of(cls, options: Options, stored: StoredAnswer, post: Post) -> Self:
        """Return the source of a post; of a photo post, the files on disk are read.

        Raises:
            NotAVideo, PostUnavailable: The answer has no file of the post.
            CancelledError: The caller of the thread that this runs in was cancelled.
        """
        target = options.folder / video_name(post.platform, post.author, post.video_id, options.quality)
        if not post.pictures:
            files = choose(post, options.quality)
            return cls(post, files, files[:1], stored.received, target, None)
        if not any(picture.stills or picture.clips for picture in post.pictures):
            raise PostUnavailable(
                f"TikHub answered, and charged, but post {post.video_id} came without a link to any of its pictures."
            )
        folder = find_folder(options.photo_folder, post, options.quality, music="music" in options.include)
        firsts = tuple(each.files[0] for each in folder.todo if each.files)
        return cls(post, (), firsts, stored.received, target, folder)

    def is_old(self) -> bool:
        """Whether the failure to get a file may be due to expired links."""
        return time.time() - self.received > LINK_LIFETIME_SECONDS or self.has_expired()

    def has_expired(self) -> bool:
        """Whether links to a first choice have expired, by TikHub's clock: the local one may be wrong."""
        now = self.post.stamp + (time.time() - self.received)
        return any(file.expires is not None and file.expires <= now for file in self.firsts)
