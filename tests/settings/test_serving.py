"""The settings of the HTTP server."""

import pytest

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.settings.serving import HTTP_VARIABLES, ServeSettings, load_serve_settings


def test_without_any_it_listens_on_loopback_and_links_last_a_day() -> None:
    assert load_serve_settings({}) == ServeSettings("127.0.0.1", 8000, (), (), "", 86400)
    assert load_serve_settings(dict.fromkeys(HTTP_VARIABLES, " ")) == load_serve_settings({})


def test_every_variable_is_read_and_options_come_before_them() -> None:
    environ = {
        "TIKHUB_HTTP_HOST": "0.0.0.0",
        "TIKHUB_HTTP_PORT": "9000",
        "TIKHUB_HTTP_ALLOWED_HOSTS": "a.example, b.example:81",
        "TIKHUB_HTTP_ALLOWED_ORIGINS": "https://c.example http://d.example:82",
        "TIKHUB_HTTP_PUBLIC_URL": "https://e.example/x/",
        "TIKHUB_HTTP_LINK_SECONDS": "60.5",
    }
    assert environ.keys() == HTTP_VARIABLES
    hosts, origins = ("a.example", "b.example:81"), ("https://c.example", "http://d.example:82")
    assert load_serve_settings(environ) == ServeSettings("0.0.0.0", 9000, hosts, origins, "https://e.example/x", 60.5)
    options = load_serve_settings(
        environ,
        host="[::1]",
        port="1",
        allowed_hosts=["f.example"],
        allowed_origins=["https://g.example"],
        public_url="http://h.example:8",
    )
    assert options == ServeSettings("::1", 1, ("f.example",), ("https://g.example",), "http://h.example:8", 60.5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "abc", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "٣", "a whole number from 0 to 65535"),
        ("ALLOWED_HOSTS", "https://a.example", "must look like"),
        ("ALLOWED_HOSTS", "*", "must look like"),
        ("ALLOWED_ORIGINS", "a.example", "must look like"),
        ("ALLOWED_ORIGINS", "null", "must look like"),
        ("ALLOWED_ORIGINS", "https://a.example/", "must look like"),
        ("PUBLIC_URL", "a.example", "must look like"),
        ("PUBLIC_URL", "https://me:secret@a.example", "must look like"),
        ("PUBLIC_URL", "https://a.example/?x", "must look like"),
        ("LINK_SECONDS", "0", "from 1 to a year"),
        ("LINK_SECONDS", "nan", "from 1 to a year"),
        ("LINK_SECONDS", "1e9", "from 1 to a year"),
        ("HOST", "${HOST}", "holds a placeholder"),
        ("HOST", "0.0.0.0", "Say by which name"),
        ("HOST", "::", "Say by which name"),
        ("HOST", "192.168.0.7", "Say by which name"),
        ("HOST", "a.example", "Say by which name"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as error:
        load_serve_settings({f"TIKHUB_HTTP_{name}": value})
    assert f"TIKHUB_HTTP_{name}" in error.value.message or name == "HOST"
    assert "secret" not in error.value.message


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        (ServeSettings(), "http://127.0.0.1:8000"),
        (ServeSettings("::1"), "http://[::1]:8000"),
        (ServeSettings("::", allowed_hosts=("a.example",)), "http://a.example:8000"),
        (ServeSettings("0.0.0.0", allowed_hosts=("a.example:80",)), "http://a.example:80"),
        (ServeSettings("0.0.0.0", public_url="https://b.example/x"), "https://b.example/x"),
    ],
)
def test_links_begin_with_an_address_that_leads_here(settings: ServeSettings, base: str) -> None:
    assert settings.base_url(8000) == base
    assert {"127.0.0.1:*", "localhost", "[::1]:*"} <= set(settings.hosts())
    assert base.split("/")[2] in {*settings.hosts(), *(name.replace("*", "8000") for name in settings.hosts())}


def test_the_origin_of_the_public_address_is_known() -> None:
    settings = ServeSettings(public_url="https://b.example:1/x", allowed_origins=("https://c.example",))
    own = ["http://127.0.0.1:8", "http://localhost:8", "http://[::1]:8"]
    assert settings.origins(8) == ["https://c.example", *own, "https://b.example:1"]
