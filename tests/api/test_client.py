"""client.py: what every answer means, what is asked again, what is charged, and what the key touches.

Bodies are in test_client_body.py; rates and cancelling in test_client_turns.py.
"""

import re
import socket
import ssl

import httpx
import pytest
import respx

from tests.support.api_client import BASE, KEY, POST, PROXIES, Chunks, Desk, always, every_exception_of_httpx, made, raw
from tests.support.fault_server import Act, Faulty
from tests.support.payloads import REQUEST_ID, TIKTOK_ID, douyin_post, envelope, error_answer, tiktok_post
from tikhub_mcp.api.client import PATH
from tikhub_mcp.errors import (
    AnswerError,
    ApiCallLimit,
    InsufficientBalance,
    KeyInvalid,
    PermissionDenied,
    RateLimited,
    TikHubUnavailable,
    UnexpectedAnswer,
)
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.posts.links import parse_link
from tikhub_mcp.sandbox import Sandbox, link, short_link

GOOD = envelope(tiktok_post())
ASKED = httpx.URL(BASE + PATH.format(platform="tiktok"), params={"share_url": POST.url})


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def route(respx_mock: respx.MockRouter) -> respx.Route:
    return respx_mock.get(ASKED)


# What each status means


def test_one_request_asks_for_the_link_with_the_key_in_its_header_only(route: respx.Route) -> None:
    route.respond(json=GOOD)
    desk = Desk()
    assert desk.ask() == f"kept {REQUEST_ID}"
    (call,) = route.calls
    assert call.request.url == ASKED
    headers = dict(call.request.headers)
    assert headers.pop("authorization") == f"Bearer {KEY}"
    assert headers.pop("user-agent").startswith("Mozilla/5.0 ")
    assert headers.pop("host") == "api.example"
    assert headers == {"accept": "application/json", "accept-encoding": "identity", "connection": "close"}
    assert (desk.spent, desk.refunded, desk.waits, desk.kept[0].value) == (1, 0, [], GOOD)


def test_a_douyin_link_goes_to_douyins_endpoint(respx_mock: respx.MockRouter) -> None:
    respx_mock.get(BASE + PATH.format(platform="douyin")).respond(json=envelope(douyin_post(), douyin=True))
    assert Desk().ask(link=parse_link("https://v.douyin.com/madeup/")) == f"kept {REQUEST_ID}"


REFUSALS: dict[int, type[AnswerError]] = {401: KeyInvalid, 402: InsufficientBalance, 403: PermissionDenied}
MEANINGS: list[tuple[int, type[AnswerError], int]] = [
    *((status, kind, 1) for status, kind in REFUSALS.items()),
    (400, TikHubUnavailable, 3),
    *((status, TikHubUnavailable, 4) for status in (500, 502, 503, 504, 520, 521, 522, 523, 524)),
    *((status, UnexpectedAnswer, 1) for status in (201, 204, 206, 301, 302, 303, 307, 308, 404, 405, 418, 422)),
]


@pytest.mark.parametrize(("status", "kind", "requests"), MEANINGS)
def test_every_other_status_is_refunded_and_asked_again_only_where_it_may_pass(
    route: respx.Route, status: int, kind: type[AnswerError], requests: int
) -> None:
    body = error_answer(status, f"Upstream: {KEY}\n\x1b[31m{'x' * 500}", headers={"Authorization": f"Bearer {KEY}"})
    route.respond(status, json=body | {KEY: KEY}, headers={"Location": "https://elsewhere.example/"})
    desk = Desk()
    said = desk.fails(kind)
    assert route.call_count == desk.spent == desk.refunded == requests
    assert not desk.kept
    assert len(desk.waits) == requests - 1
    assert all(0.25 * 2**number <= wait <= 0.75 * 2**number for number, wait in enumerate(desk.waits))
    assert "xxx" not in said
    assert len(said) < 400
    if status in REFUSALS:
        assert said.startswith("Stop this task now: TikHub refused a request for a TikTok post (HTTP ")
        assert str(REFUSALS[status].tell_human) in said
    else:
        assert re.search("[Nn]othing was charged", said)


