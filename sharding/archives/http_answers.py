"""Requests to a web server: how they are sent, what an answer must have, and which failures will not pass."""

import http.client
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.stores.address import WEB, split_address
from sharding.stores.credentials import web_proxies

CONNECT_S = 5.0
"""Longest wait until a connection is open."""

_TRANSIENT = (408, 429, 500, 502, 503, 504)  # HTTP statuses that are retried
GATEWAY = (502, 503, 504)
"""Statuses by which a proxy tells that it did not reach the server."""

_NO_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5), socket.EAI_FAIL)  # EAI_AGAIN may pass
_BROKEN = ("EOF", "RECORD", "MAC", "LENGTH")  # in the reason of a TLS failure: the connection, not the server's TLS
_ADVICE = {
    401: "a login is required: set DEPTHSTREAM_HTTP_TOKEN, or check it",
    403: "it may not be read from here: check the address and your rights",
    404: "there is no such file: check the address",
    407: "the proxy wants a login: add user and password to its address",
}
_CHECK = "check the address"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a request failed.

    Attributes:
        text: What happened.
        lasting: Whether another attempt cannot succeed.
        advice: What to do about a lasting one.
        status: Status that was answered; None without an answer.
    """

    text: str
    lasting: bool
    advice: str = _CHECK
    status: int | None = None


class _Quick(http.client.HTTPConnection):
    """A connection whose time limit is short until it is open."""

    def connect(self) -> None:
        """Connect."""
        limit = self.timeout
        self.timeout = min(CONNECT_S, limit or CONNECT_S)
        try:
            super().connect()
        finally:
            self.timeout = limit
        self.sock.settimeout(limit)


class _QuickTls(_Quick, http.client.HTTPSConnection):
    """The same with TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        """Send a request without TLS."""
        return self.do_open(_Quick, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        """Send a request."""
        return self.do_open(_QuickTls, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses only: urllib would follow one to FTP as well."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request to follow with.

        Raises:
            ValueError: It leads to an address that is not of the web.
        """
        if split_address(newurl).scheme not in WEB:
            raise ValueError("not of the web")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_request(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    """Send a request, through the proxy of the environment if there is one.

    Raises:
        DataError: The server redirects to what is no web address.
        OSError: It failed; see `explain`.
        HTTPException: The answer is wrong.
    """
    opener = urllib.request.OpenerDirector()  # not `build_opener`, which knows file: and ftp: as well
    for handler in (
        urllib.request.ProxyHandler({scheme: proxy.address for scheme, proxy in web_proxies(os.environ).items()}),
        _Http(),
        _Https(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout_s)
    except ssl.CertificateError:  # a ValueError as well
        raise
    except ValueError:
        name = request.full_url.partition("?")[0]
        raise DataError(f"{name}: the server redirects to what is no web address; check the address") from None
    return response


def read_extent(name: str, response: http.client.HTTPResponse, offset: int) -> tuple[int, bool]:
    """Read the size of a file from an answer to a request of its bytes from `offset` on.

    Returns:
        The size, and whether the answer has only the bytes from `offset` on.

    Raises:
        DataError: The answer does not tell the size, or has other bytes.
    """
    if response.status == 206:
        found = response.headers.get("Content-Range", "")
        ranged = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", found)
        first, last, size = map(int, ranged.groups()) if ranged else (-1, -1, -1)
        if not (first == offset and first <= last < size):
            said = shorten(escape(found), 100) or "none"
            raise DataError(
                f"{name}: expected the bytes from {offset} on, found a wrong Content-Range: {said}; {_CHECK}"
            )
        told = response.headers.get("Content-Length", str(last + 1 - first)).strip()
        if told != str(last + 1 - first):
            raise DataError(
                f"{name}: expected {last + 1 - first} bytes, as its Content-Range says, found the Content-Length "
                f"{shorten(escape(told), 100)}; {_CHECK}"
            )
        return size, True
    lengths = {value.strip() for value in response.headers.get_all("Content-Length") or []}
    length = lengths.pop() if len(lengths) == 1 else ", ".join(sorted(lengths))
    if not re.fullmatch("[0-9]{1,18}", length):
        said = f"the Content-Length {shorten(escape(length), 100)}" if length else "no Content-Length"
        raise DataError(f"{name}: expected the server to report the size, found {said}; download it, and give its path")
    return int(length), False


def explain(error: Exception) -> Problem:
    """Tell why a request failed, and whether it would fail again."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _explain_status(error)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = shorten(escape(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__))
    if isinstance(reason, socket.gaierror):
        return Problem(text=text, lasting=reason.errno in _NO_HOST, advice="check the name of the host")
    if isinstance(reason, ssl.SSLCertVerificationError):
        known = "set SSL_CERT_FILE to the certificates of your network, or check the address"
        return Problem(
            text=f"a certificate that is not trusted here ({reason.verify_message})", lasting=True, advice=known
        )
    if isinstance(reason, ssl.SSLError) and reason.reason and not any(word in reason.reason for word in _BROKEN):
        return Problem(text=f"a server that does not speak TLS as expected ({reason.reason})", lasting=True)
    if tunnel := re.match(r"Tunnel connection failed: (\d{3})", text):
        status = int(tunnel[1])
        advice = _ADVICE[407] if status == 407 else "the proxy does not allow it: check HTTPS_PROXY and NO_PROXY"
        return Problem(
            text=f"a proxy that refuses: {text.partition(': ')[2]}", lasting=status not in _TRANSIENT, advice=advice
        )
    if type(reason) in (http.client.HTTPException, http.client.LineTooLong, http.client.UnknownProtocol):
        return Problem(text=f"an answer that is no valid HTTP ({text})", lasting=True)
    if isinstance(reason, http.client.BadStatusLine) and not isinstance(reason, ConnectionError):
        return Problem(text=f"an answer that is no HTTP ({shorten(escape(str(reason).strip()), 60)})", lasting=True)
    return Problem(text=text, lasting=False)


def _explain_status(error: urllib.error.HTTPError) -> Problem:
    said = shorten(escape(str(error.reason).partition("\n")[0]), 100)
    advice = _ADVICE.get(error.code, "it redirects in a loop or nowhere: " + _CHECK if error.code < 400 else _CHECK)
    lasting = error.code not in _TRANSIENT
    return Problem(text=f"status {error.code} ({said})", lasting=lasting, advice=advice, status=error.code)
