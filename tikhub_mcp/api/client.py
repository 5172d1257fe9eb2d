"""The one paid request: a link in, TikHub's answer out. The only module that spends money.

No exception of httpx leaves it. What each status means and costs is from TikHub's API documentation (V5.3.2): only
HTTP 200 is charged, and a 200 that arrives after the client gave up is charged as well.
"""

import asyncio
import itertools
import json
import logging
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Protocol, TypeVar

import httpx
from pydantic import SecretStr

from tikhub_mcp.api.limiter import RateLimiter
from tikhub_mcp.api.retry import next_wait
from tikhub_mcp.concurrency import run_to_completion
from tikhub_mcp.errors import (
    AnswerError,
    InsufficientBalance,
    KeyInvalid,
    PermissionDenied,
    RateLimited,
    TikHubUnavailable,
    UnexpectedAnswer,
)
from tikhub_mcp.net.headers import parse_retry_after
from tikhub_mcp.net.reasons import failure_reason, tls_failure
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer, parse_json, redact, redact_text, write
from tikhub_mcp.posts.links import Link, named
from tikhub_mcp.text import clean

logger = logging.getLogger(__name__)

K = TypeVar("K")

PATH = "/api/v1/{platform}/app/v3/fetch_one_video_by_share_url"
DEADLINE_SECONDS = 60.0  # seconds for one request in all: TikHub's own hint is 30 to 60
MAX_BODY_BYTES = 16 * 2**20  # bytes; real answers reach 83 kB
ORDINARY_BODY_BYTES = 2**20  # bytes; of larger ones, which nobody has seen, only one at a time is taken in
MAX_CONNECTIONS = 10  # at once, those included that are carried through for nobody

_REFUSALS: dict[int, type[AnswerError]] = {401: KeyInvalid, 402: InsufficientBalance, 403: PermissionDenied}


class Budget(Protocol):
    """Who pays. `spend` is asked right before each request and may raise; `refund` follows where nothing was due."""

    def spend(self) -> None:
        """Account for one request."""

    def refund(self) -> None:
        """Take the last one back: it was not charged."""


class TikHub:
    """TikHub's API, for one base URL.

    Args:
        base_url: Without a slash at the end.
        network: What opens connections.
        deadline: Seconds for one request in all.
        sleep: What waits between two requests; a test's may not.
    """

    def __init__(
        self,
        base_url: str,
        network: Network,
        *,
        deadline: float = DEADLINE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base_url = base_url
        self._network = network
        self._deadline = deadline
        self._sleep = sleep
        self._limiter = RateLimiter()
        self._lines = asyncio.Semaphore(MAX_CONNECTIONS)
        self._large = asyncio.Lock()

    async def look_up(self, link: Link, key: SecretStr, budget: Budget, store: Callable[[Answer], Awaitable[K]]) -> K:
        """Ask for one post, again where that is worth it and costs nothing.

        Args:
            link: What to ask for.
            key: Sent in the Authorization header, and taken out of everything that comes back.
            budget: Asked before each request.
            store: Given every answer that was paid for, before anything is made of it. Once a request is out, it and
                `store` are carried through even when the caller is cancelled: the answer costs money either way.

        Returns:
            What `store` made of the answer.

        Raises:
            AnswerError: Any of its kinds but those about the post itself; also whatever `budget` and `store` raise.
        """
        for attempt in itertools.count(1):
            await self._take_turn(budget)
            try:
                return await run_to_completion(self._send(link, key.get_secret_value(), budget, store))
            except AnswerError as failure:
                if (pause := next_wait(failure, attempt)) is None:
                    raise
                if isinstance(failure, RateLimited):
                    self._limiter.pause(pause)  # the limit is the key's: all jobs wait
                    pause = 0.0
            await self._sleep(pause)
        raise AssertionError("counting has no end")  # pragma: no cover - for the type checker

    async def _take_turn(self, budget: Budget) -> None:
        """Return when a request may go out and is accounted for; it goes out at once, and `_send` frees the slot."""
        await self._lines.acquire()
        try:
            await self._limiter.wait(budget.spend)
        except BaseException:  # also where nobody waits any more
            self._lines.release()
            raise

    async def _send(self, link: Link, secret: str, budget: Budget, store: Callable[[Answer], Awaitable[K]]) -> K:
        """One request; of an answer with HTTP 200 what `store` makes of it."""
        try:
            status, headers, body = await self._exchange(link, secret, budget)
        finally:
            self._lines.release()
        logger.info("TikHub answered HTTP %s, %s bytes, for %s", status, len(body), named(link))
        if status != 200:
            budget.refund()
            raise _failure(status, headers, body, link, secret)
        answer = _open(body, secret)
        stored = await store(answer)
        if answer.value is _NOT_JSON:
            shown = clean(redact_text(body.decode("utf-8", "replace"), secret), 200)
            raise UnexpectedAnswer(
                f"TikHub's answer for {named(link)} is not JSON, and may have been charged; it begins: {shown!r}"
            )
        return stored

    async def _exchange(self, link: Link, secret: str, budget: Budget) -> tuple[int, httpx.Headers, bytes]:
        """One request and its whole body; an error status whose body did not come whole counts as that status."""
        status, headers = 0, httpx.Headers()
        request = self._network.get(
            self._base_url + PATH.format(platform=link.platform),
            {"Authorization": f"Bearer {secret}", "Accept": "application/json"},
            params={"share_url": link.url},
            public_only=False,
            read_timeout=self._deadline,
        )
        try:
            async with asyncio.timeout(self._deadline), request as response:
                status, headers = response.status_code, response.headers
                return status, headers, await _read(response, self._large)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, _Unreadable) as error:
            if status not in (0, 200):
                return status, headers, b""
            unsent = status == 0 and isinstance(error, _UNSENT)
            if unsent:
                budget.refund()
            raise _unreachable(error, link, secret) if unsent else _lost(error, status, link) from None


