"""What several test modules need."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.payloads import TIKTOK_ID
from tikhub_mcp.api.client import TikHub
from tikhub_mcp.errors import AnswerError, ApiCallLimit
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.answer import Answer
from tikhub_mcp.posts.links import Link, parse_link

KEY = "made-up-key-0123456789"
BASE = "https://api.example"
POST = parse_link(f"https://www.tiktok.com/@paper.boats/video/{TIKTOK_ID}")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass
class Desk:
    """Who asks: counts what is spent, keeps what comes, and waits in no time.

    Attributes:
        spent: How often a request was paid for.
        refunded: How often the money came back.
        most: The cap on what may be spent.
        waits: Seconds waited between requests.
        pauses: Seconds for which all requests were held up.
        kept: The answers that came.
        failure: What keeping ends in.
    """

    spent: int = 0
    refunded: int = 0
    most: int = 99
    waits: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    kept: list[Answer] = field(default_factory=list)
    failure: Exception | None = None

    def spend(self) -> None:
        if self.spent >= self.most:
            raise ApiCallLimit("the cap is reached")
        self.spent += 1

    def refund(self) -> None:
        self.refunded += 1

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def keep(self, answer: Answer) -> str:
        self.kept.append(answer)
        if self.failure:
            raise self.failure
        return f"kept {answer.request_id}"

    def ask(
        self, network: Network | None = None, *, link: Link = POST, base: str = BASE, deadline: float = 10.0
    ) -> str:
        """Look the link up."""

        async def run() -> str:
            tikhub = TikHub(base, network or Network(), sleep=self.sleep, deadline=deadline)
            tikhub._limiter.pause = self.pauses.append  # type: ignore[assignment, method-assign]
            return await tikhub.look_up(link, SecretStr(KEY), self, self.keep)

        return asyncio.run(run())

    def fails(self, kind: type[AnswerError], network: Network | None = None, *, link: Link = POST, **how: str) -> str:
        """Look the link up in vain; what is said names the post, and nothing holds the key."""
        with pytest.raises(kind) as caught:
            self.ask(network, link=link, **how)  # type: ignore[arg-type]
        assert type(caught.value) is kind
        everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(self.kept)
        assert KEY not in everything + str(caught.value.tell_human)
        assert (link.post_id or link.url) in caught.value.message
        return caught.value.message


class Chunks(httpx.AsyncByteStream):
    """A body that comes in pieces; an exception among them is raised.

    Attributes:
        sent: How many bytes were taken.
    """

    def __init__(self, pieces: Iterable[bytes | Exception]) -> None:
        self.pieces, self.sent = pieces, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            self.sent += len(piece)
            yield piece


def always(answer: Callable[[], httpx.Response]) -> tuple[Network, list[httpx.Request]]:
    """A network on which every request comes to the same, and the requests."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer()

    return Network(transport=httpx.MockTransport(handle)), requests


def raw(*pieces: bytes | Exception, status: int = 200, encoding: str = "") -> tuple[Network, list[httpx.Request]]:
    """A network on which every answer has this body, in the bytes that the wire would carry."""
    headers = {"Content-Encoding": encoding} if encoding else {}
    return always(lambda: httpx.Response(status, headers=headers, stream=Chunks(pieces)))


# What is lost on the way


def every_exception_of_httpx() -> list[type[Exception]]:
    found: list[type[Exception]] = [httpx.InvalidURL]
    waiting: list[type[Exception]] = [httpx.HTTPError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found += [kind] if kind.__module__ == "httpx" else []
    return sorted(found, key=lambda kind: kind.__name__)


def made(kind: type[Exception]) -> Exception:
    known: dict[str, Any] = {}
    if kind is httpx.HTTPStatusError:
        request = httpx.Request("GET", BASE)
        known = {"request": request, "response": httpx.Response(500, request=request)}
    return kind(f"Illegal header value b'Bearer {KEY}'", **known)
