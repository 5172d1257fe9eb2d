"""shown.py: of every setting what may be pasted anywhere, and never the key in the wrong variable."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.settings import shown
from tikhub_mcp.settings.environment import NON_SECRET_VARIABLES

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def _in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("http://h:1", "http://h:1"),
        ("h:1", "h:1"),
        ("h.example", "h.example"),
        ("localhost", "localhost"),
        ("HTTP://H.Example:80/", "http://H.Example:80"),
        ("http://u:p@h:1", "http://h:1"),
        ("http://u:p@h.example./x?y#z", "http://h.example."),
        ("socks5h://u:p@//x@h:1", None),
        ("socks5h://u:p@x@h:1", "socks5h://h:1"),
        ("u:p\n@h:1", "h:1"),
        (" http://u@h.example", "http://h.example"),
        ("http:u:p@h.example", "h.example"),
        ("http://u:p@[::1]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://代理.example:1", "http://代理.example:1"),
        # Which half is the host?
        ("http://h.example:8080@me:1234", None),
        ("http://h:8080@me:1234", None),
        ("http://me:1234@h.example:8080", "http://h.example:8080"),
        ("http://me.x:1234@h.example:8080", None),
        # No host, or none that can be told from a password
        ("http://me:p/x@h:1", None),
        ("http://h.example/@x", None),
        ("http://h.example?u=a@b", None),
        ("http://", None),
        ("http://:8080", None),
        ("http://u:p@", None),
        ("http://u:p@:1", None),
        ("http://h.example:port", None),
        ("http://h.example:123456", None),
        ("http://u%40h.example", None),
        ("http://[::1", None),
        ("http://[:::]:1", None),
        ("http://h..example:1", None),
        ("http://-h.example:1", None),
        ("http://h example:1", None),
        ("gopher://h.example:1", None),
        ("any-word", None),
        ("http://any-word", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_of_an_address_scheme_host_and_port_are_told_where_there_is_no_doubt(given: str, told: str | None) -> None:
    assert shown.address(given) == told
    assert shown.proxy(given) == (told or "an address that cannot be read")


WORDS = st.text(st.sampled_from("ab1.:@/?#%[] -\\\n"), max_size=8)


@pytest.mark.slow
@hypothesis_settings(max_examples=200, deadline=None, database=None)
@given(WORDS, WORDS, st.sampled_from(["http://", "", "socks5://", "http:"]))
def test_a_password_before_the_host_is_never_told(before: str, after: str, scheme: str) -> None:
    told = shown.address(f"{scheme}me:{before}{SECRET}{after}@h.example:1")
    assert told is None or SECRET not in told


RIGHT = {
    "TIKHUB_BASE_URL": ["https://api.tikhub.dev/", "http://127.0.0.1:8000", "${BASE}"],
    "TIKHUB_OUTPUT_DIR": ["/data/tikhub", "~/tikhub", ""],
    "TIKHUB_ALLOWED_DIRS": ["/data:~/b", "/data"],
    "TIKHUB_SKILL_FILE": ["/data/SKILL.md", "~/mine.MD", "here.md"],
    "TIKHUB_LOG_LEVEL": ["debug", " ERROR "],
    "TIKHUB_MAX_BYTES": ["1e6"],
    "TIKHUB_CALL_SECONDS": [" 40 "],
    "TIKHUB_REUSE_SECONDS": ["0"],
    "TIKHUB_DOWNLOAD_SECONDS": ["1800.5"],
    "HTTPS_PROXY": ["http://h:1"],
    "no_proxy": ["a.example,b.example c.example"],
    "SSL_CERT_FILE": ["/etc/ca.pem"],
    "SSL_CERT_DIR": ["/etc/ca"],
}
TOLD = {
    "https://api.tikhub.dev/": "https://api.tikhub.dev",
    "${BASE}": "<not expanded>",
    "a.example,b.example c.example": "<3 hosts>",
}


def test_every_variable_has_a_form() -> None:
    assert not NON_SECRET_VARIABLES - RIGHT.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values])
def test_a_value_that_has_the_form_of_its_variable_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shown.has_form(name, value)
    assert shown.setting(name, value) == f"{name}={TOLD.get(value, value.strip())}"


EXPECTED = {
    "TIKHUB_BASE_URL": "https://HOST",
    "TIKHUB_OUTPUT_DIR": "an absolute path",
    "TIKHUB_ALLOWED_DIRS": "absolute paths",
    "TIKHUB_SKILL_FILE": "the path of a SKILL.md",
    "TIKHUB_LOG_LEVEL": "DEBUG, INFO, WARNING, ERROR, CRITICAL",
    "TIKHUB_MAX_BYTES": "a number, at least 1",
    "TIKHUB_CALL_SECONDS": "a number, at least 1",
    "TIKHUB_REUSE_SECONDS": "a number, at least 0",
    "TIKHUB_DOWNLOAD_SECONDS": "a number, at least 1",
    "HTTPS_PROXY": "http://HOST:PORT",
    "all_proxy": "http://HOST:PORT",
    "SSL_CERT_FILE": "an absolute path",
    "SSL_CERT_DIR": "an absolute path",
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize(
    "value", ["AbC+dEf/0123456789==", "any-key-0123456789", "a b", "-1", "\0", "~nobody-of-that-name"]
)
def test_of_any_other_value_only_what_is_expected_is_told(name: str, value: str) -> None:
    assert shown.setting(name, value) == f"{name}=<not shown; expected: {EXPECTED[name]}>"


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("TIKHUB_")])
def test_without_a_home_the_forms_are_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert shown.has_form(name, next(value for value in RIGHT[name] if "~" not in value))
    assert not shown.has_form(name, "any-key-0123456789")


@pytest.mark.parametrize("rest", ["/s3cr3t", "?token=s3cr3t", "#s3cr3t"])
@pytest.mark.parametrize("user", ["", "me:s3cr3t@"])
def test_of_a_base_url_it_is_said_that_there_is_more(user: str, rest: str) -> None:
    told = shown.setting("TIKHUB_BASE_URL", f"https://{user}api.example:8443{rest}")
    assert told == "TIKHUB_BASE_URL=https://api.example:8443 <the rest not shown>"


def test_a_variable_that_may_be_the_key_is_told_by_its_name() -> None:
    assert shown.setting("TIKHUB_API_KEY", None) == "TIKHUB_API_KEY"


def test_in_a_chinese_locale_it_is_told_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    told = {shown.setting(name, "any key") for name in EXPECTED} | {shown.setting("NO_PROXY", "a,b"), shown.proxy("")}
    assert "TIKHUB_OUTPUT_DIR=<不显示；应为：绝对路径>" in told
    assert "NO_PROXY=<2 个主机>" in told
    assert "无法读取的地址" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/opt/My App/bin/tikhub-mcp", True),
        ("uvx", True),
        ("/usr/bin/env TIKHUB_API_KEY=made-up uvx", False),
        ("/usr/bin/uvx --key made-up", False),
        ("uvx made-up", False),
        ("made+up/key==", False),
        ("m" * 41, False),
    ],
)
def test_of_a_command_a_path_or_a_name_is_told(text: str, told: bool) -> None:
    assert shown.command(text) == (text if told else "its command")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("secret"), "ValueError"),
        (OSError("secret"), "OSError"),
        (PermissionError(13, "secret", "secret"), "PermissionError: Permission denied"),
        (InvalidInput("in our words"), "InvalidInput: in our words"),
    ],
)
def test_of_an_exception_only_what_it_is_and_where_it_came_from_is_told(error: Exception, told: str) -> None:
    assert shown.failure(error) == told
