"""The entries of replies about the files of photo posts, and about what stands beside a video."""

from collections import Counter
from dataclasses import asdict

from tikhub_mcp.media.extras import SavedExtra, SpokenText
from tikhub_mcp.media.photos.save import SavedPhotos
from tikhub_mcp.tools.schemas import ExtraFile, PhotoEntry, PhotosEntry, TranscriptEntry
from tikhub_mcp.tools.workspace import web_link

MAX_PHOTO_FILES = 8  # of a photo post


def photos_entry(saved: SavedPhotos) -> PhotosEntry:
    """Return the entry of the folder of a photo post."""
    music = [file for file in saved.files if file.role == "music"]  # asked for, so it is named in any case
    others = [file for file in saved.files if file.role != "music"][: MAX_PHOTO_FILES - len(music)]
    shown = (file.model_dump(exclude={"sha256", "duration_ms", "warnings"}) for file in (*others, *music))
    return PhotosEntry(
        dir=str(saved.folder),
        count=saved.count,
        clips=sum(file.role == "clip" for file in saved.files),
        formats=dict(Counter(file.format for file in saved.files if file.role == "picture")),
        size_bytes=saved.size,
        complete=not saved.missing,
        missing=list(saved.missing),
        reused=saved.reused,
        url=web_link(saved.folder),
        files=[PhotoEntry(**file) for file in shown],
        warnings=list(saved.warnings),
    )


def extra_file(saved: SavedExtra) -> ExtraFile:
    """Return the entry of a file beside a video."""
    language = saved.caption.language if saved.caption else None
    return ExtraFile(role=saved.role, path=str(saved.path), language=language, url=web_link(saved.path))


def transcript_entry(spoken: SpokenText) -> TranscriptEntry:
    """Return the entry of what is said in a video."""
    return TranscriptEntry(**asdict(spoken))
