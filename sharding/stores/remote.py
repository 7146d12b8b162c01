"""Reading behind a URL, through obstore: `s3://`, `gs://`, `az://`, `http(s)://`."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import obstore
from obstore.store import HTTPStore

from sharding.errors import DataError
from sharding.machine.threads import Fetchers
from sharding.stores.client import TimeLimits, open_client
from sharding.stores.credentials import conceal, without_login
from sharding.stores.failure import RequestFailure, read_failure
from sharding.stores.ranges import MAX_MERGED_BYTES, cut_range, merge_ranges
from sharding.stores.retry import ReadFailed
from sharding.stores.retry_after import ask_retry_after
from sharding.stores.store import Range

PARALLEL_REQUESTS = 16
"""At most, of all the reads of one store."""


class RemoteStore:
    """A prefix of an object store or web server that answers ranged GETs. Every request is made once.

    Objects are pinned: one whose size is not the expected one, or whose size or ETag differ from what this store saw
    first, is an error. Threads may share a store.

    Args:
        url: Where the set lives. S3 takes the standard AWS variables and profiles; see docs/object-stores.md.
        expected_bytes: Size of an object, by name, where it is known.
        limits: Of each request.

    Raises:
        UsageError: There are no credentials, or the address is wrong.
    """

    def __init__(
        self, url: str, expected_bytes: Mapping[str, int] | None = None, limits: TimeLimits | None = None
    ) -> None:
        self._url, self._expected = without_login(url), dict(expected_bytes or {})
        self._address, self._limits = url, limits or TimeLimits()
        self._store, self._headers = open_client(url, self._limits)
        self._endpoint = _endpoint(url)
        self._seen: dict[str, tuple[int, str]] = {}
        self._fetchers: Fetchers[memoryview | ReadFailed] = Fetchers(PARALLEL_REQUESTS)
        self._asking, self._tells_when, self._quiet_until = threading.Lock(), True, 0.0

    def read(self, name: str, ranges: Sequence[Range]) -> list[memoryview]:
        """Read the ranges, side by side; those that touch become one request. No other byte is asked for.

        Raises:
            ReadFailed: Some did not come, for a reason that may pass; it carries those that did.
            DataError: They are not to be had, or the object is another one now.
        """
        spans = merge_ranges(ranges, limit_bytes=MAX_MERGED_BYTES)
        attempts = [partial(self._attempt, name, span) for span in spans]
        if len(attempts) > 1:
            came = [future.result() for future in [self._fetchers.submit(attempt) for attempt in attempts]]
        else:
            came = [attempt() for attempt in attempts]
        arrived = [data if isinstance(data, memoryview) else None for data in came]
        pieces = list(zip(spans, arrived, strict=True))
        found = [cut_range(pieces, span) for span in ranges]
        failures = [error for error in came if isinstance(error, ReadFailed)]
        if failures:
            wait_s = max((error.wait_s for error in failures if error.wait_s), default=None)
            error = failures[0]
            raise ReadFailed(error.where, error.reason, found=found, wait_s=wait_s)
        return [data for data in found if data is not None]

    @cached_property
    def _patient(self) -> Any:
        """A client that may take longer: a whole object can be large, and the link slow."""
        return open_client(self._address, replace(self._limits, request_s=self._limits.whole_s))[0]

    def read_all(self, name: str) -> bytes:
        """Read an object."""
        try:
            found = obstore.get(self._patient, name)
            data = bytes(found.bytes())
        except Exception as error:
            raise self._failure(name, None, error) from None
        self._pin(name, found.meta["size"], found.meta["e_tag"])
        return data

    def size(self, name: str) -> int | None:
        """Ask for the object's head."""
        try:
            found = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(name, None, error) from None
        self._pin(name, found["size"], found["e_tag"])
        return int(found["size"])

    def local_path(self, name: str) -> Path | None:
        """Nothing of a remote store is on this machine."""
        return None

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """No."""
        return False

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Damage may have come on the way."""
        return True

    def _attempt(self, name: str, span: Range) -> memoryview | ReadFailed:
        """Ask for a range once; a failure that may pass is returned, so that the others are not lost."""
        try:
            return self._fetch(name, span)
        except ReadFailed as error:
            return error

    def _fetch(self, name: str, span: Range) -> memoryview:
        start, length = span
        options: dict[str, Any] = {"range": (start, start + length)}
        etag = self._seen.get(name, (0, ""))[1]
        if etag and not etag.startswith("W/"):  # a weak ETag never matches (RFC 9110, 13.1.1)
            options["if_match"] = etag
        try:
            found = obstore.get(self._store, name, options=options)  # type: ignore[arg-type]
            data = memoryview(found.bytes())
        except Exception as error:
            raise self._failure(name, span, error) from None
        self._pin(name, found.meta["size"], found.meta["e_tag"])
        if start + length > found.meta["size"]:
            size = found.meta["size"]
            raise DataError(
                f"{self._where(name, span)}: the object ends after {size} bytes; get a whole copy of the set"
            )
        if len(data) != length:
            raise ReadFailed(self._where(name, span), f"{len(data)} bytes came")
        return data

    def _pin(self, name: str, size: int, etag: str | None) -> None:
        """Take, or compare, what identifies an object."""
        expected = self._expected.get(name)
        if expected is not None and size != expected:
            raise DataError(
                f"{self._url}/{name}: expected {expected} bytes, as the manifest says, found {size}: the object was "
                "replaced or is truncated; get a whole copy of the set, or begin again if the set was made anew"
            )
        first = self._seen.setdefault(name, (size, etag or ""))
        if first != (size, etag or ""):
            raise self._changed(name, f"expected {_version(*first)}, found {_version(size, etag or '')}")

    def _changed(self, name: str, difference: str) -> DataError:
        return DataError(
            f"{self._url}/{name}: the object changed while it was read: {difference}; begin again, and leave a set "
            "alone while it is read"
        )

    def _where(self, name: str, span: Range | None) -> str:
        return f"{self._url}/{name}" + (f", bytes {span[0]}-{sum(span) - 1}" if span else "")

    def _failure(self, name: str, span: Range | None, error: Exception) -> DataError:
        """The error to raise for one of obstore's, whose own text is not shown: it may hold credentials."""
        refusal = read_failure(conceal(str(error), os.environ))
        if name in self._seen and refusal.status == 412:
            return self._changed(name, f"it no longer has the ETag {self._seen[name][1]}")
        if name in self._seen and refusal.status == 404:
            return self._changed(name, "it is gone")
        where, reason = self._where(name, span), f"{refusal}{self._endpoint if refusal.lost else ''}"
        if refusal.passing:
            return ReadFailed(where, reason, wait_s=self._wait_s(name, refusal))
        if refusal.out_of_range and span:
            self.size(name)  # which tells a replaced object from a wrong range
        return DataError(f"{where}: expected to read it, but: {reason}; {refusal.advice}")

    def _wait_s(self, name: str, refusal: RequestFailure) -> float | None:
        """How long a server that throttles asks to be left alone; one thread asks for all, and not if it never says."""
        if not refusal.throttled:
            return None
        with self._asking:
            if (left := self._quiet_until - time.monotonic()) > 0:
                return left
            wait_s = self._ask_retry_after(name) if self._tells_when else None
            self._tells_when = self._tells_when and wait_s != 0.0
            self._quiet_until = time.monotonic() + (wait_s or 0.0)
            return wait_s or None

    def _ask_retry_after(self, name: str) -> float | None:
        try:
            return ask_retry_after(self._plain_url(name), self._headers)
        except Exception:  # no such URL can be made with these credentials
            return 0.0

    def _plain_url(self, name: str) -> str:
        """An address for one GET that needs no obstore."""
        if isinstance(self._store, HTTPStore):
            return f"{self._url}/{name}"
        return obstore.sign(self._store, "GET", name, timedelta(minutes=1))


def _version(size: int, etag: str) -> str:
    return f"{size} bytes" + (f" with ETag {etag}" if etag else "")


def _endpoint(url: str) -> str:
    """The server behind a bucket, in words, where the address does not name it and a variable does."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") if url.startswith("s3") else ()
    found = next(filter(None, map(os.environ.get, names)), "")
    return f" (server {without_login(found)})" if found else ""
