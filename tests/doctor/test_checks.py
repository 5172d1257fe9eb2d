"""doctor: what it finds on real sockets and folders, and that what it prints can be pasted anywhere."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from subprocess import run
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from tests.support.certificates import by_openssl, certificate, secured
from tests.support.closed_network import World, enclose
from tests.support.fault_server import Act, Faulty
from tikhub_mcp.cli.main import main
from tikhub_mcp.doctor import checks as doctor_checks
from tikhub_mcp.doctor import connectivity, findings
from tikhub_mcp.doctor.findings import NAMES, Finding
from tikhub_mcp.posts.answer import Json
from tikhub_mcp.sandbox import Sandbox
from tikhub_mcp.settings import api_key
from tikhub_mcp.settings import environment as settings_environment
from tikhub_mcp.summary import extras

CANARY = "canary+4f1d9c2b7a6e/=="
PASSWORD = "s3cr3t/p@ss"
PUBLIC = "93.184.216.34"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
ALWAYS = [*NAMES][:-1]
ALWAYS.remove("certificate")


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A home with the output folder in it, a key, English, no SKILL.md, and no network."""
    for name in [name for name in os.environ if name.startswith("TIKHUB_") or name in LOCALE]:
        monkeypatch.delenv(name)
    for name in ("home", "temp", "package"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIKHUB_OUTPUT_DIR", str(tmp_path / "home" / "out"))
    monkeypatch.setenv("TIKHUB_API_KEY", CANARY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setattr(api_key, "_PACKAGE", tmp_path / "package")
    monkeypatch.setenv("TIKHUB_BASE_URL", "http://127.0.0.1:9")
    return enclose(monkeypatch)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox() as running:
        monkeypatch.setenv("TIKHUB_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of its own for the round trip, which has tests of its own."""

    async def call() -> str:
        return "ok"

    monkeypatch.setattr(doctor_checks, "_one_call", call)


def examined(*, online: bool = False) -> dict[str, Finding]:
    """The last finding of each check; none of them may hold what is nobody's business."""
    found = list(doctor_checks.examine(online=online))
    text = "\n".join(map(str, found)) + findings.as_json(found)
    assert CANARY not in text
    assert os.environ["HOME"] not in text
    return {finding.check: finding for finding in found}


def ways() -> dict[str, Finding]:
    return {
        finding.check: findings.redact_finding(finding)
        for finding in connectivity.check_network(settings_environment.load_settings())
    }


# The whole


def test_a_sound_installation_has_no_problem_and_nothing_is_left_or_sent_with_the_key(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temp"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "tikhub_mcp", "doctor"]
    ran = run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.split()[1] for line in ran.stdout.splitlines() if line.startswith(("ok", "warn"))] == ALWAYS
    assert ran.stdout.endswith("\nProblems: 0. Warnings: 0.\n")
    assert "22 characters (letters, digits, +/=)" in ran.stdout
    assert re.search(r"server, protocol and one post in \d+\.\d s", ran.stdout)
    assert "~/out/videos (will be made when needed)" in ran.stdout
    for secret in (CANARY, str(tmp_path / "home")):
        assert secret not in ran.stdout
    assert [path.name for path in (*(tmp_path / "home").iterdir(), *(tmp_path / "temp").iterdir())] == []
    assert sandbox.calls == []


def test_the_round_trip_is_one_call_of_the_real_server() -> None:
    [found] = doctor_checks._round_trip()
    assert (found.state, found.found[:31]) == ("ok", "server, protocol and one post i")
    assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_round_trip_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call() -> str:
        return "failed"

    monkeypatch.setattr(doctor_checks, "_one_call", call)
    [found] = doctor_checks._round_trip()
    assert (found.state, found.found) == ("problem", "the call came back as failed")
    assert "tikhub-mcp demo" in found.advice


@pytest.mark.usefixtures("quick")
def test_json_holds_the_same_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@h.example:8080")
    monkeypatch.setenv("all_proxy", "me:p@ss@h.example:8080")
    monkeypatch.setenv("NO_PROXY", f"intranet.example, {PASSWORD}")
    assert main(["doctor", "--json", "--online"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert [finding["check"] for finding in found] == [*ALWAYS, "account"]
    assert {tuple(finding) for finding in found} == {("check", "state", "found", "advice")}
    assert "HTTPS_PROXY=<not shown; expected: http://HOST:PORT>" in text
    assert "all_proxy=h.example:8080" in text
    assert "NO_PROXY=<2 hosts>" in text
    for secret in (CANARY, "s3cr3t", "p@ss", "ss@", "intranet", os.environ["HOME"]):
        assert secret not in text
    assert [(call.path, call.authorization) for call in sandbox.calls] == [
        (connectivity.ACCOUNT_PATH, f"Bearer {CANARY}")
    ]


@pytest.mark.usefixtures("quick")
def test_a_problem_ends_with_1_and_a_warning_with_0(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIKHUB_APIKEY", "misplaced-canary")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "warning  settings" in said
    assert "-> Nothing reads TIKHUB_APIKEY: misspelt?" in said
    assert "misplaced-canary" not in said
    monkeypatch.setenv("TIKHUB_API_KEY", "YOUR_API_KEY")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("\nProblems: 1. Warnings: 1.\n")


@pytest.mark.usefixtures("quick")
def test_people_are_spoken_to_in_chinese_where_the_locale_says_so(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main(["doctor", "--online"]) == 0
    said = capsys.readouterr().out
    for line in (
        "正常     密钥         来自 TIKHUB_API_KEY：22 个字符",
        "正常     账户         余额 1.0",
        "问题：0。警告：0。",
    ):
        assert line in said
    monkeypatch.setenv("TIKHUB_API_KEY", "YOUR_API_KEY")
    monkeypatch.setenv("TIKHUB_BASE_URL", "http://127.0.0.1:9")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    for part in ("问题     密钥         没有可用的密钥", "只是占位符", "请在 https://tikhub.io/ 申请", "直连不可达"):
        assert part in said
    assert main(["doctor", "--json"]) == 1
    [key] = [each for each in json.loads(capsys.readouterr().out) if each["check"] == "key"]
    assert (key["state"], key["found"][:8]) == ("problem", "没有可用的密钥；")


@pytest.mark.usefixtures("quick")
def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    def broken() -> Iterator[Finding]:
        raise ValueError(f"{CANARY} and a password")

    def many() -> Iterator[Finding]:
        raise ExceptionGroup("a password", [FileNotFoundError(2, f"{CANARY}", "a password")])

    monkeypatch.setattr(doctor_checks, "_versions", broken)
    monkeypatch.setattr(doctor_checks, "_extras", many)
    found = examined()
    assert [found[name].state for name in ("versions", "extras", "sandbox")] == ["problem", "problem", "ok"]
    assert re.fullmatch(r"this check broke off: ValueError \(test_checks\.py:\d+\)", found["versions"].found)
    assert found["extras"].found == "this check broke off: FileNotFoundError: No such file or directory"


@pytest.mark.usefixtures("quick")
def test_without_a_home_nothing_breaks(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    def home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", home)
    assert {found.state for found in doctor_checks.examine(online=False)} == {"ok"}


# This machine


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "msgspec":
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(doctor_checks, "version", version)
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)
    [versions], [optional] = doctor_checks._versions(), doctor_checks._extras()
    assert versions.found.endswith("mcp 1.0, httpx 1.0, pydantic 1.0, msgspec is missing")
    assert (optional.state, optional.found) == ("ok", "xlsx: not installed, report: not installed")
    assert optional.advice.endswith("pip install -e '.[xlsx,report]'")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "nothing there"),
        ("YOUR_API_KEY", "holds a placeholder"),
        (f"{CANARY} {CANARY}", "contains white space, control or non-ASCII characters"),
        (CANARY * 100, "is far too long for a key"),
        (CANARY[:11], "is too short for a key"),
    ],
)
def test_a_key_that_is_none_is_a_problem_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, reason: str
) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", key)
    [found] = doctor_checks._key()
    assert found.state == "problem"
    package = tmp_path / "package" / "SKILL.md"
    assert found.found == f"no usable key; looked at: TIKHUB_API_KEY ({reason}), {package} (nothing there)"
    assert CANARY not in str(found)
    assert str(package) in found.advice


def test_where_the_key_comes_from_is_said_and_where_another_one_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    skill = tmp_path / "home" / "SKILL.md"
    monkeypatch.setenv("TIKHUB_SKILL_FILE", "~/SKILL.md")
    monkeypatch.setenv("TIKHUB_API_KEY", "<your-key>")
    for path in (skill, tmp_path / "package" / "SKILL.md"):
        path.write_text(f"## API_KEY\n{CANARY}\n")
    [found] = map(findings.redact_finding, doctor_checks._key())
    assert found.state == "ok"
    assert found.found.startswith(
        "from ~/SKILL.md: 22 characters (letters, digits, +/=); looked at: TIKHUB_API_KEY (ho"
    )
    assert "~/SKILL.md (used)" in found.found
    assert "package/SKILL.md (a key too, not used)" in found.found


@pytest.mark.parametrize(
    ("name", "value", "says", "shown"),
    [
        ("BASE_URL", f"https://me:{PASSWORD}@api.example", "must look like", "<not shown; expected: https://HOST>"),
        ("OUTPUT_DIR", "/s3cr3t/${workspaceFolder}", "holds a placeholder", "<not expanded>"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_settings_that_cannot_be_used_are_a_problem_and_what_needs_them_is_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str, shown: str
) -> None:
    monkeypatch.setenv(f"TIKHUB_{name}", value)
    found = list(doctor_checks.examine(online=True))
    checks = ["versions", "extras", "key", "clients", "settings", "videos", "connection", "sandbox"]
    assert [each.check for each in found] == checks
    assert [each.state for each in found[4:7]] == ["problem", "warning", "warning"]
    assert f"TIKHUB_{name} {says}" in found[4].found
    assert f"TIKHUB_{name}={shown}" in found[4].found
    assert "s3cr3t" not in findings.as_json(found)


def test_only_values_that_are_no_secrets_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_LOG_LEVEL", "debug")
    [found] = doctor_checks._settings("")
    assert "TIKHUB_LOG_LEVEL=debug" in found.found
    assert re.search(r"TIKHUB_API_KEY(,|$)", found.found)
    for name in [name for name in os.environ if name.startswith("TIKHUB_")]:
        monkeypatch.delenv(name)
    assert [each.found for each in doctor_checks._settings("")] == ["no TIKHUB_ variable is set"]


def test_folders_are_tried_without_being_made(tmp_path: Path) -> None:
    (tmp_path / "home" / "out" / "raw").mkdir(parents=True)
    (tmp_path / "home" / "out" / "reports").write_text("a file in the way")
    found = {each.check: each for each in doctor_checks._folders(settings_environment.load_settings())}
    assert [found[name].state for name in ("videos", "raw", "reports", "disk")] == ["ok", "ok", "problem", "ok"]
    assert found["reports"].found.endswith("reports cannot be written: Not a directory")
    assert found["raw"].found == str(tmp_path / "home" / "out" / "raw")
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == ["out", "raw", "reports"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is writable to root")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_is_not_ones_own_is_a_problem(tmp_path: Path, mode: int) -> None:
    (tmp_path / "home").chmod(mode)
    try:
        found = next(doctor_checks._folders(settings_environment.load_settings()))
    finally:
        (tmp_path / "home").chmod(0o755)
    assert found.state == "problem"
    assert "Permission denied" in found.found


def test_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**29))
    *_, disk = doctor_checks._folders(settings_environment.load_settings())
    assert (disk.check, disk.state, disk.found[:12]) == ("disk", "warning", "0.5 GiB free")


# The way to TikHub


def test_a_closed_port_is_a_problem_that_names_what_to_check() -> None:
    found = ways()
    assert list(found) == ["proxy", "name", "connection"]
    assert (found["proxy"].state, found["name"].state, found["connection"].state) == ("ok", "ok", "problem")
    assert found["connection"].found.startswith("not reached directly: ConnectError")
    assert "TIKHUB_BASE_URL" in found["connection"].advice


def test_silence_ends_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TIKHUB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = ways()["connection"]
    assert (found.state, "Timeout" in found.found) == ("problem", True)


def test_a_name_look_up_that_hangs_is_given_up_and_does_not_hold_the_process_up(tmp_path: Path) -> None:
    program = """
import socket, time
from tikhub_mcp.doctor import connectivity
from tikhub_mcp.settings.environment import load_settings
def hang(*_, **__):
    time.sleep(1.5)
    raise socket.gaierror("late")
socket.getaddrinfo = hang
connectivity.PROBE_SECONDS = 0.2
for found in connectivity.check_network(load_settings()):
    print(found.check, found.state, found.found, flush=True)
time.sleep(LATE)
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
print([found.check for found in connectivity.check_network(load_settings())][-1])
"""
    environment = os.environ | {"TIKHUB_BASE_URL": "https://api.example"}
    for late in ("0", "2"):  # the program's end comes before the look-up's, and after it
        command = [sys.executable, "-c", program.replace("LATE", late)]
        ran = run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True)
        assert ran.stderr == ""
        told = [line.split()[:2] for line in ran.stdout.splitlines()]
        assert told == [["proxy", "ok"], ["name", "problem"], ["connection", "problem"], ["connection"]]
        assert ran.stdout.count("Timeout") == 2


def test_what_is_no_name_is_said_not_to_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", f"https://{'a' * 64}.example")
    found = ways()["name"].found
    assert "does not resolve here (" in found
    assert "label" in found  # the reason itself, and not that it took too long


@pytest.mark.parametrize("error", [socket.gaierror("no such name"), UnicodeError("none that can be")])
def test_what_a_name_look_up_raises_comes_out_of_its_thread(error: Exception) -> None:
    def refuse() -> None:
        raise error

    async def look_up() -> None:
        async with asyncio.timeout(2):
            await asyncio.get_running_loop().run_in_executor(None, refuse)

    with pytest.raises(type(error), match=str(error)):
        connectivity._run(look_up())


@pytest.mark.parametrize(
    ("names", "state", "says"),
    [
        ([], "problem", "api.example does not resolve here ("),
        ([PUBLIC], "ok", f"api.example: {PUBLIC}"),
        (["198.18.0.7"], "ok", "api.example: 198.18.0.7 (a proxy's stand-in for the real one)"),
    ],
)
def test_where_the_name_leads_is_told(
    monkeypatch: pytest.MonkeyPatch, world: World, names: list[str], state: str, says: str
) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
    world.names |= {"api.example": names} if names else {}
    found = ways()
    assert (found["name"].state, found["name"].found[: len(says)]) == (state, says)
    assert found["connection"].state == "problem"


@by_openssl
def test_a_certificate_that_holds_is_shown_with_issuer_and_days(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = certificate(tmp_path, days=40)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base:
        monkeypatch.setenv("TIKHUB_BASE_URL", base)
        found = ways()
    assert found["connection"].found.endswith("HTTP 200")
    assert (found["certificate"].state, found["certificate"].found) == ("ok", "holds; issued by made up; 39 days left")
    assert "SSL_CERT_FILE=" in found["proxy"].found


def test_where_the_system_keeps_certificates_to_itself_that_is_said() -> None:
    assert connectivity._certificate({}).found == "holds; this system keeps its issuer to itself"


@by_openssl
@pytest.mark.parametrize(
    ("trusted", "host", "days", "advice"),
    [
        (False, "127.0.0.1", 1, "Does a proxy, a virus scanner or a company network open TLS?"),
        (True, "127.0.0.2", 1, "It is another host's"),
        (True, "127.0.0.1", -1, "date and time"),
    ],
)
def test_a_certificate_that_does_not_hold_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trusted: bool, host: str, days: int, advice: str
) -> None:
    path = certificate(tmp_path, host, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with secured(path) as base:
        monkeypatch.setenv("TIKHUB_BASE_URL", base)
        found = ways()
    assert (found["connection"].state, found["certificate"].state) == ("ok", "problem")
    assert found["certificate"].found.endswith("; issued by made up") == (days > 0)
    assert advice in found["certificate"].advice


def test_what_does_not_speak_tls_is_explained(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("TIKHUB_BASE_URL", sandbox.base_url.replace("http://", "https://"))
    found = ways()["certificate"]
    assert (found.state, found.found[:8]) == ("problem", "refused:")
    assert "does not speak TLS as it should" in found.advice


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
        found = ways()
    assert found["proxy"].found.startswith(f"{PUBLIC} is asked through http://127.0.0.1:{port}; set: HTTPS_PROXY=http:")
    assert found["connection"].found.startswith("reached through the proxy in ")
    assert found["certificate"].state == "ok"
    assert heard[0].startswith(f"CONNECT {PUBLIC}:443 ".encode())
    assert {address for address, _ in world.connected} == {"127.0.0.1"}
    assert CANARY.encode() not in heard[0]


def test_a_proxy_that_refuses_is_a_problem_and_its_password_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with Faulty() as proxy:
        port = proxy.base_url.rpartition(":")[2]
        raw = f"HTTP/1.1 407 No {PASSWORD} for me:{PASSWORD}\r\nContent-Length: 0\r\n\r\n".encode()
        proxy.on("api.example:443", Act(raw=raw))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{port}")
        monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
        found = ways()
        assert proxy.asked() == ["api.example:443"]
    assert found["name"].state == "ok"
    assert found["name"].found.endswith("; the proxy resolves it")
    assert (found["connection"].state, found["connection"].found) == (
        "problem",
        "not reached through the proxy: ProxyError: the proxy refused the connection (HTTP 407)",
    )
    assert "Is the proxy running" in found["connection"].advice
    assert PASSWORD not in findings.as_json(list(found.values()))


def test_a_proxy_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
    assert ways()["connection"].found.startswith("not reached through the proxy: ConnectError")


@pytest.mark.parametrize("address", [f"ftp://me:{PASSWORD}@h.example", f"http://me:{PASSWORD}@h.example:x"])
def test_a_proxy_that_cannot_be_used_is_a_problem(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
    found = ways()
    assert "cannot be used" in found["connection"].found
    assert found["proxy"].found.startswith(
        "api.example is asked through an address that cannot be read; set: ALL_PROXY=<"
    )
    assert "s3cr3t" not in findings.as_json(list(found.values()))


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
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
@pytest.mark.usefixtures("quick")
def test_however_odd_the_address_of_a_proxy_is_its_password_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, address: str
) -> None:
    monkeypatch.setenv(name, address.replace("SECRET", "s3cr3t"))
    monkeypatch.setenv("TIKHUB_BASE_URL", "https://api.example")
    for options in ([], ["--json"]):
        main(["doctor", *options])
        told = capsys.readouterr()
        assert f"{name}=" in told.out
        assert "s3cr3t" not in told.out + told.err


# The account


def account(monkeypatch: pytest.MonkeyPatch, act: Act) -> Finding:
    with Faulty() as server:
        server.on(connectivity.ACCOUNT_PATH, act)
        monkeypatch.setenv("TIKHUB_BASE_URL", server.base_url)
        [found] = connectivity.check_account(settings_environment.load_settings(), SecretStr(CANARY))
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {CANARY}"]
    return findings.redact_finding(found)


def answer(key: object, user: object) -> Act:
    return Act(body=json.dumps({"code": 200, "api_key_data": key, "user_data": user}).encode())


def ahead(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days)).strftime("%Y-%m-%d %H:%M:%S")


SOUND = {"api_key_scopes": ["/api/v1/tiktok/*", "/api/v1/douyin/"], "expires_at": ahead(90), "api_key_status": 1}
RICH = {"balance": 2.5, "free_credit": 0.0, "email_verified": True, "account_disabled": False}


@pytest.mark.parametrize(
    ("key", "user", "state", "says"),
    [
        (SOUND, RICH, "ok", ""),
        ({**SOUND, "expires_at": ahead(13.5)}, RICH, "warning", "The key expires in 13 days."),
        ({**SOUND, "expires_at": ahead(-1)}, RICH, "warning", "The key has expired"),
        ({**SOUND, "expires_at": "2020-01-01T00:00:00+08:00"}, RICH, "warning", "The key has expired"),
        ({**SOUND, "expires_at": "one day"}, RICH, "ok", ""),
        ({**SOUND, "api_key_status": 0}, RICH, "warning", "switched off"),
        ({**SOUND, "api_key_scopes": ["/api/v1/douyin/"]}, RICH, "warning", "No scope seems to cover tiktok."),
        (SOUND, {**RICH, "balance": 0}, "warning", "no money left"),
        (SOUND, {**RICH, "account_disabled": True}, "problem", "disabled the account"),
        (None, "else", "ok", ""),
    ],
)
def test_what_the_account_says_is_shown_and_judged(
    monkeypatch: pytest.MonkeyPatch, key: object, user: object, state: str, says: str
) -> None:
    found = account(monkeypatch, answer(key, user))
    assert found.state == state
    assert says in found.advice if says else not found.advice
    assert found.found.startswith("balance unknown, free credit unknown" if key is None else "balance ")


@pytest.mark.parametrize(
    ("act", "state", "says"),
    [
        (Act(status=401, body=b"{}"), "problem", "TikHub refuses the key (HTTP 401)"),
        (Act(status=403, body=b'{"detail": {}}'), "warning", "That proves nothing about the key"),
        (Act(status=403, body=b"error code: 1010"), "warning", "TikHub answered HTTP 403, without an account"),
        (Act(status=500, body=b"{}"), "warning", "HTTP 500"),
        (Act(body=b"<html>"), "warning", "HTTP 200, without an account"),
        (Act(body=b"{}" * 999, cut=3, end="reset"), "warning", "HTTP 200, without an account"),
        (Act(body=b"[" * 2 * connectivity.MAX_PROBE_BYTES), "warning", "HTTP 200, without an account"),
        (Act(raw=b"\r\n" * 9), "problem", "not reached: UnreadableResponse"),
        (Act(status=401, body=json.dumps({"detail": {"headers": CANARY}}).encode()), "problem", "refuses"),
    ],
)
def test_no_account_is_explained(monkeypatch: pytest.MonkeyPatch, act: Act, state: str, says: str) -> None:
    found = account(monkeypatch, act)
    assert found.state == state
    assert says in found.found


def test_an_answer_that_echoes_the_key_does_not_bring_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = account(
        monkeypatch, answer({**SOUND, "expires_at": f"x\n{CANARY}"}, {"balance": {"headers": {"a": CANARY}}})
    )
    assert CANARY not in str(found)


@pytest.mark.usefixtures("quick")
def test_without_a_usable_key_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", "")
    found = examined(online=True)["account"]
    assert (found.state, found.found) == ("warning", "not asked: there is no usable key")
    assert sandbox.calls == []


def test_of_a_body_without_an_end_only_so_much_is_read() -> None:
    async def within_seconds(url: str) -> connectivity.ProbeResult:
        async with asyncio.timeout(10):
            return await connectivity.probe(url, {}, seconds=60)

    with Faulty() as server:
        url = server.on("/", Act(framing="none", body=b"x" * (connectivity.MAX_PROBE_BYTES + 1), end="stall"))
        seen = asyncio.run(within_seconds(url))
    assert (seen.status, len(seen.body)) == (200, connectivity.MAX_PROBE_BYTES)


def entry(home: Path, **entry: Json) -> None:
    """Give Cursor an entry."""
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mcpServers": {"tikhub": entry}}), encoding="utf-8")


def test_what_a_client_starts_and_with_which_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TIKHUB_API_KEY", raising=False)
    monkeypatch.setattr("tikhub_mcp.settings.api_key.skill_files", lambda environ=None: [tmp_path / "SKILL.md"])
    [none] = doctor_checks._clients()
    assert (none.state, none.found) == ("ok", "no client has an entry where it is looked for")
    entry(tmp_path, command=sys.executable, env={"TIKHUB_API_KEY": "made-up-key-of-a-client"})
    [found] = doctor_checks._clients()
    assert (found.state, found.found) == ("ok", f"Cursor: {sys.executable}, with a key")
    [key] = doctor_checks._key()
    assert (key.state, key.found.partition(";")[0]) == ("ok", "in a client's entry, not in this shell")


@pytest.mark.parametrize(
    ("command", "key", "state", "says"),
    [
        ("/nowhere/tikhub-mcp", "made-up-key-0", "problem", "/nowhere/tikhub-mcp is not there"),
        (sys.executable, "", "warning", "no key in it"),
        (sys.executable, "YOUR_API_KEY", "warning", "its key holds a placeholder"),
        (sys.executable, "${input:tikhub-key}", "ok", "with a key"),
    ],
)
def test_an_entry_that_cannot_work_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, key: str, state: str, says: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tikhub_mcp.settings.api_key.skill_files", lambda environ=None: [tmp_path / "SKILL.md"])
    entry(tmp_path, command=command, env={"TIKHUB_API_KEY": key})
    [found] = doctor_checks._clients()
    assert found.state == state
    assert says in found.found


@pytest.mark.parametrize("name", sorted({*settings_environment.NON_SECRET_VARIABLES, "HTTPS_PROXY", "SSL_CERT_FILE"}))
@pytest.mark.parametrize("key", ["made-up-key", "made+up/key==", "1madeup", "https://made:up-key@api.example/made-up"])
@pytest.mark.usefixtures("quick")
def test_a_key_in_the_wrong_variable_is_not_shown_and_what_is_expected_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, key: str
) -> None:
    monkeypatch.setenv("TIKHUB_API_KEY", "")
    monkeypatch.setenv(name, key)
    main(["doctor", "--json"])
    told = capsys.readouterr()
    assert not re.search("made.?up", told.out + told.err)
    assert f"{name}=<not shown; expected: " in told.out or f"{name}=https://api.example" in told.out


BROKEN = '{\n  "mcpServers": {\n    "a" {}\n  }\n}'


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (".cursor/mcp.json", BROKEN, "Cursor: FILE: it is not plain JSON (line 3, column 9: "),
        (".claude.json", BROKEN, "Claude Code: FILE: it is not plain JSON (line 3, column 9: "),
        (
            ".claude.json",
            '{\n// mine\n"mcpServers": {}}',
            "Claude Code: FILE: it is not plain JSON (line 2, column 1: ",
        ),
        (
            ".config/Code/User/mcp.json",
            '{"servers": [/* , */\n}',
            "VS Code: FILE: it is not plain JSON (line 2, column 1: ",
        ),
        (".cursor/mcp.json", '{"mcpServers": []}', 'Cursor: FILE: "mcpServers" in it is not an object in braces'),
        (".cursor/mcp.json", '{"é": "x"}'.encode("latin-1"), "Cursor: FILE: it is not in UTF-8"),
    ],
)
def test_a_clients_settings_that_do_not_parse_are_a_problem_with_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str | bytes, says: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    [found] = doctor_checks._clients()
    assert found.state == "problem"
    assert found.found.startswith(says.replace("FILE", str(path)))


def test_settings_with_comments_are_read_where_the_client_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    entry(tmp_path, command=sys.executable, env={"TIKHUB_API_KEY": "made-up-key-0", "X": "http://a, //]"})
    path = tmp_path / ".cursor" / "mcp.json"
    text = path.read_text(encoding="utf-8").replace("{", "{ // one\n/* two, */ ").replace("}", ", /* three */ }")
    path.write_text(text, encoding="utf-8")
    [found] = doctor_checks._clients()
    assert (found.state, found.found) == ("ok", f"Cursor: {sys.executable}, with a key")


def test_a_command_with_a_key_in_it_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    entry(tmp_path, command="TIKHUB_API_KEY=made-up uvx tikhub-mcp")
    [found] = doctor_checks._clients()
    assert found.found.startswith("Cursor: its command is not there (")
