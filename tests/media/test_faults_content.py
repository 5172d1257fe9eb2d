"""What comes whole by all counts, and is not the film; what ends as TLS should not; and names that a server gives."""

import ipaddress
import ssl
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.downloads import MEDIA, UNSIZED, fetch
from tests.support.fault_server import Act, Faulty, Move, cdn, redirect, spoiled
from tests.support.media_faults import FILM, GOOD, KNOWN, LIMITS, MDAT, OTHER, PART, SIZE, assert_whole, crossed, film
from tikhub_mcp.errors import MediaInvalid, MediaUnavailable

x509 = pytest.importorskip("cryptography.x509", reason="makes certificates")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402 - only where it is there
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

pytestmark = pytest.mark.usefixtures("small_pieces")


def index_last() -> bytes:
    """The film as cameras write it: the media before their index."""
    moov = FILM.index(b"moov") - 4
    head, index, media = FILM[:moov], bytearray(FILM[moov : MDAT - 8]), FILM[MDAT - 8 :]
    at = -1
    while (at := index.find(b"stco", at + 1)) >= 0:
        (count,) = struct.unpack_from(">I", index, at + 8)
        chunks = struct.unpack_from(f">{count}I", index, at + 12)
        struct.pack_into(f">{count}I", index, at + 12, *(chunk - len(index) for chunk in chunks))
    return head + media + bytes(index)


LAST = index_last()


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


