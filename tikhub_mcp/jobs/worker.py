"""The work of one job: look up the post, then find its files or download them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tikhub_mcp.api.client import TikHub
from tikhub_mcp.concurrency import Share, in_thread
from tikhub_mcp.errors import MediaInvalid, TikHubMCPError
from tikhub_mcp.jobs.lookup import Lookup
from tikhub_mcp.jobs.model import MAX_TRANSFERS, Job, Options
from tikhub_mcp.jobs.renewal import Renewals
from tikhub_mcp.jobs.source import Source
from tikhub_mcp.jobs.unfinished import UnfinishedCalls
from tikhub_mcp.media.download import Downloader, Slot
from tikhub_mcp.media.extras import notes_on_extras, save_extras, spoken_text
from tikhub_mcp.media.library import Videos
from tikhub_mcp.media.photos.folder import complete_folders
from tikhub_mcp.media.photos.save import save_photos
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.media.size_limit import SizeLimit
from tikhub_mcp.posts.links import Link
from tikhub_mcp.posts.post import Post, parse_post, why_silent
from tikhub_mcp.posts.renditions import Rendition
from tikhub_mcp.storage.archive import Archive, StoredAnswer
from tikhub_mcp.storage.atomic import make_folder
from tikhub_mcp.storage.filenames import video_name
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.moments import Moments

ACCEPTED_SECONDS = 365 * 86400.0  # how long it is known that a file is right although the answer's hash differs


class Worker:
    """Does the work of jobs, from the link to the files.

    Args:
        tikhub: The client of the paid API.
        archive: The store of raw answers.
        downloader: Fetches the video files.
        locks: Prevent two jobs, in this or another process, from paying for the same post or fetching the same file.
        unfinished: The pieces of work; those that a received answer belongs to are marked as active.
        renewals: For each post, when a new answer was last paid for because the previous one's links had expired.
        reuse_seconds: How long a stored answer is reused, in seconds.
        transfers: Limits transfers at once; by default to MAX_TRANSFERS for this worker.
    """

    def __init__(
        self,
        tikhub: TikHub,
        archive: Archive,
        downloader: Downloader,
        locks: Locks,
        unfinished: UnfinishedCalls,
        renewals: Moments,
        reuse_seconds: float,
        transfers: Share | None = None,
    ) -> None:
        self._lookup = Lookup(tikhub, archive, locks, unfinished)
        self._downloader = downloader
        self._locks = locks
        self._renewals = Renewals(
            self._lookup,
            renewals,
            reuse_seconds,
            lambda job: downloader.time_is_up() - job.transfer_seconds - time.monotonic(),
        )
        self._reuse_seconds = reuse_seconds
        self._videos = Videos(Moments(archive.database, "accepted", ACCEPTED_SECONDS))
        self._transfers = transfers or asyncio.Semaphore(MAX_TRANSFERS)

    def close(self) -> None:
        """Pay for nothing more."""
        self._lookup.close()

    async def work(self, job: Job) -> None:
        """Do the work of a job, and fill in `job.outcome` as results arrive.

        Raises:
            TikHubMCPError: The work failed.
            Stopped, NoCallerWaiting: A request would have to be paid for, and no call may pay or is waiting.
        """
        options = job.options
        newer_than = job.created if options.refresh else min(time.time() - self._reuse_seconds, job.created)
        writes_files = options.writes_files
        stored, post = await self._lookup.post(job, newer_than)
        if not writes_files:
            return
        folder = options.photo_folder if post.pictures else options.folder
        async with self._locks.everywhere("file", folder, post.platform, post.video_id, options.quality):
            if options.metrics_only:
                await in_thread(make_folder, options.folder)
            elif post.pictures:
                await self._save_photos(job, stored, post)
            else:
                await self._save_video(job, stored, post)
            if options.include:
                await self._save_extras(job)

    async def plan(self, links: Sequence[Link], options: Options) -> list[tuple[bool, bool]]:
        """Return for each link whether its file is on disk and whether it needs a paid call; an estimate, and free."""
        on_disk = await in_thread(self._on_disk, options)
        return [await self._plan(link, options, on_disk) for link in links]

    def _on_disk(self, options: Options) -> Callable[[str, str], bool]:
        """Return a function that tells whether the file or the pictures of a post are there, by platform and id."""
        videos = self._videos.identities(options.folder, options.quality)
        has_photos = complete_folders(options.photo_folder, options.quality)
        return lambda platform, video_id: (platform, video_id) in videos or has_photos(platform, video_id)

    async def _plan(self, link: Link, options: Options, on_disk: Callable[[str, str], bool]) -> tuple[bool, bool]:
        newer_than = time.time() - self._reuse_seconds
        stored = None if options.refresh else await self._lookup.find(link, newer_than, save=False)
        if stored is None:
            return on_disk(link.platform, link.post_id or ""), True
        is_there = renewal = False
        with suppress(TikHubMCPError):  # the stored answer has no post or no file, so no further call is needed
            post = parse_post(stored.value, link, stored.received)
            is_there = on_disk(post.platform, post.video_id)
            if not is_there and not options.metrics_only:
                source = await in_thread(Source.of, options, stored, post)
                renewal = source.has_expired() and not await self._renewals.were_within_reuse_time(post)
        return is_there, renewal

    async def _save_video(self, job: Job, stored: StoredAnswer, post: Post) -> None:
        """Find the post's video in the folder, or download it into it."""
        source, saved, is_wanted = await in_thread(self._look_on_disk, job, stored, post)
        if saved is None or not is_wanted:
            saved = await self._renewals.download(job, source, partial(self._fetch_video, job), saved)
            await in_thread(self._videos.add, post, saved)
        if not saved.media.has_audio:
            saved = replace(saved, warnings=(*saved.warnings, why_silent(post)))
        job.outcome.saved = saved

    async def _save_photos(self, job: Job, stored: StoredAnswer, post: Post) -> None:
        """Find the post's pictures in their folder, and download what is missing."""
        source = await in_thread(self._look_for_photos, job, stored, post)
        await self._renewals.download(job, source, partial(self._fetch_photos, job))

    def _look_for_photos(self, job: Job, stored: StoredAnswer, post: Post) -> Source:
        source = Source.of(job.options, stored, post)
        make_folder(job.options.photo_folder)
        return source

    async def _fetch_photos(self, job: Job, source: Source, _others: bool) -> None:
        """Download the pictures that are missing; `job.outcome` has those that came even if others did not.

        Raises:
            MediaUnavailable: A picture is missing.
        """
        if source.folder is None:
            raise AssertionError("unreachable")  # pragma: no cover - for the type checker

        def progress(done: int, total: int) -> None:
            job.received, job.expected = done, total

        fetch = partial(self._fetch_one, job)
        photos = await save_photos(source.folder, source.post, self._downloader.largest, fetch, progress)
        job.outcome.photos = photos
        if photos.failure:
            raise photos.failure

    async def _save_extras(self, job: Job) -> None:
        """Save what stands beside a video, and note what the post does not have."""
        options, outcome, post = job.options, job.outcome, job.outcome.post
        if post is None:
            return
        notes = notes_on_extras(post, options.include)
        include = options.include
        if options.metrics_only:
            notes |= {role: "metrics_only fetches captions alone" for role in include if role != "captions"}
            include = ("captions",)
        if post.kind == "video":
            name = video_name(post.platform, post.author, post.video_id, options.quality)
            video = outcome.saved.path if outcome.saved else options.folder / name
            limit = SizeLimit(self._downloader.largest, {"video": outcome.saved.size if outcome.saved else 0})
            newer_than = job.created if options.refresh else 0.0
            fetch = partial(self._fetch_one, job)
            outcome.extras, outcome.warnings = await save_extras(
                post, include, video.with_suffix(""), limit, fetch, newer_than
            )
            with suppress(MediaInvalid, OSError):
                outcome.spoken = await in_thread(spoken_text, outcome.extras)
        metrics = post.metrics.model_copy(update={"notes": {**post.metrics.notes, **notes}})
        outcome.post = replace(post, metrics=metrics)

    def _look_on_disk(self, job: Job, stored: StoredAnswer, post: Post) -> tuple[Source, Saved | None, bool]:
        """Return where the post's video comes from, its file if there is one, and whether that is the one wanted.

        If none is, the folder for it is made.
        """
        options, source = job.options, Source.of(job.options, stored, post)
        there = self._videos.find(options.folder, options.quality, post, source.files)
        # A refresh tries the first choice again, once in a piece of work.
        if there is not None and (there.first_choice or not options.refresh or there.written > job.created):
            return source, there, True
        make_folder(options.folder)
        return source, there, False

    async def _fetch_video(self, job: Job, source: Source, others: bool) -> Saved:
        """Wait for a slot, and download the first choice, or one of the `others` if that fails."""
        file, *rest = source.files[: None if others else 1]
        job.expected, progress = file.size, partial(setattr, job, "received")
        # Only a transfer holds a slot: whoever waits for a lock or an answer would hold up the files of others.
        async with Slot(job.slots, self._transfers) as slot:
            began, waited = time.monotonic(), slot.waited
            until = self._downloader.time_is_up() - job.transfer_seconds
            try:
                return await self._downloader.fetch(
                    file, source.post.platform, source.target, progress, until, rest, slot=slot
                )
            finally:
                job.transfer_seconds += time.monotonic() - began - (slot.waited - waited)

    async def _fetch_one(
        self,
        job: Job,
        files: tuple[Rendition, ...],
        target: Path,
        staging: Path,
        name: str,
        progress: Callable[[int], None],
    ) -> Saved:
        """Wait for a slot, and download one of several files of a post."""
        first, *others = files
        async with Slot(job.slots, self._transfers) as slot:
            return await self._downloader.fetch(
                first, job.link.platform, target, progress, others=others, staging=staging, name=name, slot=slot
            )
