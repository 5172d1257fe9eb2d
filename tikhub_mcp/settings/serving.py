"""Reads the settings of the HTTP server: options of the command line, or else environment variables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tikhub_mcp.errors import InvalidInput
from tikhub_mcp.settings.environment import is_loopback, is_unexpanded, process_environment

HTTP_VARIABLES = frozenset(
    f"TIKHUB_HTTP_{name}" for name in ("HOST", "PORT", "ALLOWED_HOSTS", "ALLOWED_ORIGINS", "PUBLIC_URL", "LINK_SECONDS")
)
DEFAULT_LINK_SECONDS = 24 * 3600.0
_MAX_LINK_SECONDS = 366 * 86400.0
_NAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The settings of the HTTP server.

    Attributes:
        host: The name or address to listen on.
        port: The port to listen on; 0 for any free one.
        allowed_hosts: Values of the header Host that are accepted, with or without a port, beside those of loopback.
        allowed_origins: Values of the header Origin that are accepted, beside that of the public address.
        public_url: The address under which browsers reach the server, without a trailing slash; "" for the listening
            address.
        link_seconds: How long a link to a file is valid, in seconds.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    public_url: str = ""
    link_seconds: float = DEFAULT_LINK_SECONDS

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def base_url(self, port: int) -> str:
        """Return the address that links begin with, for a server that listens on `port`."""
        if self.public_url:
            return self.public_url
        if self.host in _WILDCARDS and self.allowed_hosts:
            name = self.allowed_hosts[0]
        else:
            name = "127.0.0.1" if self.host in _WILDCARDS else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}" if re.search(r":\d+$", name) else f"http://{name}:{port}"

    def hosts(self) -> list[str]:
        """Return the accepted values of Host; one that ends in `:*` stands for all ports."""
        names = ["127.0.0.1", "localhost", "[::1]", *self.allowed_hosts]
        if self.public_url:
            names.append(urlsplit(self.public_url).netloc)
        if self.host not in _WILDCARDS:
            names.append(f"[{self.host}]" if ":" in self.host else self.host)
        return [*names, *(f"{name}:*" for name in names if not re.search(r":\d+$", name))]

    def origins(self, port: int) -> list[str]:
        """Return the accepted values of Origin, for a server that listens on `port`: its own, and those allowed."""
        public = urlsplit(self.public_url)
        own = [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        return [*self.allowed_origins, *own, *([f"{public.scheme}://{public.netloc}"] if self.public_url else [])]


def load_serve_settings(
    environ: Mapping[str, str] | None = None,
    *,
    host: str | None = None,
    port: str | None = None,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    public_url: str | None = None,
) -> ServeSettings:
    """Read the settings of the HTTP server; an option that is given counts instead of its variable.

    Raises:
        InvalidInput: An option or a variable has an invalid value; or others than this machine could connect, and it is
            not known by which names.
    """
    env = process_environment() if environ is None else environ

    def value(name: str, option: str | None = None) -> str:
        found = (env.get(f"TIKHUB_HTTP_{name}", "") if option is None else option).strip()
        if is_unexpanded(found):
            raise InvalidInput(f"TIKHUB_HTTP_{name} holds a placeholder, ${{…}}, which was not replaced by a value.")
        return found

    def values(name: str, options: Sequence[str], pattern: str, example: str) -> tuple[str, ...]:
        found = tuple(options) or tuple(re.findall(r"[^\s,]+", value(name)))
        if not all(re.fullmatch(pattern, each) for each in found):
            option = name.lower().replace("_", "-").removesuffix("s")
            raise InvalidInput(f"--{option} (TIKHUB_HTTP_{name}) must look like {example}.")
        return found

    settings = ServeSettings(
        host=(value("HOST", host) or "127.0.0.1").strip("[]"),
        port=_port(value("PORT", port) or "8000"),
        allowed_hosts=values("ALLOWED_HOSTS", allowed_hosts, _NAME, "tikhub.example.com or 10.0.0.5:8000"),
        allowed_origins=values("ALLOWED_ORIGINS", allowed_origins, f"https?://{_NAME}", "https://chat.example.com"),
        public_url=_public_url(value("PUBLIC_URL", public_url)),
        link_seconds=_link_seconds(value("LINK_SECONDS") or str(DEFAULT_LINK_SECONDS)),
    )
    if not (settings.on_loopback or settings.allowed_hosts or settings.public_url):
        raise InvalidInput(
            f"On {settings.host}, others than this machine can connect. Say by which name they do, with --public-url "
            "or --allowed-host (TIKHUB_HTTP_PUBLIC_URL, TIKHUB_HTTP_ALLOWED_HOSTS)."
        )
    return settings


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise InvalidInput("--port (TIKHUB_HTTP_PORT) must be a whole number from 0 to 65535; 0 is any free port.")
    return int(text)


def _public_url(text: str) -> str:
    if text and not re.fullmatch(rf"https?://{_NAME}(?:/[A-Za-z0-9._~/-]*)?", text):
        raise InvalidInput("--public-url (TIKHUB_HTTP_PUBLIC_URL) must look like https://tikhub.example.com.")
    return text.rstrip("/")


def _link_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= _MAX_LINK_SECONDS:  # false for NaN as well
        raise InvalidInput("TIKHUB_HTTP_LINK_SECONDS must be a number of seconds, from 1 to a year.")
    return seconds