# name: what comes in the film's length, and whether the boxes show that it is not the film
DAMAGED: dict[str, tuple[bytes, bool]] = {
    "another film of the same length": (OTHER, False),
    "a bit flipped in the media": (flipped(FILM, SIZE - 9), False),
    "a bit flipped in the size of a box": (flipped(FILM, MDAT - 5), True),
    "a bit flipped in the type of the first box": (flipped(FILM, 5), True),
    "a bit flipped in the index": (flipped(FILM, FILM.index(b"trak") + 3), True),
    "halves swapped": (FILM[SIZE // 2 :] + FILM[: SIZE // 2], True),
    "zeros from the middle on": (FILM[: SIZE // 2] + bytes(SIZE - SIZE // 2), True),
    "zeros in the last tenth": (FILM[: SIZE * 9 // 10] + bytes(SIZE - SIZE * 9 // 10), True),
    "zeros from the middle on, index last": (LAST[: SIZE // 2] + bytes(SIZE - SIZE // 2), True),
    "zeros from the index on": (FILM[: MDAT // 2] + bytes(SIZE - MDAT // 2), True),
    "zeros in all of it": (bytes(SIZE), True),
    "the index last": (LAST, False),
}


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("name", DAMAGED)
def test_what_the_boxes_show_is_refused_and_what_only_the_hash_shows_is_a_warning(
    server: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    content, shows = DAMAGED[name]
    assert len(content) == SIZE
    file = film(server, known, mirrors, cdn(content), others=(cdn(content),))
    if shows:
        with pytest.raises(MediaInvalid):
            fetch(file, target, LIMITS)
        assert not target.exists()
        assert len(server.requests) == 2 * mirrors
        return
    saved = fetch(file, target, LIMITS)
    assert_whole(saved, target, content)
    differs = known == "data_size and file_hash"
    assert ["file_hash" in warning for warning in saved.warnings] == [True] * differs
    assert server.asked() == ["/1"]


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("missing", [1, PART, SIZE - MDAT, SIZE - 8])
def test_a_short_body_that_nothing_promised_is_found_by_its_size_or_by_its_boxes(
    server: Faulty, target: Path, missing: int, known: str
) -> None:
    short = Act(body=FILM[:-missing], framing="none")
    with pytest.raises(MediaInvalid if known == "no metadata" else MediaUnavailable):
        fetch(film(server, known, 3, short, others=(short,)), target, LIMITS)
    assert not target.exists()


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_whole_body_without_a_length_is_taken_and_its_size_called_unconfirmed_unless_it_was_known(
    server: Faulty, target: Path, version: str, known: str
) -> None:
    saved = fetch(film(server, known, 1, spoiled(GOOD, framing="none", version=version)), target, LIMITS)
    assert_whole(saved, target)
    assert [UNSIZED in warning for warning in saved.warnings] == [True] * (known == "no metadata")


@crossed
@pytest.mark.parametrize(
    "disposition",
    [
        'attachment; filename="../../../evil.mp4"',
        "attachment; filename*=UTF-8''%2Fetc%2Fpasswd",
    ],
)
def test_a_name_that_the_server_gives_is_ignored(
    server: Faulty, target: Path, disposition: str, known: str, mirrors: int
) -> None:
    file = film(server, known, mirrors, cdn(FILM, '"one"', ("Content-Disposition", disposition)))
    assert_whole(fetch(file, target, LIMITS), target)
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]
    assert [entry.name for entry in target.parent.parent.iterdir()] == [target.parent.name]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine's own address that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "made up")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The server behind TLS, trusted by this process."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Faulty(tls) as running:
        yield running


TORN: dict[str, tuple[Move, int]] = {  # and how many requests it takes when it strikes once
    "with a length": (spoiled(GOOD, cut=PART, end="tear"), 2),
    "in chunks": (spoiled(GOOD, framing="chunked", cut=PART, end="tear"), 2),
    "without a length": (Act(body=FILM, framing="none", cut=PART, end="tear"), 2),
    "in HTTP/1.0": (Act(body=FILM, framing="none", cut=PART, end="tear", version="1.0"), 2),
    "after all of it": (Act(body=FILM, framing="none", end="tear"), 1),
    "with all of its length": (spoiled(GOOD, end="tear"), 1),
}


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("name", TORN)
def test_tls_that_ends_without_its_farewell_is_a_connection_like_any_that_broke_off(
    secure: Faulty, target: Path, name: str, known: str, mirrors: int
) -> None:
    move, requests = TORN[name]
    assert_whole(fetch(film(secure, known, mirrors, move, GOOD), target, LIMITS), target)
    assert len(secure.requests) == requests
    if name in ("with a length", "in chunks"):
        assert secure.requests[1].headers["range"] == f"bytes={PART}-"
        assert secure.sent <= 1.1 * SIZE


@pytest.mark.slow
@crossed
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_tls_that_always_ends_so_is_never_a_shorter_film(
    secure: Faulty, target: Path, version: str, known: str, mirrors: int
) -> None:
    torn = Act(body=FILM, framing="none", cut=PART, end="tear", version=version)
    with pytest.raises(MediaInvalid if known == "no metadata" else MediaUnavailable):
        fetch(film(secure, known, mirrors, torn, others=(torn,)), target, LIMITS)
    assert not target.exists()


@crossed
def test_what_https_hands_over_to_http_is_fetched_only_where_its_size_is_known(
    secure: Faulty, server: Faulty, target: Path, known: str, mirrors: int
) -> None:
    plain = film(server, known, mirrors, GOOD)
    urls = (secure.on(f"/{turn}", redirect(url)) for turn, url in enumerate(plain.urls, 1))
    file = replace(plain, urls=tuple(urls))
    if file.size is None:
        with pytest.raises(MediaUnavailable, match="from https to http"):
            fetch(file, target, LIMITS)
        assert secure.asked() == [f"/{turn}" for turn in range(1, mirrors + 1)] * 2
        assert server.requests == []
        return
    assert_whole(fetch(file, target, LIMITS), target)
    assert (secure.asked(), server.asked()) == (["/1"], ["/1"])


SMALLER = (MEDIA / "h265.mp4").read_bytes()  # good by all counts, and not the film


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("mirrors", [1, 3])
@pytest.mark.parametrize("known", ["data_size", "data_size and file_hash"])
def test_what_comes_by_http_behind_https_is_held_to_the_known_size(
    secure: Faulty, server: Faulty, target: Path, known: str, mirrors: int, framing: str
) -> None:
    secure.on("/hop", redirect(server.on("/film", spoiled(cdn(SMALLER), framing=framing))))
    file = film(secure, known, mirrors, redirect("/hop"))
    if mirrors == 1:
        with pytest.raises((MediaInvalid, MediaUnavailable)):
            fetch(file, target, LIMITS)
    else:
        assert_whole(fetch(file, target, LIMITS), target)
        assert secure.asked() == ["/1", "/hop", "/2"]
    assert "/film" in server.asked()


def test_a_redirect_that_loses_no_security_needs_no_known_size(secure: Faulty, server: Faulty, target: Path) -> None:
    secure.on("/film", GOOD)
    server.on("/up", redirect(f"{secure.base_url}/film"))
    for running, location in ((secure, "/film"), (server, "/up"), (server, f"{secure.base_url}/film")):
        assert_whole(fetch(film(running, "no metadata", 1, redirect(location)), target, LIMITS), target)
