"""Describes why a request failed, without repeating untrusted text.

The text of an exception may contain bytes from the server or a proxy, such as a status line, a header or a password. So
only texts listed here are used. All else is described by the exception's type, error number and cause.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from tikhub_mcp.text import clean

PROXY_UNUSABLE = "the proxy that the environment names cannot be used"
NOT_SOCKS = "the SOCKS proxy does not speak SOCKS5"

_OF_PROXIES = {
    PROXY_UNUSABLE: PROXY_UNUSABLE,
    NOT_SOCKS: NOT_SOCKS,
    "Invalid username/password": "the proxy refused the user name and password",  # httpcore's, of SOCKS proxies
}
_OF_TYPES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((httpx.ConnectTimeout, httpx.PoolTimeout), "no connection in time"),
    ((httpx.TimeoutException, TimeoutError), "no answer in time"),
    (httpx.LocalProtocolError, "the request has a form that HTTP does not allow"),
    ((httpx.InvalidURL, httpx.UnsupportedProtocol), "it is not an address that can be asked"),
    (httpx.RemoteProtocolError, "there was no response, or it is not HTTP"),
)
_OF_CAUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((socket.gaierror, UnicodeError), "the name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (ConnectionResetError, "the connection was reset"),
)
# macOS quotes the certificate's own name in its message.
_QUOTED = re.compile("[\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]")


def failure_reason(error: Exception) -> str:
    """Return why a request failed, in a few words without any text from the server or the proxy."""
    if isinstance(error, httpx.ProxyError):
        return _of_proxy(str(error))
    if (words := next((words for kinds, words in _OF_TYPES if isinstance(error, kinds)), None)) is not None:
        return words
    for cause in _beneath(error):
        if isinstance(cause, ssl.SSLError):
            is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
            return f"{'the certificate is not trusted' if is_certificate else 'TLS failed'}: {tls_reason(cause)}"
        if (words := next((words for kinds, words in _OF_CAUSES if isinstance(cause, kinds)), None)) is not None:
            return words
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    return "the connection failed"


def tls_reason(error: ssl.SSLError) -> str:
    """Return why TLS failed, in the words of the TLS library; the peer cannot add text of its own to them."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "reason", "") or type(error).__name__).replace("_", " ").lower()
    words = _QUOTED.split(getattr(error, "verify_message", ""))[-1]
    return clean(words, 100).strip(" .") or "it does not say why"


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error among the causes of an exception, or None when there is none."""
    return next((cause for cause in _beneath(error) if isinstance(cause, ssl.SSLError)), None)


def _of_proxy(message: str) -> str:
    if message in _OF_PROXIES:
        return _OF_PROXIES[message]
    status = re.match(r"[1-9][0-9]{2}(?= )", message)  # the text after it is the proxy's
    return f"the proxy refused the connection{f' (HTTP {status[0]})' if status else ''}"


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, outermost first; of an exception group, only the first exception."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
            continue
        # Suppressed contexts too: httpcore re-raises its own errors `from None`.
        error = error.__cause__ or error.__context__
