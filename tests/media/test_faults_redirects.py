"""Where a mirror's redirects lead: nowhere inside, whoever sends them, at whichever hop, however it is spelled."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.closed_network import World, enclose
from tests.support.downloads import nothing
from tests.support.fault_server import Act, Faulty, Request, redirect
from tests.support.media_faults import BROKEN_OFF, GOOD, LIMITS, assert_whole, film
from tikhub_mcp.errors import MediaUnavailable
from tikhub_mcp.media.download import Downloader
from tikhub_mcp.media.saved import Saved
from tikhub_mcp.net.transport import Network
from tikhub_mcp.posts.renditions import Rendition

pytestmark = pytest.mark.usefixtures("small_pieces")

PUBLIC = "93.184.216.34"
CDN = "http://cdn.example"
NAMES = {
    "metadata.example": ["169.254.169.254"],
    "router.example": ["192.168.0.1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "one-of-two.example": [PUBLIC, "10.0.0.1"],
    "six.example": ["2606:2800:220:1::1", "fe80::1"],
}
INSIDE = [
    *("http://10.0.0.1/", "https://10.0.0.1/", "//10.0.0.1/x", "http://169.254.169.254/latest/meta-data/"),
    *("http://0/", "http://0:80/", "http://0x0a000001/", "http://[fe80::1]/", "http://[::ffff:10.0.0.1]/"),
    *("http://192.168.0.1:8080/", f"http://{PUBLIC}:22/", f"https://{PUBLIC}:22/", "http://user@10.0.0.1:443/"),
    *(f"http://{name}{port}/" for name in NAMES for port in ("", ":8080")),
]


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Every name that is looked up is one of these, and `cdn.example` a public one."""
    world = enclose(monkeypatch)
    world.names |= NAMES | {"cdn.example": [PUBLIC]}
    return world


def port_of(server: Faulty) -> int:
    return urlsplit(server.base_url).port or 0


def fetch(file: Rendition, target: Path, *, loopback: bool) -> Saved:
    return asyncio.run(Downloader(Network(loopback_media=loopback), LIMITS).fetch(file, "tiktok", target, nothing))


def on_the_web(world: World, server: Faulty, file: Rendition) -> Rendition:
    """The same file as a CDN with a public address has it."""
    world.routes[PUBLIC, 80] = port_of(server)
    return replace(file, urls=tuple(url.replace(server.base_url, CDN) for url in file.urls))


@pytest.mark.slow
@pytest.mark.parametrize("public", [False, True], ids=["from a stand-in", "from a public CDN"])
@pytest.mark.parametrize("location", INSIDE)
def test_a_redirect_to_what_is_not_public_makes_no_connection_there(
    world: World, server: Faulty, target: Path, location: str, public: bool
) -> None:
    file = film(server, "data_size", 1, redirect(location))
    file = on_the_web(world, server, file) if public else file
    with pytest.raises(MediaUnavailable, match="the connection failed"):
        fetch(file, target, loopback=not public)
    assert world.connected == [(PUBLIC, 80) if public else ("127.0.0.1", port_of(server))] * 2
    assert server.asked() == ["/1"] * 2


HERE = ["127.0.0.1", "127.1", "2130706433", "localhost", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "here.example"]


@pytest.mark.parametrize("host", HERE)
def test_a_redirect_to_this_machine_makes_no_connection_unless_the_api_is_here_too(
    world: World, server: Faulty, target: Path, host: str
) -> None:
    world.names["here.example"] = ["127.0.0.1"]
    with Faulty() as secret:
        secret.on("/1", GOOD)
        for port in ("", ":80", f":{port_of(secret)}"):
            file = film(server, "data_size", 1, redirect(f"http://{host}{port}/1"))
            with pytest.raises(MediaUnavailable, match="the connection failed"):
                fetch(on_the_web(world, server, file), target, loopback=False)
        assert secret.requests == []
    assert set(world.connected) == {(PUBLIC, 80)}


@pytest.mark.parametrize("location", ["http://10.0.0.1/", "http://one-of-two.example/", f"http://{PUBLIC}:22/"])
def test_a_redirect_inside_is_refused_at_the_last_hop_as_at_the_first_and_the_next_mirror_asked(
    world: World, server: Faulty, target: Path, location: str
) -> None:
    for hop in range(4):
        server.on(f"/hop{hop}", redirect(f"/hop{hop + 1}" if hop < 3 else location))
    file = on_the_web(world, server, film(server, "data_size", 3, redirect("/hop0")))
    assert_whole(fetch(file, target, loopback=False), target)
    assert server.asked() == ["/1", "/hop0", "/hop1", "/hop2", "/hop3", "/2"]
    assert set(world.connected) == {(PUBLIC, 80)}


@pytest.mark.parametrize("location", ["http://10.0.0.1/", "http://metadata.google.internal/", "http://127.0.0.1/"])
def test_the_rest_of_a_file_does_not_come_from_inside_either(
    world: World, server: Faulty, target: Path, location: str
) -> None:
    world.names["metadata.google.internal"] = ["169.254.169.254"]
    file = on_the_web(world, server, film(server, "no metadata", 1, BROKEN_OFF, redirect(location), GOOD))
    assert_whole(fetch(file, target, loopback=False), target)
    assert set(world.connected) == {(PUBLIC, 80)}
    assert len(server.requests) == 3


def test_a_name_that_led_outside_a_moment_ago_is_judged_anew_at_each_hop(
    world: World, server: Faulty, target: Path
) -> None:
    def turning(request: Request) -> Act:
        world.names["cdn.example"] = ["10.0.0.1"]
        return redirect("/2")

    file = on_the_web(world, server, film(server, "data_size", 1, turning))
    with pytest.raises(MediaUnavailable, match="the connection failed"):
        fetch(file, target, loopback=False)
    assert world.connected == [(PUBLIC, 80)]


def test_a_redirect_to_another_public_host_is_followed(world: World, server: Faulty, target: Path) -> None:
    world.names["other.example"] = ["1.1.1.1"]
    world.routes["1.1.1.1", 80] = port_of(server)
    server.on("/film", GOOD)
    file = on_the_web(world, server, film(server, "data_size", 1, redirect("http://other.example/film")))
    assert_whole(fetch(file, target, loopback=False), target)
    assert world.connected == [(PUBLIC, 80), ("1.1.1.1", 80)]
