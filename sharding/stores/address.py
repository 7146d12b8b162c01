"""What kind of store an address names, whether it is well-formed, and how it is shown without its login.

Keys in `s3://`, `gs://` and `az://` are literal: "50%25" and "50%" are two keys. `http(s)://` is percent-encoded, as
everywhere on the web; what may not stand in such a URL, a space for instance, is encoded before it is sent.
"""

import re
import string
from urllib.parse import SplitResult, quote, urlsplit

from sharding.errors import UsageError
from sharding.escaping import escape, shorten
from sharding.hiding import BUCKETS, HIDDEN, without_login

WEB = ("http", "https")


def is_remote(url: str) -> bool:
    """Tell whether `url` names a store that is not a local folder."""
    return "://" in url and not url.startswith("file://")


def shown(address: str) -> str:
    """Return the form of an address for messages and files: a URL without login and query, other text unchanged."""
    return without_login(address) if re.match(r"[A-Za-z0-9+.-]+://", address) else address


def split_address(url: str) -> SplitResult:
    """Split an address, and check all that can be checked without a request.

    Raises:
        UsageError: It has an unknown scheme, no host, a wrong port, control characters, or an `@` after the host, where
            a part of a password would be taken for a path.
    """
    name = shorten(escape(without_login(url)))
    try:
        parts = urlsplit(url)
        if parts.scheme in WEB:
            _check_at(parts)
            (parts.hostname or "").encode("idna")
        port = parts.port  # raises where it is no number up to 65535
    except UsageError:
        raise
    except ValueError:
        raise UsageError(_expected(name)) from None  # its text holds the password
    if parts.scheme not in (*WEB, *BUCKETS):
        raise UsageError(
            f"{parts.scheme[:20]}://: expected a folder, or an address with one of s3, gs, az, http, https"
        )
    is_bucket = parts.scheme in BUCKETS and parts.netloc.isascii()
    if (
        HIDDEN in name
        or not parts.hostname
        or port == 0
        or escape(url) != url
        or not (is_bucket or parts.scheme in WEB)
    ):
        raise UsageError(_expected(name))
    return parts


def _check_at(parts: SplitResult) -> None:
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise UsageError(
            "expected a web address with `@` before the host alone, found one after it: write it as %40, and `/`, `?` "
            "and `#` of a password as %2F, %3F and %23"
        )


def _expected(name: str) -> str:
    return (
        f"{name}: expected an address such as https://HOST:PORT/PATH or s3://BUCKET/PREFIX, found a host or port that "
        "cannot be one, or control characters; write `@`, `:`, `/` and the like in a login as %40, %3A, %2F"
    )


def plain_address(url: str) -> str:
    """Return a checked address without login and query, encoded for a client that decodes it once.

    Raises:
        UsageError: It is not well-formed.
    """
    scheme = split_address(url).scheme
    plain = without_login(url)
    if scheme in WEB:
        return encode_web(plain)
    head, _, key = plain.partition("://")[2].partition("/")
    return f"{scheme}://{head}/{quote(key, safe='/')}".rstrip("/")


def encode_web(url: str) -> str:
    """Encode what may not stand in a URL, a space for instance; what is encoded already stays."""
    return quote(url, safe=string.punctuation)
