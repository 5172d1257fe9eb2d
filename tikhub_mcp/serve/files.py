"""Answers requests for files by signed links; whatever is wrong with a link, the answer is the same."""

import html
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from tikhub_mcp.concurrency import in_thread
from tikhub_mcp.serve.links import LinkSigner
from tikhub_mcp.serve.people import person_folder
from tikhub_mcp.serve.tokens import Tokens

_TYPES = {
    ".mp4": "video/mp4",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".gif": "image/gif",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".vtt": "text/vtt; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".html": "text/html; charset=utf-8",
}
# Nothing of a link may leave by the Referer, and nothing that is served may act as a page of this server.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_REPORT_POLICY = "sandbox allow-scripts"  # besides, the page has a policy of its own
_LISTING_POLICY = "sandbox allow-downloads; default-src 'none'"


@dataclass(frozen=True, slots=True)
class _Found:
    """What a link leads to; `names` are the files in a folder."""

    path: Path
    status: os.stat_result
    names: tuple[str, ...] | None = None


class Files:
    """The files of all people, for those who have a link.

    Args:
        root: The output folder of the server.
        signer: Checks the links.
        tokens: Links to files of a person who has no token any more are not valid.
    """

    def __init__(self, root: Path, signer: LinkSigner, tokens: Tokens) -> None:
        self._root = root
        self._signer = signer
        self._tokens = tokens

    async def answer(self, request: Request) -> Response:
        """Return the file, a part of it, or a page of links to the files of a folder; or 404."""
        person, path = request.path_params["person"], request.path_params["path"]
        expires, signature = (request.query_params.get(name, "") for name in ("expires", "signature"))
        is_valid = self._signer.is_valid(person, path, expires, signature)
        if not is_valid or person not in self._tokens.known():
            return not_found()
        found = await in_thread(_find, person_folder(self._root, person), path)
        if found is None:
            return not_found()
        if found.names is not None:
            return self._listing(person, PurePosixPath(path), found.names, expires)
        return _file(found, is_report=path.startswith("reports/") and path.endswith(".html"))

    def _listing(self, person: str, folder: PurePosixPath, names: tuple[str, ...], expires: str) -> Response:
        """Return the page of a folder; its links end when that of the folder does."""
        title = html.escape(folder.name)
        items = "".join(
            f'<li><a href="{html.escape(self._signer.link(person, folder / name, expires))}">{html.escape(name)}</a>'
            for name in names
        )
        page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{items}</ul>"
        return HTMLResponse(page, headers=_HEADERS | {"Content-Security-Policy": _LISTING_POLICY})


def not_found() -> Response:
    """Return the answer about anything that is not there, or not for whoever asks."""
    return PlainTextResponse("Not found", status_code=404, headers=_HEADERS)


def _file(found: _Found, *, is_report: bool) -> Response:
    return FileResponse(
        found.path,
        stat_result=found.status,
        filename=found.path.name,
        media_type=_TYPES.get(found.path.suffix.lower(), "application/octet-stream"),
        content_disposition_type="inline" if is_report else "attachment",
        headers=_HEADERS | ({"Content-Security-Policy": _REPORT_POLICY} if is_report else {}),
    )


def _find(root: Path, path: str) -> _Found | None:
    """Return the regular file or the folder with this path below the root; None when links lead elsewhere."""
    try:
        named = root / path
        if named.resolve(strict=True) != named or root not in named.parents:
            return None
        status = named.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return _Found(named, status)
        if not stat.S_ISDIR(status.st_mode):
            return None
        with os.scandir(named) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except (OSError, ValueError, RuntimeError):  # gone, or no name at all
        return None
    return _Found(named, status, tuple(names))
