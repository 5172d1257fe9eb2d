"""Sends the paid request for one post to TikHub; the only module that spends money.

It raises no exceptions of httpx. The meaning and price of each status are from TikHub's API documentation (V5.3.2):
only HTTP 200 is charged, including a 200 that arrives after the request was given up.
"""

import asyncio
import itertools
import json
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Protocol, TypeVar

import httpx
from pydantic import SecretStr

from tikhub_mcp.api.body import ORDINARY_BODY_BYTES, TooLargeBody, complete_body, decompress, read_body
from tikhub_mcp.api.limiter import RateLimiter
from tikhub_mcp.api.retry import BAD_REQUEST_ATTEMPTS, LOST_ATTEMPTS, UNAVAILABLE_ATTEMPTS, next_wait
from tikhub_mcp.concurrency import Share, in_thread, run_to_completion
from tikhub_mcp.errors import (
    AnswerError,
    InsufficientBalance,
    KeyInvalid,
    PermissionDenied,
    RateLimited,
    TikHubUnavailable,
    UnexpectedAnswer,
)
from tikhub_mcp.net.answered import UnreadableResponse
from tikhub_mcp.net.reasons import failure_reason, tls_failure
from tikhub_mcp.net.retry_after import parse_retry_after
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer, parse_answer, redact, redact_text, write
from tikhub_mcp.posts.links import Link, named
from tikhub_mcp.text import clean

logger = logging.getLogger(__name__)

K = TypeVar("K")

PATH = "/api/v1/{platform}/app/v3/fetch_one_video_by_share_url"
DEADLINE_SECONDS = 60.0  # for one request in total; TikHub recommends 30 to 60
MAX_CONNECTIONS = 10  # at once, including requests in flight that no caller is waiting for

_REFUSALS: dict[int, type[AnswerError]] = {401: KeyInvalid, 402: InsufficientBalance, 403: PermissionDenied}
_TITLES = {"tiktok": "TikTok", "douyin": "Douyin"}
# A 403 with such words is about the account. Without them, and for a 402, the other platform's endpoint may still work,
# because TikHub grants scopes and accepts free credit for each endpoint.
_ACCOUNT_REFUSALS = (
    (
        re.compile(r"e-?mail.{0,60}verif|verif.{0,60}e-?mail|邮箱.{0,20}验证|验证.{0,20}邮箱", re.IGNORECASE),
        "TikHub wants the e-mail address of the account verified first: do that at https://user.tikhub.io/.",
    ),
    (
        re.compile(
            r"\b(account|user)\b.{0,40}\b(disabled|banned|blocked|suspended|deactivated|inactive|frozen)\b"
            "|(账户|账号|帐户|帐号|用户).{0,20}(禁用|停用|封禁|冻结)",
            re.IGNORECASE,
        ),
        "TikHub has disabled the account: see https://user.tikhub.io/, and ask TikHub's support.",
    ),
)


class Budget(Protocol):
    """Counts paid requests, and may refuse one."""

    def spend(self) -> None:
        """Count one request, immediately before it is sent; an exception prevents the request."""

    def refund(self) -> None:
        """Take back one counted request that was not charged."""


