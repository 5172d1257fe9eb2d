"""Comparison of a video file with its post."""

from collections.abc import Iterator

from tikhub_mcp.media.download import Saved
from tikhub_mcp.posts.post import Post


def differences(saved: Saved, post: Post) -> Iterator[str]:
    """Yield a warning for each way in which a valid file is not what the post has: its duration, and its sound."""
    measured, expected = saved.media.duration_ms, post.metrics.duration_ms
    if measured is not None and expected:
        difference = abs(measured - expected)
        if difference > 2000 and difference > 0.2 * expected:
            yield f"the file lasts {measured} ms, the post {expected} ms"
    if not saved.media.has_audio:
        yield f"it has no sound{_why_silent(post)}"


def _why_silent(post: Post) -> str:
    complete = [file for file in post.renditions if file.tracks == "both"]
    if post.renditions and not complete:
        return ": TikHub's answer offers only files of the picture alone"
    if not post.has_music:
        return ""
    return ", although the post names music" + (": another quality may have it" if len(complete) > 1 else "")
