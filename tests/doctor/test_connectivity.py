"""doctor's way to TikHub: which step fails, through which proxy, and what the account says, over real sockets."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.doctor.conftest import CANARY
from tests.support.certificates import by_openssl, certificate, secured
from tests.support.closed_network import World
from tests.support.fault_server import Act, Faulty
from tikhub_mcp.cli.main import main
from tikhub_mcp.doctor import checks, connectivity, findings
from tikhub_mcp.doctor.findings import Finding
from tikhub_mcp.sandbox import Sandbox

pytestmark = pytest.mark.slow  # these start servers, programs or libraries that take long

PASSWORD = "s3cr3t/p@ss"
PUBLIC = "93.184.216.34"


def network() -> tuple[Finding, Finding]:
    """The proxy, and how the request ended."""
    proxy, end = map(findings.redact_finding, connectivity.check_network(os.environ["TIKHUB_BASE_URL"]))
    assert (proxy.check, proxy.state) == ("proxy", "ok")
    return proxy, end


@pytest.mark.parametrize(
    ("base_url", "names", "check", "says", "advice"),
    [
        ("https://api.example", [], "name", "(gaierror: the name cannot be resolved)", "DNS"),
        (f"https://{'a' * 64}.example", [], "name", "Error: the name cannot be resolved)", "DNS"),
        ("https://api.example", [PUBLIC], "connection", "api.example is not reached (ConnectError: ", "api.tikhub.dev"),
        ("http://127.0.0.1:9", [], "connection", "(ConnectError: the connection was refused)", "firewall"),
        ("http://[::1]:9", [], "connection", "::1 is not reached (", "firewall"),
    ],
)
def test_the_step_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, world: World, base_url: str, names: list[str], check: str, says: str, advice: str
) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", base_url)
    world.names |= {"api.example": names} if names else {}
    proxy, end = network()
    assert proxy.found.endswith(" is asked directly")
    assert (end.check, end.state) == (check, "problem")
    assert says in end.found
    assert advice in end.advice


@pytest.mark.parametrize("hangs", ["name", "connection"])
def test_silence_ends_after_seconds_and_the_step_is_named(
    monkeypatch: pytest.MonkeyPatch, world: World, hangs: str
) -> None:
    async def hang(host: str, port: int) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(connectivity, "PROBE_SECONDS", 0.2)
    if hangs == "name":
        monkeypatch.setattr(world, "look_up", hang)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TIKHUB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        _, end = network()
    assert (end.check, end.state) == (hangs, "problem")
    assert "(TimeoutError: no answer in time)" in end.found


def test_an_answer_of_any_status_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with Faulty() as server:
        server.on("/", Act(status=404, body=b"{}"))
        monkeypatch.setenv("TIKHUB_BASE_URL", server.base_url)
        _, end = network()
        [request] = server.requests
    assert (end.check, end.state) == ("connection", "ok")
    assert end.found.startswith("127.0.0.1 answers: HTTP 404 after ")
    assert CANARY not in str(request)


@by_openssl
@pytest.mark.parametrize(
    ("trusted", "host", "days", "says"),
    [
        (True, "127.0.0.1", 1, "answers: HTTP 200"),
        (False, "127.0.0.1", 1, "the certificate is not trusted: self-signed certificate)"),
        (True, "127.0.0.2", 1, "the certificate is not trusted: IP address mismatch"),
        (True, "127.0.0.1", -1, "the certificate is not trusted: certificate has expired)"),
    ],
)
def test_a_certificate_that_does_not_hold_is_told_from_a_connection_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool, host: str, days: int, says: str
) -> None:
    path = certificate(tmp_path, host, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base:
        monkeypatch.setenv("TIKHUB_BASE_URL", base)
        proxy, end = network()
    assert (end.check, end.state) == (("connection", "ok") if "HTTP" in says else ("certificate", "problem"))
    assert says in end.found
    assert ("clock" in end.advice) == (end.state == "problem")
    assert ("SSL_CERT_FILE=" in proxy.found) == trusted


def test_what_does_not_speak_tls_is_no_certificate_that_holds(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", sandbox.base_url.replace("http://", "https://"))
    _, end = network()
    assert (end.check, end.state) == ("certificate", "problem")
    assert "TLS failed: " in end.found


# Proxies


@contextmanager
def tunnel(port: int, heard: list[bytes]) -> Iterator[int]:
    """A proxy that takes every CONNECT to a port of this machine; its own port."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                heard.append(client.recv(4096))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pump, args=[server, client])
                back.start()
                pump(client, server)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