class TikHub:
    """The client of TikHub's API at one base URL.

    Args:
        base_url: The base URL, without a trailing slash.
        network: Sends the requests.
        deadline: The time limit for one request in total, in seconds.
        sleep: Waits between two requests; tests pass one that returns at once.
        limiter: Delays the requests; by default one of its own.
        connections: Limits the requests at once; by default to MAX_CONNECTIONS of its own.

    Attributes:
        unanswered: The posts of requests that have been sent, and whose answers are not stored yet.
    """

    def __init__(
        self,
        base_url: str,
        network: Network,
        *,
        deadline: float = DEADLINE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        limiter: RateLimiter | None = None,
        connections: Share | asyncio.Semaphore | None = None,
    ) -> None:
        self._base_url = base_url
        self._network = network
        self._deadline = deadline
        self._sleep = sleep
        self._limiter = limiter or RateLimiter()
        self._connections = connections or asyncio.Semaphore(MAX_CONNECTIONS)
        self._large = asyncio.Lock()
        self.unanswered: set[Link] = set()

    async def look_up(self, link: Link, key: SecretStr, budget: Budget, store: Callable[[Answer], Awaitable[K]]) -> K:
        """Request one post, and retry failures that may be temporary.

        Args:
            link: The post to request.
            key: The API key, sent in the Authorization header and removed from all responses.
            budget: Counts each request before it is sent.
            store: Receives every answer that was paid for, before it is checked in any way. Once a request has been
                sent, it and `store` run to completion even when the caller is cancelled, because the answer is charged.

        Returns:
            The result of `store`.

        Raises:
            AnswerError: The request failed. PostUnavailable, NotAVideo and WrongPost are not raised here.
            Exception: Whatever `budget` and `store` raise.
        """
        for attempt in itertools.count(1):
            # `_send` must follow, and frees the connection.
            await self._limiter.wait(budget.spend, self._connections)
            try:
                return await run_to_completion(self._send(link, key.get_secret_value(), budget, store))
            except AnswerError as failure:
                if (pause := next_wait(failure, attempt)) is None:
                    raise
                if isinstance(failure, RateLimited):
                    self._limiter.pause(pause)  # the limit is per key, so all jobs with it must wait
                    pause = 0.0
            await self._sleep(pause)
        raise AssertionError("unreachable")  # pragma: no cover - for the type checker

    async def _send(self, link: Link, secret: str, budget: Budget, store: Callable[[Answer], Awaitable[K]]) -> K:
        """Send one request, and return what `store` returns for its answer."""
        self.unanswered.add(link)
        try:
            return await self._receive(link, secret, budget, store)
        finally:
            self.unanswered.discard(link)

    async def _receive(self, link: Link, secret: str, budget: Budget, store: Callable[[Answer], Awaitable[K]]) -> K:
        try:
            status, headers, body = await self._exchange(link, secret, budget)
        finally:
            self._connections.release()
        logger.info("TikHub answered HTTP %s, %s bytes, for %s", status, len(body), link.key)
        if status != 200:
            budget.refund()
            raise _failure(status, headers, body, link)
        async with self._large if len(body) > ORDINARY_BODY_BYTES else nullcontext():
            answer = await in_thread(_open, body, secret)  # takes a second for MAX_BODY_BYTES
        stored = await store(answer)
        if answer.value is _NOT_JSON:
            raise UnexpectedAnswer(
                f"TikHub's answer for {named(link)} is not JSON about a post ({_form(headers, body)}), and may have "
                "been charged. Check TIKHUB_BASE_URL and the network before asking again."
            )
        return stored

    async def _exchange(self, link: Link, secret: str, budget: Budget) -> tuple[int, httpx.Headers, bytes]:
        """Send one request and read its body.

        An error status counts even when its body is incomplete; a complete body counts even when its framing is wrong.
        """
        status, headers, raw = 0, httpx.Headers(), bytearray()
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
                await read_body(response.aiter_raw(), raw, self._large)
                return status, headers, decompress(raw, headers.get("content-encoding", ""))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, TooLargeBody) as error:
            if status and ((body := complete_body(raw, headers.get("content-encoding", ""))) or status != 200):
                return status, headers, body
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


def _unreachable(error: Exception, link: Link, secret: str) -> TikHubUnavailable:
    return TikHubUnavailable(
        f"TikHub could not be reached for {named(link)} ({redact_text(failure_reason(error), secret)}). "
        "Nothing was charged. Check the network, the proxy and TIKHUB_BASE_URL.",
        # A certificate error is not temporary.
        attempts=1 if tls_failure(error) else UNAVAILABLE_ATTEMPTS,
    )


