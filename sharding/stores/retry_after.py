"""When a server that has refused wants to be asked again: its `Retry-After` header (RFC 9110, 10.2.3).

obstore does not show the headers of a refusal, so one byte is asked for directly.
"""

import http.client
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

TIMEOUT_S = 5.0


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (Unix time) that a value, a number or an HTTP date, asks for; None if it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def ask_retry_after(url: str, headers: Mapping[str, str]) -> float | None:
    """Ask for one byte; return the seconds that a refusal asks to wait (0 if it does not say), None if all is well now.

    Another failure of the request counts as a refusal that does not say.
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
