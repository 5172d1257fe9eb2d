"""The network checks: proxy, name resolution, connection and certificate, and TikHub's free account request."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from tikhub_mcp.api.client import PATH
from tikhub_mcp.doctor.findings import Finding, State
from tikhub_mcp.messages import said
from tikhub_mcp.net.reasons import failure_reason, tls_failure, tls_reason
from tikhub_mcp.net.transport import Network, proxy_to
from tikhub_mcp.posts.answer import Json, parse_json, redact
from tikhub_mcp.settings.environment import Settings, variables
from tikhub_mcp.settings.shown import proxy as proxy_address
from tikhub_mcp.settings.shown import setting

T = TypeVar("T")


PROBE_SECONDS = 5.0  # for each of: resolving a name, one request, fetching a certificate
ACCOUNT_SECONDS = 15.0  # longer, since TikHub itself may be slow
EXPIRY_WARNING_DAYS = 14
ACCOUNT_PATH = "/api/v1/tikhub/user/get_user_info"
MAX_PROBE_BYTES = 64 * 1024  # an account answer has less than 1 KiB


def check_network(settings: Settings) -> Iterator[Finding]:
    """Check the proxy, the name resolution, the connection and the certificate, without sending the API key."""
    parts = urlsplit(settings.base_url)
    host, secure, proxy = parts.hostname or "", parts.scheme == "https", proxy_to(settings.base_url)
    port = parts.port or (443 if secure else 80)
    yield _proxy(host, proxy)
    yield _run(_name(host, port, proxied=bool(proxy)))
    began = time.monotonic()
    result = _run(probe(f"{settings.base_url}/", {}, seconds=PROBE_SECONDS))
    yield _connection(result, time.monotonic() - began, proxied=bool(proxy))
    if result.tls:
        yield _refused(result.tls, "" if proxy else _untrusted_issuer(host, port))
    elif result.status and secure:
        yield _certificate(result.certificate)


def check_account(settings: Settings, key: SecretStr | None) -> Iterator[Finding]:
    """Ask TikHub about the API key and its account; the request is free.

    As of TikHub's API V5.3.2 it needs a scope of its own, which a key for downloads may lack.

    Args:
        settings: Where TikHub is.
        key: The API key; without one, the finding is a warning and nothing is sent.
    """
    if key is None:
        yield Finding("account", "warning", said("not asked: there is no usable key", "未查询：没有可用的密钥"))
        return
    headers = {"Authorization": f"Bearer {key.get_secret_value()}", "Accept": "application/json"}
    result = _run(probe(settings.base_url + ACCOUNT_PATH, headers, seconds=ACCOUNT_SECONDS))
    answer = _read(result.body, key)
    if result.status == 200 and isinstance(answer, dict):
        yield _account(answer)
    else:
        yield _no_account(result, is_json=isinstance(answer, dict))


class _DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads block neither the event loop's shutdown nor the exit: getaddrinfo may hang."""

    def submit(self, work: Callable[..., T], /, *given: object, **named: object) -> Future[T]:
        """Run the call in a new daemon thread."""
        future = Future[T]()
        future.set_running_or_notify_cancel()  # so that it cannot be cancelled: a late set_result would raise

        def run() -> None:
            try:
                future.set_result(work(*given, **named))
            except (OSError, ValueError) as error:  # the name is unknown or malformed
                future.set_exception(error)

        Thread(target=run, name="doctor", daemon=True).start()
        return future