@pytest.mark.parametrize(
    "body", [f"error code: 1010 {KEY}", "", "<html>Attention!</html>", "[]", '"no"', '{"detail": ']
)
@pytest.mark.parametrize("status", [401, 402])
def test_a_401_and_a_402_are_about_the_key_whatever_the_body(route: respx.Route, status: int, body: str) -> None:
    route.respond(status, text=body)
    desk = Desk()
    said = desk.fails(REFUSALS[status])
    assert (route.call_count, desk.refunded) == (1, 1)
    assert KEY not in said


@pytest.mark.parametrize("body", ["[]", '"no"', "5", "null"])
def test_a_403_in_json_is_about_the_key(route: respx.Route, body: str) -> None:
    route.respond(403, text=body)
    Desk().fails(PermissionDenied)


@pytest.mark.parametrize("body", [f"error code: 1010 {KEY}", "", "<html>Attention!</html>", '{"detail": '])
def test_a_firewalls_403_says_nothing_about_the_key(route: respx.Route, body: str) -> None:
    status = 403
    route.respond(status, text=body)
    desk = Desk()
    said = desk.fails(UnexpectedAnswer)
    assert (route.call_count, desk.refunded) == (1, 1)
    assert f"HTTP {status} for post {TIKTOK_ID} (text/plain, {len(body)} bytes); nothing was charged." in said


def test_a_refusal_whose_text_is_not_utf_8_is_still_read(route: respx.Route) -> None:
    route.respond(403, content=b'{"detail": "Account disabled \xff"}')
    assert "has disabled the account" in Desk().fails(PermissionDenied)


SCOPE = {"message": "API Token lacks required permissions", "message_zh": "权限不足"}


@pytest.mark.parametrize(
    ("status", "detail", "platform", "told"),
    [
        (401, SCOPE, None, "wrong, expired or inactive"),
        (401, {"message": "User account has been disabled"}, None, "wrong, expired or inactive"),
        (402, {"message": "Insufficient balance, free credit is not accepted"}, "tiktok", "balance is too low"),
        (403, SCOPE, "tiktok", "lacks the permission"),
        (403, {"message": "This endpoint is disabled for your account"}, "tiktok", "lacks the permission"),
        (403, "Forbidden", "tiktok", "lacks the permission"),
        (403, {"message": "Your email is not verified, please verify it first"}, None, "e-mail address"),
        (403, {"message": "Please verify your E-Mail"}, None, "e-mail address"),
        (403, {"message": None, "message_zh": "请先验证您的邮箱"}, None, "e-mail address"),
        (403, {"message": "User account has been disabled"}, None, "has disabled the account"),
        (403, "Account disabled", None, "has disabled the account"),
        (403, {"message": 5, "message_zh": "您的账户已被禁用"}, None, "has disabled the account"),
    ],
)
def test_a_refusal_concerns_one_platform_unless_it_is_of_the_key_or_the_account(
    route: respx.Route, status: int, detail: Json, platform: str | None, told: str
) -> None:
    route.respond(status, json={"detail": detail})
    with pytest.raises(REFUSALS[status]) as caught:
        Desk().ask()
    assert caught.value.platform == platform
    assert told in str(caught.value.tell_human)
    assert told in caught.value.message


@pytest.mark.parametrize("body", [{"detail": {}}, {"detail": []}, {"detail": None}, {}, {"detail": {"message": 5}}])
def test_an_error_without_words_is_still_that_error(route: respx.Route, body: Json) -> None:
    route.respond(401, json=body)
    assert str(KeyInvalid.tell_human) in Desk().fails(KeyInvalid)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_fault_that_passes_costs_one_call(route: respx.Route, status: int) -> None:
    route.side_effect = [httpx.Response(status, json=error_answer(status)), httpx.Response(200, json=GOOD)]
    desk = Desk()
    assert desk.ask() == f"kept {REQUEST_ID}"
    assert (route.call_count, desk.spent, desk.refunded) == (2, 2, 1)


