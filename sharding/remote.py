"""Stores behind a URL, through obstore: `s3://`, `gs://`, `az://`, `http(s)://`. The only file that imports it.

obstore runs threads of its own: a process that used it must not fork (the child would hang).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import obstore
import obstore.exceptions
from obstore.store import from_url

from sharding.errors import DataError
from sharding.store import Range


class RemoteStore:
    """A prefix of an object store or web server that answers ranged GETs.

    Args:
        url: Where the set lives. S3 takes the standard AWS variables.
    """

    def __init__(self, url: str) -> None:
        self._url = _without_secrets(url)
        options: dict[str, Any] = {"allow_http": True, "timeout": "60s", "connect_timeout": "10s"}
        self._store = from_url(url.rstrip("/"), client_options=options)  # type: ignore[call-overload]

    def read(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        """Read the ranges; those that touch become one request, for what lies between others is not ours to fetch."""
        if not ranges:
            return []
        offsets, lengths = zip(*ranges, strict=True)
        try:
            found = [
                bytes(data)
                for data in obstore.get_ranges(self._store, name, starts=offsets, lengths=lengths, coalesce=0)
            ]
        except Exception as error:
            raise self._failure(name, error) from error
        for data, (offset, length) in zip(found, ranges, strict=True):
            if len(data) != length:
                raise DataError(
                    f"{self._url}/{name}: expected {length} bytes at {offset}, found {len(data)}; "
                    "the object is truncated"
                )
        return found

    def read_all(self, name: str) -> bytes:
        """Read an object."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except Exception as error:
            raise self._failure(name, error) from error

    def size(self, name: str) -> int | None:
        """Ask for the object's head."""
        try:
            return int(obstore.head(self._store, name)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(name, error) from error

    def stat(self, name: str) -> tuple[int, str] | None:
        """Size and ETag of an object, None if there is none."""
        try:
            found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(name, error) from error
        return int(found["size"]), found["e_tag"] or ""

    def read_pinned(self, name: str, span: Range, etag: str) -> bytes:
        """Read a range of an object, provided that it still has the ETag that `stat` gave."""
        start, length = span
        options: dict[str, Any] = {"range": (start, start + length)} | ({"if_match": etag} if etag else {})
        try:
            found = obstore.get(self._store, name, options=options)  # type: ignore[arg-type]
            data = bytes(found.bytes())
        except obstore.exceptions.PreconditionError as error:
            raise self._changed(name) from error
        except Exception as error:
            raise self._failure(name, error) from error
        if (found.meta["e_tag"] or "") != etag:  # not every server honours the condition
            raise self._changed(name)
        if len(data) != length:
            raise DataError(f"{self._url}/{name}: expected {length} bytes at {start}, found {len(data)}")
        return data

    def _changed(self, name: str) -> DataError:
        return DataError(f"{self._url}/{name}: the object changed while it was read; begin again")

    def local_path(self, name: str) -> Path | None:
        """Nothing of a remote store is on this machine."""
        return None

    def _failure(self, name: str, error: Exception) -> DataError:
        return DataError(f"{self._url}/{name}: expected to read it, but: {str(error).splitlines()[0]}")


def _without_secrets(url: str) -> str:
    parts = urlsplit(url.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
