"""Bodies of TikHub's answers: reads them, within limits, and tells whether all of one has come."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

from tikhub_mcp.posts.answer import parse_answer

MAX_BODY_BYTES = 4 * 2**20  # bytes; real answers have up to 83 kB
ORDINARY_BODY_BYTES = 2**18  # bytes; larger bodies are read and parsed one at a time, to limit memory
CHUNKS_AT_ONCE = 100  # chunks that are read before other tasks get a turn


class TooLargeBody(Exception):
    """The body is too large; the message is the predicate of a sentence that begins with "TikHub's answer"."""


async def read_body(chunks: AsyncIterator[bytes], raw: bytearray, large: asyncio.Lock) -> None:
    """Read at most MAX_BODY_BYTES into `raw`, so that the caller has what came before a failure.

    Args:
        chunks: The body as it comes.
        raw: Receives the bytes of the body.
        large: Held while `raw` has more than ORDINARY_BODY_BYTES.

    Raises:
        TooLargeBody: The body is larger; `raw` is empty then.
        Exception: Whatever `chunks` raises.
    """
    async with AsyncExitStack() as held:
        count = 0
        async for chunk in chunks:
            count += 1
            if count % CHUNKS_AT_ONCE == 0:
                await asyncio.sleep(0)  # what is buffered comes without a pause, and may be a byte a chunk
            if len(raw) <= ORDINARY_BODY_BYTES < len(raw) + len(chunk):
                await held.enter_async_context(large)
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                raw.clear()
                raise TooLargeBody(f"is larger than {MAX_BODY_BYTES >> 20} MiB, and was not read to its end")


def decompress(raw: bytearray, encoding: str) -> bytes:
    """Return a body as text; a server may compress it although the request did not ask for that.

    Raises:
        TooLargeBody: It is larger than MAX_BODY_BYTES when decompressed; `raw` is empty then.
    """
    if encoding.strip().lower() in ("", "identity"):
        return bytes(raw)
    body, intact = _decompressed(raw)
    if len(body) > MAX_BODY_BYTES:
        body.clear()
        raw.clear()  # the traceback of the exception would keep the bytes in memory
        raise TooLargeBody(f"is larger than {MAX_BODY_BYTES >> 20} MiB when decompressed, and was not stored")
    # Otherwise it has a wrong label, or an encoding other than gzip and deflate: it is stored as received.
    return bytes(body if intact or _is_complete(body) else raw)


def _decompressed(raw: bytearray) -> tuple[bytearray, bool]:
    """Decompress up to the first error, such as a wrong checksum at the end; return also whether there was none."""
    unpacker, body, start, step = zlib.decompressobj(47), bytearray(), 0, len(raw)  # 47: detect gzip or zlib
    while start < len(raw) and len(body) <= MAX_BODY_BYTES:
        before = unpacker.copy()
        try:
            body += unpacker.decompress(raw[start : start + step], MAX_BODY_BYTES + 1 - len(body))
            start += step
        except zlib.error:  # what precedes the error in this piece is lost: take a smaller one
            if step == 1:
                return body, False
            unpacker, step = before, step // 2
    return body, True


def complete_body(raw: bytearray, encoding: str) -> bytes:
    """Return a body whose transfer failed, if all of it has come; otherwise nothing."""
    with suppress(TooLargeBody):
        if _is_complete(body := decompress(raw, encoding)):
            return body
    return b""


def _is_complete(body: bytes | bytearray) -> bool:
    """Whether a body is an object or a list in JSON; of other values the rest may be missing."""
    try:
        return isinstance(parse_answer(bytes(body), errors="replace"), dict | list)
    except ValueError:
        return False
