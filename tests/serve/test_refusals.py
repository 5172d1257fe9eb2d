"""Who is not let in: each request as an attacker, or a client that is set up wrongly, would send it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.support.mcp_session import patience
from tests.support.team import ACCEPT, INITIALIZE, Team
from tikhub_mcp.serve import run
from tikhub_mcp.serve.people import Person
from tikhub_mcp.serve.tokens import Tokens
from tikhub_mcp.settings.environment import load_settings

pytestmark = pytest.mark.anyio

LARGEST = 4 * 2**20


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_a_token_nobody_is_let_in_on_loopback_either(team: Team, path: str, method: str) -> None:
    token = team.tokens["alice"]
    given = ("Basic YTpi", f"Basic {token}", token, "Bearer", f"Bearer{token}")
    for headers in ({}, *({"Authorization": value} for value in given), {"X-Forwarded-For": "10.0.0.1"}):
        answer = await team.plain.request(method, team.base + path, headers={**ACCEPT, **headers})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="tikhub-mcp"'  # no address that OAuth could begin at


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/",
        "/mcp/x",
        "/people/alice/raw",
    ],
)
async def test_there_is_nothing_else_and_no_oauth(team: Team, path: str) -> None:
    answer = await team.plain.get(team.base + path, headers=team.headers("alice"))
    assert (answer.status_code, answer.text) == (404, "Not found")


@pytest.mark.parametrize("path", ["/mcp", "/health", "/files/alice/raw/x.json", "/nothing"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.com"}, 421),
        ({"Host": "evil.com:8000"}, 421),
        ({"Host": "127.0.0.1.evil.com"}, 421),
        ({"Host": "localhost.evil.com:8000"}, 421),
        ({"Origin": "https://evil.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # a page of another server on this machine
        ({"Host": "evil.com", "X-Forwarded-Host": "127.0.0.1"}, 421),
    ],
)
async def test_a_foreign_host_or_origin_is_refused_before_anything_else(
    team: Team, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await team.plain.get(team.base + path, headers={**team.headers("alice"), **headers})
    assert answer.status_code == status
    assert "alice" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "localhost:9"])
async def test_the_names_of_this_machine_are_known(team: Team, host: str) -> None:
    assert (await team.plain.get(f"{team.base}/health", headers={"Host": host})).status_code == 200


async def test_a_body_that_is_too_large_is_refused_whether_its_size_is_told_or_not(team: Team) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 2**16):
            yield b" " * 2**16

    headers = {**team.headers("alice"), **ACCEPT, "Content-Type": "application/json"}
    for body in (b" " * (LARGEST + 1), pieces(LARGEST + 2**16)):
        assert (await team.plain.post(team.server.url, content=body, headers=headers)).status_code == 413
    assert (await team.plain.post(team.server.url, content=pieces(LARGEST), headers=headers)).status_code == 400
    assert (await team.post(INITIALIZE, "alice")).status_code == 200


async def test_wrong_tokens_are_answered_one_after_another_and_right_ones_at_once(team: Team) -> None:
    async def ask(person: str) -> tuple[int, float]:
        began = time.monotonic()
        status = (await team.post(INITIALIZE, person)).status_code
        return status, time.monotonic() - began

    right = team.tokens["alice"]
    await ask("bob")
    wrong = [right[:-1], right + "A", right.upper(), "tikhub_x", "Alice"]
    answers = await asyncio.gather(*map(ask, wrong), ask("bob"))
    assert [status for status, _ in answers] == [401] * 5 + [200]
    delays = sorted(seconds for _, seconds in answers[:-1])
    assert all(late - early > 0.4 for early, late in pairwise(delays))
    assert answers[-1][1] < min(0.5, delays[0]) or answers[-1][1] < patience(0.3)


async def test_a_change_of_the_tokens_counts_at_once(team: Team) -> None:
    tokens = Tokens(load_settings(team.environ).root)
    assert (await team.post(INITIALIZE, "alice")).status_code == 200
    await asyncio.to_thread(tokens.remove, "alice")
    assert (await team.post(INITIALIZE, "alice")).status_code == 401
    team.tokens["carol"] = await asyncio.to_thread(tokens.add, "carol")
    assert (await team.post(INITIALIZE, "carol")).status_code == 200
    tokens.path.write_text("{")  # a damaged file lets nobody in
    assert (await team.post(INITIALIZE, "carol")).status_code == 401


async def test_a_request_that_never_ends_is_given_up(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REQUEST_SECONDS", 0.5)
    host, _, port = team.base.removeprefix("http://").partition(":")
    head = f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {team.tokens['alice']}\r\n"
    for sent in ("", "POST /mcp HT", head, f"{head}Content-Length: 9\r\nContent-Type: application/json\r\n\r\n[1,"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent.encode())
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    # A kept connection that rests after a request has its own limit, and one that is being answered has none.
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(2):
        writer.write(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"200 OK" in await reader.readuntil(b"}")
        await asyncio.sleep(0.7)
    writer.write(b"GET /health HTT")
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_health_says_how_it_is_to_anybody(team: Team) -> None:
    answer = await team.plain.get(f"{team.base}/health")
    about = answer.json()
    assert (answer.status_code, about.keys()) == (200, {"status", "version", "free_bytes"})
    assert (about["status"], about["free_bytes"] > 0) == ("ok", True)
    assert "server" not in answer.headers
    await asyncio.to_thread(team.root.rename, team.root.with_name("gone"))
    assert (await team.plain.get(f"{team.base}/health")).status_code == 503
    await asyncio.to_thread(team.root.with_name("gone").rename, team.root)


async def test_whoever_answers_is_given_no_token(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Scope] = []

    async def handle(_: Person, scope: Scope, receive: Receive, send: Send) -> None:
        given.append(scope)
        await Response("ok")(scope, receive, send)

    monkeypatch.setattr(Person, "handle", handle)
    assert (await team.post(INITIALIZE, "alice")).text == "ok"
    assert team.tokens["alice"] not in str(given[0]["headers"])


async def test_a_client_that_is_gone_before_its_request_is_complete_is_no_failure(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = team.base.removeprefix("http://").partition(":")
    for version in ("2026-07-28",):  # in the older protocol the SDK logs it itself
        _, writer = await asyncio.open_connection(host, int(port))
        head = {**team.headers("alice"), **ACCEPT, "MCP-Protocol-Version": version, "Content-Type": "application/json"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: 99\r\n\r\n{{".encode())
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()
    await asyncio.sleep(0.3)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await team.post(INITIALIZE, "alice")).status_code == 200
