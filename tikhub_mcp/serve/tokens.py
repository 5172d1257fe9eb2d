"""Access tokens: each belongs to one person, and the file of tokens holds only their hashes."""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.storage.atomic import make_folder, write_whole
from tikhub_mcp.storage.locks import Locks
from tikhub_mcp.storage.reading import read_regular, regular_status

logger = logging.getLogger(__name__)

PRIVATE_FOLDER = ".serve"  # in the root; hidden, so that no tool reads from it
TOKENS_NAME = "tokens.json"
TOKEN_PREFIX = "tikhub_"  # noqa: S105 - lets scanners of repositories recognise a token
_TOKEN_BYTES = 32
_MAX_FILE_BYTES = 2**20
_PERSON = re.compile(r"[a-z0-9-]{1,32}")


class TokenEntry(BaseModel):
    """What the file holds about the token of one person."""

    sha256: str
    created: datetime


_ENTRIES = TypeAdapter(dict[str, TokenEntry])


class Tokens:
    """The tokens in the file below an output folder; a change of the file counts at once, in all processes.

    Args:
        root: The output folder.

    Attributes:
        path: The file.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / PRIVATE_FOLDER / TOKENS_NAME
        self._read: tuple[tuple[int, ...], dict[str, TokenEntry]] | None = None

    def owner(self, token: str) -> str | None:
        """Return the name of the person whose token this is; None when it is nobody's.

        The time that this takes does not depend on how much of a token is right: hashes are compared, and all of them.
        """
        given, owner = _hash(token), None
        for name, entry in self.known().items():
            if hmac.compare_digest(given, entry.sha256.encode()):
                owner = name
        return owner

    def known(self) -> dict[str, TokenEntry]:
        """Return the tokens by the name of their person; none while the file cannot be used, which is logged."""
        try:
            status = regular_status(self.path)
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._read is None or self._read[0] != version:
                self._read = version, self._load()
        except FileNotFoundError:
            return {}
        except (OSError, InvalidInput) as error:
            logger.error("Nobody is let in: the file of tokens cannot be used: %s", error)  # noqa: TRY400 - expected
            return {}
        return self._read[1]

    def add(self, name: str) -> str:
        """Add a person, and return the new token, which cannot be had again.

        Raises:
            InvalidInput: The name has an invalid form or a token already, or the file is damaged.
            DiskFull, NotWritable: The file could not be written.
        """
        if not _PERSON.fullmatch(name):
            raise InvalidInput("A name has 1 to 32 characters, of a to z, 0 to 9 and the hyphen.")
        token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)

        def change(entries: dict[str, TokenEntry]) -> None:
            if name in entries:
                raise InvalidInput(f"{name} has a token. Remove it first: `tikhub-mcp token remove {name}`.")
            entries[name] = TokenEntry(sha256=_hash(token).decode(), created=datetime.now(UTC))

        asyncio.run(self._change(change))
        return token

    def remove(self, name: str) -> None:
        """Remove the token of a person; the person's files stay.

        Raises:
            InvalidInput: There is no such person, or the file is damaged.
            DiskFull, NotWritable: The file could not be written.
        """

        def change(entries: dict[str, TokenEntry]) -> None:
            if entries.pop(name, None) is None:
                raise InvalidInput("There is no token of that name. See `tikhub-mcp token list`.")

        asyncio.run(self._change(change))

    def entries(self) -> dict[str, TokenEntry]:
        """Return the tokens by the name of their person, for people who manage them.

        Raises:
            InvalidInput: The file cannot be used.
        """
        try:
            return self._load()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InvalidInput(f"The file of tokens {self.path} cannot be read: {error.strerror}.") from None

    async def _change(self, change: Callable[[dict[str, TokenEntry]], None]) -> None:
        make_folder(self.path.parent)
        locks = Locks(self.path.with_name(".lock"))
        async with locks.everywhere("tokens"):  # two commands at once must not lose one's change
            entries = self.entries()
            change(entries)
            content = _ENTRIES.dump_python(entries, mode="json")
            write_whole(self.path, json.dumps(content, indent=2).encode())

    def _load(self) -> dict[str, TokenEntry]:
        try:
            return _ENTRIES.validate_json(read_regular(self.path, _MAX_FILE_BYTES))
        except (ValidationError, ValueError):
            raise InvalidInput(
                f"The file of tokens {self.path} is damaged. Move it away, and add the tokens again."
            ) from None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest().encode()
