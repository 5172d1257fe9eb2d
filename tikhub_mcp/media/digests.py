"""The hashes of a file, computed while it is received or read."""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tikhub_mcp.concurrency import check_cancelled

PIECE_BYTES = 2**20  # bytes that are hashed at once


@dataclass(slots=True)
class Digests:
    """The SHA-256 of the pieces that were added, and their MD5 if it is wanted.

    Attributes:
        wants_md5: Whether the MD5 is wanted; it takes twice as long as the SHA-256, and serves only to compare.
    """

    wants_md5: bool
    _sha256: "hashlib._Hash" = field(init=False, default_factory=hashlib.sha256)
    _md5: "hashlib._Hash" = field(init=False, default_factory=partial(hashlib.md5, usedforsecurity=False))

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        self._sha256.update(piece)
        if self.wants_md5:
            self._md5.update(piece)

    @property
    def sha256(self) -> str:
        """The SHA-256 in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """The MD5 in hexadecimal; "" if it is not wanted."""
        return self._md5.hexdigest() if self.wants_md5 else ""


def digest_file(path: Path, *, md5: bool) -> Digests:
    """Return the hashes of a file; `md5` as for `Digests`.

    Raises:
        OSError: It cannot be read.
        CancelledError: The caller of the thread that this runs in was cancelled.
    """
    digests = Digests(md5)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            check_cancelled()
            digests.add(piece)
    return digests
