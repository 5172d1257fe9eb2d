"""Servers with certificates of their own."""

import asyncio
import ipaddress
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

x509 = pytest.importorskip("cryptography.x509", reason="makes certificates")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402 - only where it is there
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


@contextmanager
def talking(replies: list[bytes], tls: ssl.SSLContext | None = None, below_tls: bytes = b"") -> Iterator[int]:
    """A server on the loopback interface that answers each thing it hears with the next of these; its port."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    port = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await reader.read(4096)
            writer.write(reply)
            await writer.drain()
        if below_tls:
            os.write(writer.get_extra_info("socket").fileno(), below_tls)
        writer.close()

    async def serve() -> None:
        nonlocal port
        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], daemon=True)
    thread.start()
    ready.wait()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


# Certificates

CLOSED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfilm"
by_openssl = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="the system's own store decides there, not SSL_CERT_FILE"
)


def certificate(folder: Path, host: str = "127.0.0.1", days: int = 1) -> Path:
    """A file with a certificate that signs itself, and its key; it ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "made up")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(9), now + timedelta(days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


@contextmanager
def secured(path: Path, below_tls: bytes = b"") -> Iterator[str]:
    """A server with this certificate; its base URL."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    with talking([b"" if below_tls else CLOSED], tls, below_tls) as port:
        yield f"https://127.0.0.1:{port}"
