"""transport.py: which addresses are connected to, judged on the very ones, and what is sent.

Nothing but the loopback interface is reached, see closed_network.py; proxies and certificates are in test_transport.py.
"""

import asyncio
import ipaddress
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.closed_network import World, enclose, get
from tests.support.fault_server import Act, Faulty, redirect
from tikhub_mcp.net import transport
from tikhub_mcp.net.guard import may_connect

PUBLIC = "93.184.216.34"
FAKE_IP = "198.18.0.5"


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return enclose(monkeypatch)


# Which addresses

NOT_PUBLIC = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1"),
    *("100.127.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.2.1", "192.168.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::7f00:1", "::ffff:0:7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::"),
    *("2001:db8::1", "100::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1"),
    *("ff0e::1", "5f00::1"),
]
AT_HOME = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"]


@pytest.mark.parametrize("named", [True, False])
def test_an_address_that_is_not_public_is_refused_but_this_machine_where_it_is_wanted(named: bool) -> None:
    assert [address for address in NOT_PUBLIC if may_connect(address, named=named, loopback=False)] == []
    assert [address for address in NOT_PUBLIC if may_connect(address, named=named, loopback=True)] == AT_HOME


# IANA's special-purpose address registries, as of 2026-11: the blocks that are not globally reachable, and those of
# which that cannot be told (6to4's relays, Teredo). 64:ff9b::/96 and 2002::/16 are judged by the address in them.
SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32
192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
240.0.0.0/4 255.255.255.255/32
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:2::/48 2001:10::/28 2001:db8::/32
3fff::/20 5f00::/16 fc00::/7 fe80::/10
"""


def test_no_address_of_a_special_block_is_public() -> None:
    for network in map(ipaddress.ip_network, [*SPECIAL.split(), "168.63.129.16/32"]):
        middle = network[network.num_addresses // 2]
        for address in (network[0], middle, network[-1]):
            assert not may_connect(str(address), named=False, loopback=False), address


@pytest.mark.parametrize(
    "address",
    [
        "9.255.255.255",
        "11.0.0.0",
        "192.0.1.0",
        "192.88.100.0",
        "168.63.129.15",
        "168.63.129.17",
        "2001:200::",
        "3fff:1000::",
    ],
)
def test_the_neighbours_of_special_blocks_are_public(address: str) -> None:
    assert may_connect(address, named=False, loopback=False)


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "2606:2800:220:1::1", f"::ffff:{PUBLIC}", "64:ff9b::5db8:d822", "2002:5db8:d822::1"]
)
def test_a_public_address_is_allowed_also_where_an_ipv6_one_carries_it(address: str) -> None:
    assert may_connect(address, named=False, loopback=False)


@pytest.mark.parametrize("address", [FAKE_IP, "198.19.255.255", f"::ffff:{FAKE_IP}"])
def test_what_a_proxy_in_fake_ip_mode_answers_is_allowed_for_a_name_and_not_as_a_literal(address: str) -> None:
    assert may_connect(address, named=True, loopback=False)
    assert not may_connect(address, named=False, loopback=False)


SPELLINGS = [
    *(
        "127.0.0.1",
        "0",
        "0.0.0.0",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
    ),
    *(
        "2130706433.",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "127。0。0。1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ),
    *("[::ffff:7f00:1]", "169.254.169.254", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fc00::1]"),
    *("[fe80::1]", "[fe80::1%25eth0]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", FAKE_IP, "3323068421"),
]
TRAPS = {
    f"{FAKE_IP}.": [FAKE_IP],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "one-of-two.example": [PUBLIC, "192.168.0.1"],
    "two-of-two.example": ["10.0.0.1", PUBLIC],
    "six.example": ["2606:2800:220:1::1", "fe80::1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("host", [*SPELLINGS, *TRAPS])
def test_media_from_inside_are_not_even_connected_to_however_they_are_spelled(world: World, host: str) -> None:
    world.names |= TRAPS
    for url in (f"https://{host}/video.mp4", f"http://{host}:80/video.mp4", f"http://{host}:8080/video.mp4"):
        with pytest.raises((httpx.ConnectError, httpx.InvalidURL)):
            get(url)
        assert world.connected == [], url


def test_a_server_on_this_machine_sees_no_connection(server: Faulty) -> None:
    url = server.on("/", Act(body=b"secret"))
    for spelled in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "2130706433")):
        with pytest.raises(httpx.ConnectError, match="not a public address"):
            get(spelled)
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "0x7f000001", "127.1"])
def test_a_stand_in_on_this_machine_is_reached_where_it_is_wanted(server: Faulty, host: str) -> None:
    url = server.on("/", Act(body=b"video"))
    assert get(url.replace("127.0.0.1", host), loopback=True) == (200, b"video")


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.0.1", "[fe80::1]", "0.0.0.0", "one-of-two.example", FAKE_IP])
def test_a_stand_in_opens_this_machine_only(world: World, host: str) -> None:
    world.names |= TRAPS
    for port in ("", ":8080"):
        with pytest.raises(httpx.ConnectError):
            get(f"http://{host}{port}/", loopback=True)
    assert world.connected == []


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("https://cdn.example/a", PUBLIC, 443),
        ("http://cdn.example/a", PUBLIC, 80),
        ("https://cdn.example:80/a", PUBLIC, 80),
        (f"http://{PUBLIC}:443/a", PUBLIC, 443),
        ("https://fake.example/a", FAKE_IP, 443),
        ("https://[2606:2800:220:1::1]/a", "2606:2800:220:1::1", 443),
    ],
)
def test_the_address_that_was_judged_is_the_one_that_is_connected_to(
    world: World, url: str, address: str, port: int
) -> None:
    world.names |= {"cdn.example": [PUBLIC], "fake.example": [FAKE_IP]}
    with pytest.raises(httpx.ConnectError, match="no such network"):
        get(url)
    assert world.connected == [(address, port)]
    assert len(world.resolved) == 1


@pytest.mark.parametrize("port", [22, 25, 8080, 8443, 99999, -1])
@pytest.mark.parametrize("host", ["cdn.example", PUBLIC, "[2606:2800:220:1::1]"])
def test_media_come_from_web_ports_only(world: World, host: str, port: int) -> None:
    world.names["cdn.example"] = [PUBLIC]
    with pytest.raises(httpx.ConnectError, match="web port"):
        get(f"http://{host}:{port}/a")
    assert (world.resolved, world.connected) == ([], [])


def test_the_api_is_wherever_the_user_says(server: Faulty) -> None:
    assert get(server.on("/", Act(body=b"{}")), public_only=False) == (200, b"{}")


def test_the_next_address_is_tried_when_one_does_not_answer(world: World, server: Faulty) -> None:
    world.names["cdn.example"] = [PUBLIC, "1.1.1.1", "1.0.0.1"]
    with pytest.raises(httpx.ConnectError):
        get("https://cdn.example/")
    assert [host for host, _ in world.connected] == world.names["cdn.example"]
    assert world.timeouts == [3.0, 3.0, transport.CONNECT_TIMEOUT_SECONDS]


def test_the_second_address_may_be_the_one_that_answers(world: World, server: Faulty) -> None:
    world.names["localhost"] = ["::1", "127.0.0.1"]
    assert get(server.on("/", Act(body=b"video")).replace("127.0.0.1", "localhost"), loopback=True) == (200, b"video")
    assert [host for host, _ in world.connected] == ["::1", "127.0.0.1"]


def test_a_name_that_does_not_resolve_or_not_in_time_is_a_failed_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("nowhere.example", "a..b", "a" * 70 + ".example"):
        with pytest.raises(httpx.ConnectError):
            get(f"https://{host}/")
    monkeypatch.setattr(world, "look_up", lambda *_: asyncio.Event().wait())
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.02)
    with pytest.raises(httpx.ConnectTimeout, match="not resolved in time"):
        get("https://slow.example/")
    assert world.connected == []


# What is sent


def test_a_request_carries_no_cookie_no_password_and_nothing_of_netrc(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("machine 127.0.0.1 login made password up\ndefault login made password up\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    url = server.on("/", Act(headers=[("Set-Cookie", "a=b; Path=/")], body=b"x"))
    for target in (url, url.replace("://", "://some:one@"), url):
        assert get(target, loopback=True, headers={"Referer": "https://www.tiktok.com/"}) == (200, b"x")
    for request in server.requests:
        headers = dict(request.headers)
        assert headers.pop("host").startswith("127.0.0.1:")
        assert headers.pop("user-agent") == transport.USER_AGENT
        assert headers == {
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "referer": "https://www.tiktok.com/",
        }


def test_a_header_that_cannot_be_sent_is_a_failed_request(server: Faulty) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        get(server.on("/", Act()), loopback=True, headers={"Referer": "密"})
    assert server.requests == []


def test_a_redirect_is_handed_back_and_not_followed(server: Faulty) -> None:
    assert get(server.on("/", redirect("/other")), loopback=True) == (302, b"")
    assert server.asked() == ["/"]


@pytest.mark.parametrize("target", ["https://xn--a/", "https://[::1", "http://a:b/", "//", "\xff", "", None])
def test_a_redirect_to_nonsense_is_no_more_than_a_failed_request(server: Faulty, target: str | None) -> None:
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        assert get(server.on("/", redirect(target)), loopback=True)[0] == 302
    assert server.asked() == ["/"]


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/\ud800",
        "https://xn--a/",
        "https://.a.example/",
        "https://a\x00b/",
        "https://[::1",
        "https://a:b/",
    ],
)
def test_what_is_no_address_is_an_invalid_url_whatever_httpx_makes_of_it(world: World, url: str) -> None:
    with pytest.raises(httpx.InvalidURL):
        get(url)
    assert world.connected == []


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    url=st.builds(
        "{}://{}{}/{}".format,
        st.sampled_from(["http", "https", "ftp"]),
        *[st.text(st.characters(exclude_categories=()), max_size=12)] * 3,
    )
)
@example(url="https://:80/")
@example(url="")
@example(url="data:,")
def test_no_link_makes_anything_but_httpx_complain(world: World, url: str) -> None:
    with pytest.raises((httpx.HTTPError, httpx.InvalidURL)):
        get(url)
    assert not any(host.startswith("127.") for host, _ in world.connected)
