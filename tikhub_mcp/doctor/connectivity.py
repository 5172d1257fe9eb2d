"""The checks of the way to TikHub, and with `--online` of the API key and its account."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from tikhub_mcp.doctor.findings import Finding, finding
from tikhub_mcp.messages import translate
from tikhub_mcp.net.reasons import failure_reason, tls_failure
from tikhub_mcp.net.transport import Network, proxy_to
from tikhub_mcp.posts.answer import Json, parse_json
from tikhub_mcp.settings.environment import variables
from tikhub_mcp.settings.shown import proxy as proxy_address
from tikhub_mcp.settings.shown import setting

PROBE_SECONDS = 10.0  # for each request
DEMO_PATH = "/api/v1/demo/tiktok/app/fetch_one_video"  # always the same post; in TikHub's documentation of 2026
ACCOUNT_PATH = "/api/v1/tikhub/user/get_user_info"  # needs a scope of its own, as of TikHub's API V5.3.2
MAX_PROBE_BYTES = 4 * 2**20  # the demo endpoint's answer is a whole post


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one request.

    Attributes:
        status: The HTTP status; 0 if there was no response.
        body: The response body, cut after MAX_PROBE_BYTES bytes.
        failed: The step that failed if there was no response.
        failure: Why there was no response: the name of the exception, then its reason.
    """

    status: int = 0
    body: bytes = b""
    failed: Literal["name", "connection", "certificate"] = "connection"
    failure: str = ""


def check_network(base_url: str) -> Iterator[Finding]:
    """Check the proxy, and send one request without the API key.

    The request ends in one finding: "connection", or the step that failed ("name", "connection" or "certificate").
    """
    host, proxy = urlsplit(base_url).hostname or "", proxy_to(base_url)
    values = [setting(name, value) for name, value in variables().items() if not name.startswith("TIKHUB_")]
    also = f"; {', '.join(values)}" if values else ""
    if proxy:
        yield finding("proxy", "ok", "through_proxy", host=host, address=proxy_address(proxy), also=also)
    else:
        yield finding("proxy", "ok", "directly", host=host, also=also)
    began = time.monotonic()
    result = asyncio.run(probe(f"{base_url}/", {}, seconds=PROBE_SECONDS))
    took = (time.monotonic() - began) * 1000
    if result.status:
        yield finding("connection", "ok", "reached", host=host, status=result.status, milliseconds=took)
    else:
        yield finding(result.failed, "problem", f"failed_{result.failed}", host=host, reason=result.failure)


def check_online(base_url: str, key: SecretStr | None) -> Iterator[Finding]:
    """Ask TikHub's demo endpoint, and for the account of the API key; neither request is billed.

    Args:
        base_url: The base URL of TikHub's API.
        key: The API key; without one, the finding is a warning and nothing is sent.
    """
    if key is None:
        yield finding("account", "warning", "not_asked")
        return
    headers = {"Authorization": f"Bearer {key.get_secret_value()}", "Accept": "application/json"}
    for check, path in (("demo", DEMO_PATH), ("account", ACCOUNT_PATH)):
        result = asyncio.run(probe(base_url + path, headers, seconds=PROBE_SECONDS))
        answer = _read(result.body)
        if result.status != 200 or not isinstance(answer, dict):
            yield _unexpected(check, result, is_json=isinstance(answer, dict))
        elif check == "demo":
            yield finding("demo", "ok", "way_works")
        else:
            yield _account(answer)


def _read(body: bytes) -> Json:
    try:
        return parse_json(body, errors="replace")
    except ValueError:
        return None


def _unexpected(check: str, result: ProbeResult, *, is_json: bool) -> Finding:
    if not result.status:
        return finding(check, "problem", "not_reached", reason=result.failure)
    if result.status == 401 and is_json:  # without JSON it may be a firewall's
        return finding(check, "problem", "key_refused")
    if result.status == 403 and is_json:
        return finding(check, "warning", "scope_missing")
    return finding(check, "warning", "unexpected_answer", status=result.status)


def _account(answer: Mapping[str, Json]) -> Finding:
    key, user = ((part if isinstance(part := answer.get(name), dict) else {}) for name in ("api_key_data", "user_data"))
    if not key:
        return _unexpected("account", ProbeResult(200), is_json=True)
    sums = [user.get("balance"), user.get("free_credit")]
    wrong = {
        "without_money": all(isinstance(each, int | float) and each <= 0 for each in sums),
        "unverified": user.get("email_verified") is False,
        "disabled": user.get("account_disabled") is True,
    }
    scopes = key.get("api_key_scopes")
    found = translate(
        "doctor.account",
        balance=_shown(sums[0]),
        free_credit=_shown(sums[1]),
        scopes=" ".join(map(_shown, scopes if isinstance(scopes, list) else [None])),
        expires=_shown(key.get("expires_at")),
        status=_shown(key.get("api_key_status")),
    )
    advice = " ".join(translate(f"doctor.account_{name}") for name, is_wrong in wrong.items() if is_wrong)
    return Finding("account", "problem" if wrong["disabled"] else "warning" if advice else "ok", found, advice)


def _shown(value: Json) -> str:
    return str(value) if isinstance(value, str | int | float) else translate("doctor.unknown")


async def probe(url: str, headers: Mapping[str, str], *, seconds: float) -> ProbeResult:
    """Send one GET request to a host that the user has configured; failures are part of the result.

    Args:
        url: The address; private hosts are allowed.
        headers: The request headers.
        seconds: The limit for the whole request, and for each read.
    """
    result, body = ProbeResult(failed="name"), bytearray()
    try:
        async with asyncio.timeout(seconds):
            if not proxy_to(url):  # else the proxy resolves the name
                host = httpx.URL(url).raw_host.decode()
                await asyncio.get_running_loop().getaddrinfo(host, None)
            result = ProbeResult(failed="connection")
            async with Network().get(url, headers, public_only=False, read_timeout=seconds) as response:
                result = ProbeResult(response.status_code)
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= MAX_PROBE_BYTES:
                        break
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:  # TimeoutError is an OSError
        if not result.status:  # with a status, the host was reached
            step = "certificate" if tls_failure(error) else result.failed
            return ProbeResult(failed=step, failure=f"{type(error).__name__}: {failure_reason(error)}")
    return replace(result, body=bytes(body[:MAX_PROBE_BYTES]))
