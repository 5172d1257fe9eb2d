"""Builds file names from untrusted text that are valid on every operating system."""

import hashlib
import re
import sys
import unicodedata

MAX_AUTHOR_LENGTH = 60  # characters
MAX_AUTHOR_BYTES = 80  # the longest name plus its part suffix must fit into 143 bytes, the limit of eCryptfs
# Invisible letters and marks: fillers and variation selectors (Unicode's Default_Ignorable_Code_Point).
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{device}{digit}" for device in ("COM", "LPT") for digit in range(10)}
_PHOTOS = re.compile(r"([a-z]+)_.+_(\d{5,25}|[0-9a-f]{16})(\.best|\.smallest)?(?:_(\d{1,3}))?", re.ASCII | re.DOTALL)
_ENCODING = sys.getfilesystemencoding()
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


def author_part(nickname: str) -> str:
    """Return the author's part of a video's file name.

    It consists of letters, marks and digits of any script and `.`, `-` and `_`, in NFC. It has at most 60 characters
    and 80 bytes, neither starts nor ends with `.`, `-` or `_`, and is not a name that Windows reserves.
    """
    cleaned = ""
    # In a locale without UTF-8 the file system takes that locale's characters only; others become "?", and then "_".
    nickname = unicodedata.normalize("NFC", nickname[: 8 * MAX_AUTHOR_LENGTH])
    for char in nickname.encode(_ENCODING, "replace").decode(_ENCODING):
        cleaned += char if _may_follow(char, cleaned) else "_"
    part = re.sub("_+", "_", cleaned).strip("._-")[:MAX_AUTHOR_LENGTH]
    part = part.encode()[:MAX_AUTHOR_BYTES].decode(errors="ignore").strip("._-")
    return "video" if not part or part.split(".")[0].upper() in _RESERVED else part


def video_name(platform: str, author: str, video_id: str, quality: str) -> str:
    """Return the file name of a video; `video_id` must come from `post.safe_id`."""
    return f"{platform}_{author_part(author)}_{video_id}{_suffix(quality)}"


def identity(name: str, quality: str) -> tuple[str, str] | None:
    """Return the platform and the id in a video's file name; None when the name is of another quality or form."""
    stem = name.removesuffix(_suffix(quality))
    platform, _, _ = stem.partition("_")
    _, found, video_id = stem.rpartition("_")
    return (platform, video_id) if found and stem != name and "." not in video_id else None


def id_in(name: str) -> str:
    """Return the id in the name of a video, whose other part is the author's nickname, which is untrusted."""
    return name.rpartition("_")[2].partition(".")[0]


def photos_name(platform: str, author: str, video_id: str, quality: str, copy: int = 1) -> str:
    """Return the name of the folder of a photo post; `video_id` must come from `post.safe_id`.

    Args:
        platform: The platform.
        author: The nickname of the author.
        video_id: The id of the post.
        quality: The quality of the pictures.
        copy: Its number, from 1, because the pictures of a post may change.
    """
    stem = video_name(platform, author, video_id, quality).removesuffix(".mp4")
    return stem if copy == 1 else f"{stem}_{copy}"


def photos_identity(name: str, quality: str) -> tuple[str, str, int] | None:
    """Return platform, id and copy in the name of a photo post's folder; None for a name of another quality or form."""
    match = _PHOTOS.fullmatch(name)
    if match is None or (match[3] or ".compatible") != f".{quality}":
        return None
    return match[1], match[2], int(match[4] or 1)


def raw_name(aweme_id: str, link: str, request_id: object, copy: int = 1) -> str:
    """Return the file name of a raw answer.

    Args:
        aweme_id: The id of the post in the answer; "" when it has none, then the name has a hash of the link.
        link: The link that was requested.
        request_id: TikHub's id of the request, of any type.
        copy: The number of the copy, from 1, when the names before it are taken.
    """
    whose = aweme_id or f"unknown_{_digest(link)[:10]}"
    request = str(request_id) if isinstance(request_id, str) else ""
    which = request.replace("-", "")[:16] if _REQUEST_ID.fullmatch(request) else _digest(request)[:16]
    return f"raw_{whose}_{(which or 'noreq') if request else 'noreq'}{f'_{copy}' if copy > 1 else ''}.json"


def _may_follow(char: str, before: str) -> bool:
    kind = unicodedata.category(char)
    if kind.startswith("M"):  # a mark would combine with a separator before it
        return bool(before) and before[-1] not in "._-" and not _INVISIBLE.match(char)
    return char in ".-_" or kind == "Nd" or (kind.startswith("L") and not _INVISIBLE.match(char))


def _suffix(quality: str) -> str:
    return ".mp4" if quality == "compatible" else f".{quality}.mp4"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
