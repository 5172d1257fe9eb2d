"""Signed links: whoever has one gets one person's file or folder, until it expires."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.serve.tokens import PRIVATE_FOLDER
from tikhub_mcp.storage.atomic import make_folder, write_whole
from tikhub_mcp.storage.reading import read_regular

FILES_PATH = "/files"
LINK_KEY_NAME = "link.key"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 16  # 128 bits of the HMAC: nobody guesses that, and links stay short


class LinkSigner:
    """Makes and checks links.

    Args:
        secret: The key of the signatures.
        base_url: The address that links begin with.
        seconds: How long a link is valid, in seconds.
    """

    def __init__(self, secret: bytes, base_url: str, seconds: float) -> None:
        self._secret = secret
        self._base_url = base_url
        self._seconds = seconds

    def link(self, person: str, path: PurePosixPath, expires: str = "") -> str:
        """Return the link to a file or folder.

        Args:
            person: Whose file it is.
            path: Its path, relative to the person's folder.
            expires: When the link ends, in Unix seconds; by default after the time that links are valid.
        """
        expires = expires or str(int(time.time() + self._seconds))
        where = quote(str(path).encode("utf-8", "surrogateescape"))
        signature = self._sign(person, str(path), expires)
        return f"{self._base_url}{FILES_PATH}/{person}/{where}?expires={expires}&signature={signature}"

    def is_valid(self, person: str, path: str, expires: str, signature: str) -> bool:
        """Return whether these are the parts of a link that was made here and has not expired."""
        right = self._sign(person, path, expires)
        is_ours = hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass"))
        return is_ours and int(expires) > time.time()  # what was signed here is a number

    def _sign(self, *parts: str) -> str:
        message = "\0".join(parts).encode("utf-8", "surrogatepass")  # no part of a real link holds a NUL
        digest = hmac.digest(self._secret, message, hashlib.sha256)[:_SIGNATURE_BYTES]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def signing_key(root: Path, make: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return the key of the signatures, which is made at the first start.

    Args:
        root: The output folder, below which the key is stored.
        make: Makes random bytes.

    Raises:
        InvalidInput: The file cannot be used.
        DiskFull, NotWritable: It could not be written.
    """
    path = root / PRIVATE_FOLDER / LINK_KEY_NAME
    try:
        key = read_regular(path, _KEY_BYTES)
    except FileNotFoundError:
        make_folder(path.parent)
        key = make(_KEY_BYTES)
        write_whole(path, key)
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise InvalidInput(f"The key of the links, {path}, cannot be used. Remove it: a new one is made.")
    return key