_NOT_JSON = object()
_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class _Unreadable(Exception):
    """A body that is not taken in; its text goes on after "TikHub's answer"."""


def _unreachable(error: Exception, link: Link, secret: str) -> TikHubUnavailable:
    return TikHubUnavailable(
        f"TikHub could not be reached for {named(link)} ({redact_text(failure_reason(error), secret)}). "
        "Nothing was charged. Check the network, the proxy and TIKHUB_BASE_URL.",
        # A certificate that does not hold is no passing fault, and nothing is sent without one.
        attempts=1 if tls_failure(error) else 4,
    )


def _lost(error: Exception, status: int, link: Link) -> AnswerError:
    if isinstance(error, _Unreadable):
        return UnexpectedAnswer(f"TikHub's answer for {named(link)} {error}. It was charged.")
    # Once more at most, and only while nothing came back: what did may have been charged.
    may_ask_again = status == 0 and not isinstance(error, TimeoutError | httpx.TimeoutException)
    return TikHubUnavailable(
        f"TikHub's answer for {named(link)} was lost on the way ({type(error).__name__}). It may have been charged.",
        attempts=2 if may_ask_again else 1,
    )


async def _read(response: httpx.Response, large: asyncio.Lock) -> bytes:
    """The body, at most MAX_BODY_BYTES of it; `large` is held while there is more than ORDINARY_BODY_BYTES."""
    raw = bytearray()
    async with AsyncExitStack() as held:
        async for chunk in response.aiter_raw():
            if len(raw) <= ORDINARY_BODY_BYTES < len(raw) + len(chunk):
                await held.enter_async_context(large)
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                raw.clear()  # the error's traceback would keep it in memory
                raise _Unreadable(f"is larger than {MAX_BODY_BYTES >> 20} MiB, and was not read to its end")
        return _plain(raw, response.headers.get("content-encoding", "").strip().lower())


def _plain(raw: bytearray, encoding: str) -> bytes:
    """A body as it was before it was compressed, which nobody asked for."""
    if encoding in ("", "identity"):
        return bytes(raw)
    try:
        body = zlib.decompressobj(47).decompress(raw, MAX_BODY_BYTES + 1)  # 47: gzip and deflate alike
    except zlib.error:
        return bytes(raw)  # mislabelled, or in an encoding that was not asked for: it is kept as it came
    if len(body) > MAX_BODY_BYTES:
        del body
        raw.clear()
        raise _Unreadable(f"is larger than {MAX_BODY_BYTES >> 20} MiB when decompressed, and was not kept")
    return body


def _open(body: bytes, secret: str) -> Answer:
    """The answer without the key: as clean JSON where it is that, else byte for byte but for the key."""
    received = time.time()
    plain = redact_text(body.decode("latin-1"), secret).encode("latin-1")
    try:
        value = redact(parse_json(body), secret)
        plain = write(value)
    except ValueError:
        try:
            parsed = parse_json(body, errors="replace")
            value = redact(parsed, secret)
            if value != parsed:  # what was taken out may stand in the bytes in another spelling
                plain = json.dumps(value, indent=2).encode()
        except ValueError:
            value = _NOT_JSON
    return Answer(plain, value, received, value.get("request_id") if isinstance(value, dict) else None)


def _failure(status: int, headers: httpx.Headers, body: bytes, link: Link, secret: str) -> AnswerError:
    """What a status other than 200 means; none of them is charged."""
    said = _upstream_message(body, secret)
    quoted = f" upstream_message: {said!r}" if said else ""
    # A firewall's 403 says nothing of the key, and is no JSON; 401 and 402 always do.
    if status in _REFUSALS and (said is not None or status != 403):
        return _REFUSALS[status](
            f"Stop: {_REFUSALS[status].tell_human} (HTTP {status} for {named(link)}; nothing was charged.){quoted}"
        )
    if status == 429:
        wait = parse_retry_after(headers.get("retry-after"))
        return RateLimited(
            f"TikHub's rate limit is reached (HTTP 429); {named(link)} was not charged. Ask again later.",
            retry_after=wait,
        )
    if status == 400 or status >= 500:
        return TikHubUnavailable(
            f"TikHub failed on {named(link)} (HTTP {status}), which often passes. Nothing was charged.{quoted}",
            attempts=3 if status == 400 else 4,
        )
    shown = quoted or f" It begins: {clean(_open(body, secret).body.decode('utf-8', 'replace'), 200)!r}"
    return UnexpectedAnswer(f"TikHub answered HTTP {status} for {named(link)}; nothing was charged.{shown}")


def _upstream_message(body: bytes, secret: str) -> str | None:
    """TikHub's own words in an error body, cleaned and cut; None where the body is no JSON."""
    try:
        value = redact(parse_json(body, errors="replace"), secret)
    except ValueError:
        return None
    detail = value.get("detail", value) if isinstance(value, dict) else None
    if isinstance(detail, list):  # HTTP 422: what is wrong, item by item
        return clean(
            "; ".join(f"{item.get('loc')}: {item.get('msg')}" for item in detail if isinstance(item, dict)), 200
        )
    words = detail.get("message") or detail.get("message_zh") if isinstance(detail, dict) else detail
    return clean(words, 200) if isinstance(words, str) else ""