@pytest.mark.parametrize("header", ["1", "20", "21", "999999999999", "soon", "-5", "", None])
def test_a_rate_limit_is_waited_for_unless_it_is_long(route: respx.Route, header: str | None) -> None:
    route.respond(429, headers={} if header is None else {"Retry-After": header})
    desk = Desk()
    with pytest.raises(RateLimited, match=f"{TIKTOK_ID} was not charged") as caught:
        desk.ask()
    asked = float(header) if header and header.isdigit() else None
    assert caught.value.retry_after == asked
    when = f"in {int(asked):,} s at the earliest" if asked else "later"
    assert caught.value.message.endswith(f" Ask again {when}.")
    requests = 1 if asked and asked > 20 else 4
    assert route.call_count == desk.spent == desk.refunded == requests
    assert len(desk.pauses) == requests - 1
    assert not any(desk.waits)  # the pause is everybody's, and is not waited for twice
    if asked:
        assert desk.pauses == [asked] * (requests - 1)
    else:
        assert all(0.25 * 2**number <= pause <= 0.75 * 2**number for number, pause in enumerate(desk.pauses))


def test_who_pays_is_asked_before_every_request(route: respx.Route) -> None:
    route.respond(500)
    with pytest.raises(ApiCallLimit):
        Desk(most=0).ask()
    assert route.call_count == 0
    with pytest.raises(ApiCallLimit):
        Desk(most=2).ask()
    assert route.call_count == 2


UNSENT = {"ConnectError", "ConnectTimeout", "InvalidURL", "LocalProtocolError", "ProxyError", "UnsupportedProtocol"}
TIMED_OUT = {"PoolTimeout", "ReadTimeout", "TimeoutException", "WriteTimeout"}


@pytest.mark.parametrize("kind", every_exception_of_httpx())
def test_no_exception_of_httpx_leaves_and_only_what_was_not_sent_is_free(kind: type[Exception]) -> None:
    def answer() -> httpx.Response:
        raise made(kind)

    network, requests = always(answer)
    desk = Desk()
    said = desk.fails(TikHubUnavailable, network)
    unsent = kind.__name__ in UNSENT
    assert len(requests) == desk.spent == (4 if unsent else 1 if kind.__name__ in TIMED_OUT else 2)
    assert desk.refunded == (4 if unsent else 0)
    assert ("Nothing was charged" if unsent else "may have been charged") in said
    assert "Illegal" not in said


@pytest.mark.parametrize("kind", every_exception_of_httpx())
def test_an_answer_that_breaks_off_is_asked_for_again_only_when_its_status_is_free(kind: type[Exception]) -> None:
    network, requests = raw(b'{"code"', made(kind))
    desk = Desk()
    assert "may have been charged" in desk.fails(TikHubUnavailable, network)
    assert (len(requests), desk.refunded, desk.kept) == (1, 0, [])
    network, requests = raw(b'{"code"', made(kind), status=503)
    desk = Desk()
    assert "Nothing was charged" in desk.fails(TikHubUnavailable, network)
    assert (len(requests), desk.refunded) == (4, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("unable to get local issuer certificate", "unable to get local issuer certificate"),
        ("“secret” certificate is not trusted", "certificate is not trusted"),  # on macOS, with the certificate's name
        ("“secret” and “secret””证书不受信任。", "证书不受信任。"),
        ("", "it does not say why"),
    ],
)
def test_a_certificate_that_does_not_hold_is_not_tried_again_and_its_own_words_are_not_told(
    words: str, said: str
) -> None:
    def answer() -> httpx.Response:
        try:
            error = ssl.SSLCertVerificationError("secret")
            error.verify_message = words
            raise error
        except ssl.SSLError as error:
            raise httpx.ConnectError(f"secret {words}") from error

    network, requests = always(answer)
    desk = Desk()
    told = desk.fails(TikHubUnavailable, network)
    assert f"(the certificate is not trusted: {said}). Nothing was charged." in told
    assert "secret" not in told
    assert (len(requests), desk.refunded) == (1, 1)


def test_an_answer_that_tls_did_not_let_through_may_be_charged_and_is_not_asked_for_again() -> None:
    def answer() -> httpx.Response:
        raise httpx.ReadError("bad record") from ssl.SSLError("bad record mac")

    network, requests = always(answer)
    desk = Desk()
    assert "may have been charged" in desk.fails(TikHubUnavailable, network)
    assert (len(requests), desk.refunded) == (1, 0)


