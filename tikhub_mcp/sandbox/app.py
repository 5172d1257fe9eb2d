"""The two services of the sandbox, on one address: TikHub's API, and the CDN that its answers link to."""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tikhub_mcp.sandbox import clips, files, posts, scenarios

_LINK_LIFETIME = 3600  # seconds until media links expire
_PIECE = 256 * 1024  # bytes per chunk when no speed is set
_DEMO = "/api/v1/demo/tiktok/app/fetch_one_video"  # always the same post
_FETCH = re.compile("/api/v1/(tiktok|douyin)/app/v3/fetch_one_video_by_share_url")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass
class ApiCall:
    """A request to the API, as received; `status` is 0 until it is answered."""

    path: str
    share_url: str
    authorization: str
    user_agent: str
    time: float = field(default_factory=time.time, init=False)
    status: int = field(default=0, init=False)


@dataclass
class MediaRequest:
    """A request to the CDN, as received; `status` is 0 until it is answered.

    Tests check that `authorization` and `cookie` are empty.
    """

    path: str
    range: str
    user_agent: str
    referer: str
    authorization: str
    cookie: str
    status: int = field(default=0, init=False)


@dataclass(kw_only=True, eq=False, repr=False)
class Services:
    """The endpoints and the state of one sandbox; all of it runs in one event loop, so it needs no locks.

    Attributes:
        latency: The delay of each API response, in seconds.
        media_latency: The delay of each CDN response, in seconds.
        rate: The maximum number of API requests per second, beyond which the status is 429; 0 for no limit.
        key: The only key that is accepted; "" accepts any.
        media_bytes_per_second: The speed of each media response; 0 for no limit.
        repaired: Whether the CDN serves the files of the variant "broken", which it refuses before.
        base_url: `http://127.0.0.1:PORT`; "" before the start.
        calls: The requests to the API, in order of arrival.
        media_requests: The requests to the CDN, in order of arrival.
        stopping: Set when the sandbox stops; it ends all delays.
    """

    latency: float = 0.0
    media_latency: float = 0.0
    rate: float = 0.0
    key: str = ""
    media_bytes_per_second: int = 0
    repaired: bool = False
    base_url: str = field(default="", init=False)
    calls: list[ApiCall] = field(default_factory=list, init=False)
    media_requests: list[MediaRequest] = field(default_factory=list, init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._library = clips.load_clips()
        self._files = files.load_files()
        self._served: Counter[str] = Counter()
        self._admitted: deque[float] = deque()
        cdn = "/{mirror}/{signature}/{expires}/video/tos/{variant}/{clip}/"
        small = "/{mirror}/{signature}/{expires}/file/{variant}/{clip}"
        endpoints = {"/api/{rest:path}": self._api, cdn: self._cdn, small: self._cdn, "/aweme/v1/play/": self._cdn}
        self.app = Starlette(routes=[Route(path, endpoint) for path, endpoint in endpoints.items()])

    async def _api(self, request: Request) -> Response:
        sent, share_url = request.headers, request.query_params.get("share_url", "")
        call = ApiCall(request.url.path, share_url, sent.get("authorization", ""), sent.get("user-agent", ""))
        self.calls.append(call)
        await self._pause(self.latency)
        response = await self._answer(request, call)
        call.status = response.status_code
        return response

    async def _answer(self, request: Request, call: ApiCall) -> Response:
        scheme, _, key = call.authorization.partition(" ")
        if scheme != "Bearer" or not key or self.key not in ("", key):
            return _error(request, 401)
        if self._flooded():
            return _error(request, 429, "1")
        if call.path == "/api/v1/tikhub/user/get_user_info":
            return JSONResponse(posts.SHAPES["account"])
        if call.path == _DEMO:
            return await self._play(request, "tiktok", scenarios.SCENARIOS[0].post_id)
        if not (route := _FETCH.fullmatch(call.path)):
            return _error(request, 404)
        if not call.share_url:
            return _error(request, 422)
        if refused := scenarios.refused_status(key, route[1]):
            return _error(request, refused)
        post_id = scenarios.post_id(route[1], call.share_url)
        return await self._play(request, route[1], post_id) if post_id else _error(request, 400)

    async def _play(self, request: Request, platform: str, post_id: str) -> Response:
        """Answer a request for a post as its scenario says."""
        scenario = scenarios.of(post_id)
        self._served[platform + post_id] += 1
        happens = self._served[platform + post_id] == 1 or not scenario.once
        await self._pause(scenario.delay)
        if scenario.page:
            kind = "text/html" if scenario.page.startswith("<") else "text/plain"
            return Response(scenario.page, scenario.status, media_type=kind)
        if scenario.status != 200 and happens:
            return _error(request, scenario.status, scenario.retry_after, scenario.said)
        expires = int(time.time()) + (-_LINK_LIFETIME if scenario.stale and happens else _LINK_LIFETIME)
        shown = scenario.other or post_id
        order = posts.Order(platform, shown, self.base_url, expires, self._library, scenario)
        data = posts.data(order, scenario.shape) if scenario.shape else None
        answer = posts.envelope(request.url.path, request.query_params.get("share_url", ""), data)
        response = JSONResponse(answer if scenario.params else answer | {"params": None})
        half = bytes(response.body[: len(response.body) // 2])
        return Response(half, media_type="application/json") if scenario.half else response

    async def _cdn(self, request: Request) -> Response:
        names = ("range", "user-agent", "referer", "authorization", "cookie")
        seen = MediaRequest(request.url.path, *(request.headers.get(name, "") for name in names))
        self.media_requests.append(seen)
        await self._pause(self.media_latency)
        response = self._media(request)
        seen.status = response.status_code
        return response

    def _media(self, request: Request) -> Response:
        asked = request.path_params or request.query_params
        signature, expires, variant, clip = (asked.get(key, "") for key in ("signature", "expires", "variant", "clip"))
        genuine = signature == clips.sign(expires, variant, clip)
        refused = variant == "refused" or (variant == "broken" and not self.repaired)
        if not genuine or refused or int(expires, 16) < time.time():
            return HTMLResponse("<h1>Access Denied</h1>", 403)
        if not request.path_params:
            return RedirectResponse(clips.cdn_path("b", expires, variant, clip), 302)
        file = self._library.get(clip) or self._files[files.extension_of(clip)]
        if variant == "page":
            return HTMLResponse("<h1>Not the file</h1>" * 500, media_type=file.media_type)
        return self._file(file, variant, request)

    def _file(self, clip: clips.Clip | files.SmallFile, variant: str, request: Request) -> Response:
        kind = clip.media_type
        if variant == "unsized":
            return StreamingResponse(self._stream(clip.content), media_type=kind)
        content = clip.content[: len(clip.content) * 2 // 3] if variant == "short" else clip.content
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{clip.md5}-{len(content)}"'}
        same = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
        part = _range(request.headers.get("range", ""), len(content)) if same else None
        if part is not None:
            span = f"{part.start}-{part.stop - 1}" if part else "*"
            headers["Content-Range"] = f"bytes {span}/{len(content)}"
            if not part:
                return Response(status_code=416, headers=headers)
        sent = range(len(content)) if part is None else part
        headers["Content-Length"] = str(len(sent))
        stream = self._stream(content[sent.start : sent.stop])
        return StreamingResponse(stream, 200 if part is None else 206, headers, kind)

    async def _stream(self, content: bytes) -> AsyncIterator[bytes]:
        speed = self.media_bytes_per_second
        piece = max(1, speed // 20) if speed else _PIECE
        for start in range(0, len(content), piece):
            if not self.stopping.is_set():
                yield content[start : start + piece]
                await self._pause(piece / speed if speed else 0)

    def _flooded(self) -> bool:
        now = time.monotonic()
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if 0 < self.rate <= len(self._admitted):
            return True
        self._admitted.append(now)
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the sandbox stops."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)


def _error(request: Request, status: int, retry_after: str = "", said: str = "") -> Response:
    body = posts.error(status, request.url.path, request.query_params.get("share_url", ""), request.headers, said)
    return JSONResponse(body, status, {"Retry-After": retry_after} if retry_after else None)


def _range(header: str, size: int) -> range | None:
    """Return the bytes that a Range header requests: empty when it cannot be satisfied, None when it is invalid."""
    match = _RANGE.fullmatch(header)
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        return range(max(size - int(match[2]), 0), size)
    return range(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