@by_openssl
def test_a_proxy_that_lets_it_through_is_said_to_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: World
) -> None:
    path, heard = certificate(tmp_path, PUBLIC), list[bytes]()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base, tunnel(int(base.rpartition(":")[2]), heard) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{port}")
        monkeypatch.setenv("TIKHUB_BASE_URL", f"https://{PUBLIC}")
        proxy, end = network()
    assert proxy.found.startswith(f"{PUBLIC} is asked through http://127.0.0.1:{port}; HTTPS_PROXY=http:")
    assert (end.check, end.state) == ("connection", "ok")
    assert heard[0].startswith(f"CONNECT {PUBLIC}:443 ".encode())
    assert PUBLIC not in world.resolved
    assert {address for address, _ in world.connected} == {"127.0.0.1"}
    assert CANARY.encode() not in heard[0]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://me:SECRET@127.0.0.1:PORT", "ProxyError: the proxy refused the connection (HTTP 407)"),
        ("http://me:SECRET@127.0.0.1:9", "ConnectError: the connection was refused"),
        ("ftp://me:SECRET@h.example", "ProxyError: the proxy that the environment names cannot be used"),
        ("http://me:SECRET@h.example:x", "ProxyError: the proxy that the environment names cannot be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_problem_and_its_password_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, address: str, says: str
) -> None:
    with Faulty() as server:
        raw = f"HTTP/1.1 407 No {PASSWORD} for me:{PASSWORD}\r\nContent-Length: 0\r\n\r\n".encode()
        server.on("api.example:443", Act(raw=raw))
        port = server.base_url.rpartition(":")[2]
        monkeypatch.setenv("ALL_PROXY", address.replace("SECRET", "s3cr3t%2Fp@ss").replace("PORT", port))
        monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
        proxy, end = network()
    assert proxy.found.startswith("api.example is asked through ")
    assert (end.check, end.state) == ("connection", "problem")
    assert f"api.example is not reached ({says})" in end.found
    assert "the proxy if there is one" in end.advice
    assert "s3cr3t" not in findings.as_json([proxy, end])


ODD_PROXIES = """
http://me:SECRET@h.example:8080 http://SECRET@h.example http://a@SECRET@h.example:1 me:SECRET@h.example:1
http://h.example:8080@me:SECRET http:me:SECRET@h.example http://h.example/me:SECRET@ http://h.example?u=SECRET
http://h.example:1/SECRET http://me:SECRET%40h.example http%3A%2F%2Fme:SECRET@h.example:1 http://:SECRET@ SECRET
http://me:SECRET/x@h.example:1 http://me:x/SECRET@h.example:1 http://SECRET http://h.example:SECRET SECRET://h.example
http://me:SECRET@[::1]:1 http://[SECRET]:1 http://SECRET@h_.example:1 //me:SECRET@h.example socks5://SECRET@h.example:1
http://me:SECRET\\@h.example:1 http://h.example:1#SECRET http=h.example:1;SECRET
"""


