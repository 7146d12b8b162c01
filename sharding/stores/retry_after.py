"""When to retry after a throttling server refused a request: its `Retry-After` header (RFC 9110, 10.2.3).

obstore does not show the headers of a refusal, so one byte is requested without it.
"""

import http.client
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
"""Longest wait for the connection, and for each read."""


def parse_retry_after(value: str, now: float) -> float | None:
    """Parse a value, a number of seconds or an HTTP date.

    Args:
        value: Value of the header.
        now: Unix time in seconds.

    Returns:
        Seconds to wait from `now` on, at least 0; None if the value is neither.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def ask_retry_after(url: str, headers: Mapping[str, str]) -> float | None:
    """Request one byte and read the `Retry-After` header of a refusal.

    Args:
        url: Address of an object, signed if it has to be.
        headers: Headers that log in to the server.

    Returns:
        Seconds to wait; 0 if the refusal has no such header or the request failed; None if the server answers again.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc.rpartition("@")[2], timeout=TIMEOUT_S)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={**headers, "Range": "bytes=0-0"})
        answer = connection.getresponse()
        if answer.status < 400:
            return None
        return parse_retry_after(answer.headers.get("Retry-After", ""), time.time()) or 0.0
    except (OSError, http.client.HTTPException):
        return 0.0
    finally:
        connection.close()