def _lost(error: Exception, status: int, link: Link) -> AnswerError:
    if isinstance(error, TooLargeBody):
        return UnexpectedAnswer(f"TikHub's answer for {named(link)} {error}. It was charged.")
    # At most one retry, and only when no byte of a response came: what was answered, or timed out, may be charged.
    answered = status != 0 or isinstance(error, UnreadableResponse) or tls_failure(error) is not None
    may_ask_again = not answered and not isinstance(error, TimeoutError | httpx.TimeoutException)
    return TikHubUnavailable(
        f"TikHub's answer for {named(link)} was lost on the way ({type(error).__name__}). It may have been charged.",
        attempts=LOST_ATTEMPTS if may_ask_again else 1,
    )


def _open(body: bytes, secret: str) -> Answer:
    """Parse an answer and remove the key: its body is indented JSON, or the bytes as received if they are not JSON."""
    received = time.time()
    plain = redact_text(body.decode("utf-8", "surrogateescape"), secret).encode("utf-8", "surrogateescape")
    try:
        value = redact(parse_answer(body), secret)
        plain = write(value)
    except ValueError:
        try:
            parsed = parse_answer(body, errors="replace")
            value = redact(parsed, secret)
            if value != parsed:  # the bytes may contain the key in another spelling, such as JSON escapes
                plain = json.dumps(value, indent=2).encode()
        except ValueError:
            value = _NOT_JSON
    return Answer(plain, value, received, value.get("request_id") if isinstance(value, dict) else None)


def _failure(status: int, headers: httpx.Headers, body: bytes, link: Link) -> AnswerError:
    """Return the error for a status other than 200; no such response is charged."""
    words = _upstream_words(body)
    # A 403 without JSON is from a firewall, not from TikHub; 401 and 402 are always about the key or the account.
    if status in _REFUSALS and (words is not None or status != 403):
        return _refusal(status, words or "", link)
    if status == 429:
        wait = parse_retry_after(headers.get("retry-after"))
        when = f"in {math.ceil(wait):,} s at the earliest" if wait else "later"
        return RateLimited(
            f"TikHub's rate limit is reached (HTTP 429); {named(link)} was not charged. Ask again {when}.",
            retry_after=wait,
        )
    if status == 400 or status >= 500:
        return TikHubUnavailable(
            f"TikHub failed on {named(link)} (HTTP {status}), which often passes. Nothing was charged.",
            attempts=BAD_REQUEST_ATTEMPTS if status == 400 else UNAVAILABLE_ATTEMPTS,
        )
    return UnexpectedAnswer(
        f"TikHub answered HTTP {status} for {named(link)} ({_form(headers, body)}); nothing was charged. "
        "Check the link, TIKHUB_BASE_URL and the network."
    )


def _refusal(status: int, words: str, link: Link) -> AnswerError:
    """Return the error for 401, 402 or 403, with the platform whose endpoint alone refuses."""
    kind, title = _REFUSALS[status], _TITLES[link.platform]
    told = next((told for pattern, told in _ACCOUNT_REFUSALS if pattern.search(words)), None) if status == 403 else None
    only = "" if status == 401 or told else f" This concerns {title} only."
    error = kind(
        f"Stop this task now: TikHub refused a request for a {title} post (HTTP {status}, {named(link)}; nothing was "
        f"charged). {told or kind.tell_human}{only}"
    )
    error.tell_human = f"{told or kind.tell_human}{only}"
    error.platform = link.platform if only else None
    return error


def _form(headers: httpx.Headers, body: bytes) -> str:
    """Return the content type and the length of a body, which is not quoted: it may be anybody's words."""
    kind = re.match(r"[\w.+-]{1,40}/[\w.+-]{1,40}", headers.get("content-type", ""), re.ASCII)
    return f"{kind[0] if kind else 'no content type'}, {len(body):,} bytes"


def _upstream_words(body: bytes) -> str | None:
    """Return TikHub's messages in an error body, to be searched only; None when the body is not JSON."""
    try:
        value = parse_answer(body, errors="replace")
    except ValueError:
        return None
    detail = value.get("detail", value) if isinstance(value, dict) else None
    words = [detail.get("message"), detail.get("message_zh")] if isinstance(detail, dict) else [detail]
    return " ".join(clean(each, 200) for each in words if isinstance(each, str))