def test_an_answer_lost_twice_is_not_asked_for_again_whatever_came_between() -> None:
    comes = iter([httpx.ReadError("gone"), None, httpx.ReadError("gone again")])

    def answer() -> httpx.Response:
        if error := next(comes):
            raise error
        return httpx.Response(503, stream=Chunks([]))

    desk = Desk()
    assert "may have been charged" in desk.fails(TikHubUnavailable, always(answer)[0])
    assert (desk.spent, desk.refunded) == (3, 1)


# Over sockets

CUT = b'{"code": 200, "data": '


@pytest.mark.parametrize(
    ("act", "requests", "deadline"),
    [
        (Act(body=CUT, cut=10), 1, 10.0),
        (Act(body=CUT, cut=10, end="reset"), 1, 10.0),
        (Act(body=CUT, cut=10, end="stall"), 1, 0.1),
        (Act(body=CUT, drip=1, pause=0.03), 1, 0.1),
        (Act(body=CUT, framing="chunked", terminated=False), 1, 10.0),
        (Act(wait=5.0), 1, 0.1),
        (Act(raw=b"", end="reset"), 2, 10.0),
        (Act(raw=b""), 2, 10.0),
    ],
)
def test_an_answer_lost_on_a_real_line_is_asked_for_at_most_once_more(act: Act, requests: int, deadline: float) -> None:
    desk = Desk()
    with Faulty() as server:
        server.on(ASKED.raw_path.decode(), act)
        with pytest.raises(TikHubUnavailable, match="may have been charged"):
            desk.ask(base=server.base_url, deadline=deadline)
    assert len(server.requests) == desk.spent == requests
    assert (desk.refunded, desk.kept) == (0, [])


def test_a_port_where_nobody_listens_is_tried_four_times_for_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    desk = Desk()
    assert "could not be reached" in desk.fails(TikHubUnavailable, base=base)
    assert (desk.spent, desk.refunded, len(desk.waits)) == (4, 4, 3)


def test_a_redirect_is_not_followed_and_no_other_origin_sees_the_key() -> None:
    with Faulty() as server, Faulty() as other:
        for status in (301, 302, 303, 307, 308):
            for target in (
                other.on("/", Act()),
                server.on("/elsewhere", Act()),
                server.base_url + ASKED.raw_path.decode(),
            ):
                server.on(ASKED.raw_path.decode(), Act(status=status, headers=[("Location", target)]))
                assert f"HTTP {status}" in Desk().fails(UnexpectedAnswer, base=server.base_url)
    assert (len(server.requests), other.requests) == (15, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "requests", "charged"),
    [
        ("bad_key", KeyInvalid, 1, 0),
        ("no_balance", InsufficientBalance, 1, 0),
        ("no_scope", PermissionDenied, 1, 0),
        ("firewall", UnexpectedAnswer, 1, 0),
        ("not_found", UnexpectedAnswer, 1, 0),
        ("rejected", UnexpectedAnswer, 1, 0),
        ("busy", RateLimited, 1, 0),
        ("failed", TikHubUnavailable, 3, 0),
        ("unavailable", TikHubUnavailable, 4, 0),
        ("timed_out", TikHubUnavailable, 4, 0),
        ("web_page", UnexpectedAnswer, 1, 1),
        ("half", UnexpectedAnswer, 1, 1),
    ],
)
def test_the_sandbox_is_answered_as_tikhub_would_be(
    name: str, kind: type[AnswerError], requests: int, charged: int
) -> None:
    desk = Desk()
    with Sandbox() as sandbox:
        desk.fails(kind, link=parse_link(link(name)), base=sandbox.base_url)
        assert len(sandbox.calls) == requests
        assert {call.authorization for call in sandbox.calls} == {f"Bearer {KEY}"}
    assert (desk.spent, desk.refunded, len(desk.kept)) == (requests, requests - charged, charged)


def test_a_short_link_is_asked_for_as_it_is() -> None:
    desk = Desk()
    with Sandbox() as sandbox:
        desk.ask(link=parse_link(short_link("douyin")), base=sandbox.base_url)
        (call,) = sandbox.calls
    assert call.share_url == short_link("douyin")
    assert desk.kept[0].value["params"] == {"share_url": short_link("douyin")}