@pytest.mark.parametrize(
    "address", [*ODD_PROXIES.split(), " http://me: SECRET @h.example:1 ", "http://me:SEC\nSECRET@x.y"]
)
@pytest.mark.usefixtures("quick")
def test_however_odd_the_address_of_a_proxy_is_its_password_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    for name in ("HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, address.replace("SECRET", "s3cr3t"))
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
    main(["doctor"])
    told = capsys.readouterr()
    assert "HTTPS_PROXY=" in told.out
    assert "all_proxy=" in told.out
    assert "s3cr3t" not in told.out + told.err


# The key and its account


def online(monkeypatch: pytest.MonkeyPatch, path: str, act: Act) -> Finding:
    """What is found when TikHub answers a path like this."""
    with Faulty() as server:
        server.on(connectivity.DEMO_PATH, Act(body=b"{}"))
        server.on(connectivity.ACCOUNT_PATH, Act(body=b"{}"))
        server.on(path, act)
        found = dict(zip(PATHS, connectivity.check_online(server.base_url, SecretStr(CANARY)), strict=True))
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {CANARY}"}
    assert found[path].check == PATHS[path]
    return findings.redact_finding(found[path])


PATHS = {connectivity.DEMO_PATH: "demo", connectivity.ACCOUNT_PATH: "account"}
SOUND = {"api_key_scopes": ["/api/v1/tiktok/*", "/api/v1/douyin/"], "expires_at": "2031-01-01", "api_key_status": 1}
RICH = {"balance": 2.5, "free_credit": 0.0, "email_verified": True, "account_disabled": False}


def account(monkeypatch: pytest.MonkeyPatch, key: object, user: object) -> Finding:
    body = json.dumps({"code": 200, "api_key_data": key, "user_data": user}).encode()
    return online(monkeypatch, connectivity.ACCOUNT_PATH, Act(body=body))


@pytest.mark.parametrize(
    ("user", "state", "says"),
    [
        (RICH, "ok", ""),
        ({**RICH, "balance": 0}, "warning", "no money left"),
        ({**RICH, "balance": 0, "free_credit": 0.1}, "ok", ""),
        ({**RICH, "balance": "0"}, "ok", ""),
        ({**RICH, "email_verified": False}, "warning", "is not verified"),
        ({**RICH, "account_disabled": True}, "problem", "disabled the account"),
        ("else", "ok", ""),
    ],
)
def test_what_the_account_says_is_shown_and_judged(
    monkeypatch: pytest.MonkeyPatch, user: object, state: str, says: str
) -> None:
    found = account(monkeypatch, SOUND, user)
    assert found.state == state
    assert says in found.advice if says else not found.advice
    balance = user["balance"] if isinstance(user, dict) else "unknown"
    assert found.found.startswith(f"TikHub accepts the key: balance {balance}, free credit ")
    assert found.found.endswith(", scopes /api/v1/tiktok/* /api/v1/douyin/, expires 2031-01-01, status 1")


def test_a_demo_that_answers_says_nothing_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    post = json.dumps({"code": 200, "data": {"aweme_detail": {"desc": "x" * 500_000}}}).encode()
    found = online(monkeypatch, connectivity.DEMO_PATH, Act(body=post))
    assert (found.state, found.advice) == ("ok", "")
    assert "the way works; whether the key does, this answer does not show" in found.found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("act", "state", "says"),
    [
        (Act(status=401, body=b"{}"), "problem", "TikHub refuses the key (HTTP 401)"),
        (Act(status=401, body=json.dumps({"detail": {"headers": CANARY}}).encode()), "problem", "refuses"),
        (Act(status=401, body=b"<html>"), "warning", "an unexpected answer (HTTP 401)"),
        (Act(status=403, body=b'{"detail": {}}'), "warning", "proves nothing about downloads"),
        (Act(status=403, body=b"error code: 1010"), "warning", "an unexpected answer (HTTP 403)"),
        (Act(status=500, body=b"{}"), "warning", "HTTP 500"),
        (Act(body=b"<html>"), "warning", "HTTP 200"),
        (Act(body=b"[]"), "warning", "HTTP 200"),
        (Act(body=b"{}" * 999, cut=3, end="reset"), "warning", "HTTP 200"),
        (Act(body=b"[" * 100_000), "warning", "HTTP 200"),
        (Act(raw=b"\r\n" * 9), "problem", "not reached (UnreadableResponse"),
    ],
)
def test_any_other_answer_is_explained(
    monkeypatch: pytest.MonkeyPatch, path: str, act: Act, state: str, says: str
) -> None:
    found = online(monkeypatch, path, act)
    assert found.state == state
    assert says in found.found
    assert found.advice
    assert "accepts" not in found.found


def test_json_that_is_no_account_does_not_say_that_the_key_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[object] = [None, {}, "else"]
    for key in keys:
        assert "HTTP 200" in account(monkeypatch, key, RICH).found


def test_an_answer_that_echoes_the_key_does_not_bring_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = account(monkeypatch, {**SOUND, "expires_at": f"x\n{CANARY}"}, {"balance": {"headers": {"a": CANARY}}})
    assert found.found.startswith("TikHub accepts the key: balance unknown, ")
    assert ", expires x " in found.found
    assert CANARY not in str(found)


@pytest.mark.usefixtures("quick")
def test_without_a_usable_key_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", "")
    *_, found = checks.examine(online=True)
    assert (found.check, found.state, found.found) == ("account", "warning", "not asked: there is no usable key")
    assert sandbox.calls == []


def test_of_a_body_without_an_end_only_so_much_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def within_seconds(url: str) -> connectivity.ProbeResult:
        async with asyncio.timeout(10):
            return await connectivity.probe(url, {}, seconds=60)

    monkeypatch.setattr(connectivity, "MAX_PROBE_BYTES", 64 * 1024)
    with Faulty() as server:
        url = server.on("/", Act(framing="none", body=b"x" * (connectivity.MAX_PROBE_BYTES + 1), end="stall"))
        seen = asyncio.run(within_seconds(url))
    assert (seen.status, len(seen.body)) == (200, connectivity.MAX_PROBE_BYTES)