def _run(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to completion. Unlike asyncio.run, do not wait for a resolver that hangs."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_DaemonThreads())
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _read(body: bytes, key: SecretStr) -> Json:
    try:
        return redact(parse_json(body, errors="replace"), key.get_secret_value())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one request.

    Attributes:
        status: The HTTP status; 0 if there was no response.
        body: The response body, cut after MAX_PROBE_BYTES bytes.
        certificate: As `ssl.SSLSocket.getpeercert` returns it; empty without TLS, and on systems that verify
            certificates themselves.
        failure: Why there was no response: the name of the exception, then its reason.
        tls: The TLS error, if that is the reason.
    """

    status: int = 0
    body: bytes = b""
    certificate: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    tls: ssl.SSLError | None = None


def _connection(result: ProbeResult, seconds: float, *, proxied: bool) -> Finding:
    route = said("through the proxy", "经代理") if proxied else said("directly", "直连")
    if result.status:
        took = f"{seconds * 1000:.0f} ms, HTTP {result.status}"
        return Finding("connection", "ok", said(f"reached {route} in {took}", f"{route}可达，{took}"))
    if result.tls:
        found = said(f"something answers {route}, but see the certificate", f"{route}有应答，但请看证书一项")
        return Finding("connection", "ok", found)
    advice = said(
        "Check the network, the firewall and TIKHUB_BASE_URL (https://api.tikhub.dev from mainland China).",
        "请检查网络、防火墙和 TIKHUB_BASE_URL（中国大陆请用 https://api.tikhub.dev）。",
    )
    if proxied:
        advice = said(
            "Is the proxy running, does it take this user name and password, and does it let this host through?",
            "代理是否在运行，用户名和密码是否正确，是否放行该主机？",
        )
    found = said(f"not reached {route}: {result.failure}", f"{route}不可达：{result.failure}")
    return Finding("connection", "problem", found, advice)


def _proxy(host: str, proxy: str | None) -> Finding:
    values = [setting(name, value) for name, value in variables().items() if not name.startswith("TIKHUB_")]
    variables_set = said(f"; set: {', '.join(values)}", f"；已设置：{'、'.join(values)}") if values else ""
    found = said(f"none for {host}", f"访问 {host} 不用代理")
    if proxy:
        address = proxy_address(proxy)
        found = said(f"{host} is asked through {address}", f"访问 {host} 经由 {address}")
    return Finding("proxy", "ok", found + variables_set)


async def _name(host: str, port: int, *, proxied: bool) -> Finding:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
        reason = str(error) or type(error).__name__
        words = said(f"{host} does not resolve here ({reason})", f"本机无法解析 {host}（{reason}）")
        if proxied:
            return Finding("name", "ok", words + said("; the proxy resolves it", "；由代理解析"))
        return Finding("name", "problem", words, said("Check the network and its DNS.", "请检查网络和 DNS。"))
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    is_fake = any(address.startswith(("198.18.", "198.19.")) for address in addresses)
    note = said(" (a proxy's stand-in for the real one)", "（代理的 fake-ip）") if is_fake else ""
    return Finding("name", "ok", f"{host}: {', '.join(addresses)}{note}")


def _certificate(certificate: Mapping[str, Json]) -> Finding:
    if not certificate:
        found = said("holds; this system keeps its issuer to itself", "有效；此系统不提供颁发者信息")
        return Finding("certificate", "ok", found)
    by = _issuer(certificate)
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86400)
    found = said(f"holds; issued by {by}; {days} days left", f"有效；颁发者：{by}；还剩 {days} 天")
    return Finding("certificate", "ok", found)


def _issuer(certificate: Mapping[str, Json]) -> str:
    names = {name: value for part in certificate["issuer"] for name, value in part}
    return ", ".join(filter(None, (names.get("organizationName"), names.get("commonName"))))


def _untrusted_issuer(host: str, port: int) -> str:
    """The issuer of a certificate that this system does not trust; empty if it cannot be determined.

    A proxy that intercepts TLS signs with its own name, so the issuer identifies it. Python parses a certificate only
    after verification. So the certificate is fetched first, then trusted for one handshake that sends no data.
    """
    try:
        fetched = ssl.get_server_certificate((host, port), timeout=PROBE_SECONDS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= (
            ssl.VERIFY_X509_PARTIAL_CHAIN
        )  # accept a certificate that is not a CA as the trust anchor
        context.load_verify_locations(cadata=fetched)
        with (
            socket.create_connection((host, port), PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return _issuer(secured.getpeercert() or {})
    except (OSError, ValueError, LookupError):  # such as an expired certificate; ssl.SSLError is an OSError
        return ""


def _refused(error: ssl.SSLError, issuer: str) -> Finding:
    words = tls_reason(error)
    code = getattr(error, "verify_code", 0)  # OpenSSL's X509_V_ERR_…
    if code in (9, 10):  # not yet valid, or expired
        advice = said("Check this machine's date and time.", "请检查本机的日期和时间。")
    elif code in (62, 64):  # host name or IP address mismatch
        advice = said(
            "It is another host's: a login page of the network, a misled DNS, or a wrong TIKHUB_BASE_URL?",
            "这是另一台主机的证书：是上网登录页、DNS 被劫持，还是 TIKHUB_BASE_URL 填错？",
        )
    elif isinstance(error, ssl.SSLCertVerificationError):
        advice = said(
            "Its issuer is not trusted by this system. Does a proxy, a virus scanner or a company network open "
            "TLS? Then add its CA certificate to the system's store (on Linux SSL_CERT_FILE may name its file).",
            "签发者不受本系统信任。是否有代理、杀毒软件或公司网络在解密 TLS？若是，请把它的 CA 证书加入系统证书库"
            "（Linux 上也可用 SSL_CERT_FILE 指定文件）。",
        )
    else:
        advice = said(
            "What answers there does not speak TLS as it should: check TIKHUB_BASE_URL and the proxy.",
            "对方没有正确使用 TLS：请检查 TIKHUB_BASE_URL 和代理。",
        )
    by = said(f"; issued by {issuer}", f"；颁发者：{issuer}") if issuer else ""
    return Finding("certificate", "problem", said(f"refused: {words}", f"被拒绝：{words}") + by, advice)


def _account(answer: Mapping[str, Json]) -> Finding:
    key, user = ((part if isinstance(part := answer.get(name), dict) else {}) for name in ("api_key_data", "user_data"))
    scopes = key.get("api_key_scopes")
    scopes = [str(scope) for scope in scopes] if isinstance(scopes, list) else []
    values = {
        said("balance", "余额"): user.get("balance"),
        said("free credit", "赠送额度"): user.get("free_credit"),
        said("scopes", "权限"): " ".join(scopes) or None,
        said("expires", "到期"): key.get("expires_at"),
        said("status of the key", "密钥状态"): key.get("api_key_status"),
    }
    found = ", ".join(f"{name} {said('unknown', '未知') if value is None else value}" for name, value in values.items())
    state: State = "ok"
    advice = [each for each in (_expiry(key.get("expires_at")), _money(user), _scope(scopes)) if each]
    if key.get("api_key_status") in (0, False):
        advice.append(
            said("The key is switched off at https://user.tikhub.io/.", "密钥已在 https://user.tikhub.io/ 停用。")
        )
    if advice:
        state = "warning"
    if user.get("account_disabled") is True:
        state = "problem"
        advice.append(said("TikHub has disabled the account: ask its support.", "账户已被 TikHub 停用：请联系其客服。"))
    return Finding("account", state, found, " ".join(advice))


def _expiry(given: Json) -> str:
    try:
        until = datetime.fromisoformat(str(given))
    except ValueError:
        return ""
    days = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).days
    if days < 0:
        return said("The key has expired: make a new one.", "密钥已过期：请新建一个。")
    return said(f"The key expires in {days} days.", f"密钥将在 {days} 天后过期。") if days < EXPIRY_WARNING_DAYS else ""


def _money(user: Mapping[str, Json]) -> str:
    sums = [user.get("balance"), user.get("free_credit")]
    if not all(isinstance(each, int | float) and each <= 0 for each in sums):
        return ""
    return said("There is no money left: https://user.tikhub.io/.", "余额不足：请到 https://user.tikhub.io/ 充值。")


def _scope(scopes: list[str]) -> str:
    paths = {platform: PATH.format(platform=platform) for platform in ("tiktok", "douyin")}
    missing = [name for name, path in paths.items() if not any(path.startswith(scope.rstrip("*")) for scope in scopes)]
    if not scopes or not missing:
        return ""
    return said(f"No scope seems to cover {' and '.join(missing)}.", f"似乎没有包含 {'、'.join(missing)} 的权限。")


def _no_account(result: ProbeResult, *, is_json: bool) -> Finding:
    if result.status == 401 and is_json:
        found = said("TikHub refuses the key (HTTP 401)", "TikHub 拒绝了密钥（HTTP 401）")
        advice = said(
            "It is wrong, expired or inactive: check it at https://user.tikhub.io/.",
            "密钥有误、已过期或未启用：请到 https://user.tikhub.io/ 检查。",
        )
        return Finding("account", "problem", found, advice)
    if result.status == 403 and is_json:
        found = said(
            "not shown (HTTP 403): this look-up needs a scope of its own. That proves nothing about the key: it may "
            "well be good for downloads",
            "无法查看（HTTP 403）：此查询需要单独的权限。这不说明密钥有问题，下载可能完全正常",
        )
        return Finding("account", "warning", found)
    if result.status:
        found = said(
            f"TikHub answered HTTP {result.status}, without an account",
            f"TikHub 返回 HTTP {result.status}，没有账户信息",
        )
        return Finding("account", "warning", found, said("Ask again later.", "请稍后再试。"))
    found = said(f"not reached: {result.failure}", f"不可达：{result.failure}")
    return Finding("account", "problem", found, said("See the connection above.", "见上面的连接一项。"))


async def probe(url: str, headers: Mapping[str, str], *, seconds: float) -> ProbeResult:
    """Send one GET request to a host that the user has configured; failures are part of the result.

    Args:
        url: The address; private hosts are allowed.
        headers: The request headers.
        seconds: The limit for the whole request, and for each read.
    """
    result, body = ProbeResult(), bytearray()
    try:
        async with (
            asyncio.timeout(seconds),
            Network().get(url, headers, public_only=False, read_timeout=seconds) as response,
        ):
            tls = response.extensions["network_stream"].get_extra_info("ssl_object")
            result = ProbeResult(response.status_code, certificate=(tls.getpeercert() if tls else None) or {})
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= MAX_PROBE_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        if not result.status:  # with a status, the host was reached
            return ProbeResult(failure=f"{type(error).__name__}: {failure_reason(error)}", tls=tls_failure(error))
    return replace(result, body=bytes(body[:MAX_PROBE_BYTES]))
