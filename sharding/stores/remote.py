"""A store behind a URL, read through obstore: `s3://`, `gs://`, `az://`, `http(s)://`."""

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
from sharding.hiding import BUCKETS, conceal, without_login
from sharding.machine.threads import Fetchers
from sharding.stores.address import encode_web
from sharding.stores.client import TimeLimits, open_client
from sharding.stores.credentials import find_proxy
from sharding.stores.failure import NO_BUCKET, RequestFailure, no_panic, read_failure
from sharding.stores.ranges import MAX_MERGED_BYTES, cut_range, merge_ranges
from sharding.stores.retry import ReadFailed
from sharding.stores.retry_after import ask_retry_after
from sharding.stores.store import Buffer, Range

PARALLEL_REQUESTS = 16
"""Maximum number of requests in flight for reads of several ranges, over all threads that share a store."""

GZIP_MAGIC = b"\x1f\x8b\x08"
_FOREIGN_ADVICE = (
    "an object store names a code with a refusal, and this has none: a proxy (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) or a "
    "firewall may have answered, or another kind of server"
)


class RemoteStore:
    """A prefix of an object store or web server that answers ranged GETs. Nothing is retried here.

    Objects are pinned, so that the ranges of a shard always come from one version of it: a size other than the expected
    one, or a size or ETag other than the first that this store saw, is an error. Threads may share a store.

    Args:
        url: Address of the set. S3 takes the standard AWS variables and profiles; see docs/object-stores.md.
        expected_bytes: Object name -> size in bytes, where it is known.
        limits: Time limits of each request.

    Raises:
        UsageError: There are no credentials, or the address is wrong.
    """

    def __init__(
        self, url: str, expected_bytes: Mapping[str, int] | None = None, limits: TimeLimits | None = None
    ) -> None:
        self._url, self._expected = without_login(url), dict(expected_bytes or {})
        self._address, self._limits = url, limits or TimeLimits()
        self._store, self._headers = open_client(url, self._limits)
        self._server = _server(url)
        self._bucket_is_there = not url.startswith(BUCKETS)  # a web server has none
        self._seen: dict[str, tuple[int, str]] = {}  # object -> (size, ETag) of its first answer
        self._fetchers: Fetchers[memoryview | ReadFailed] = Fetchers(PARALLEL_REQUESTS)
        # One thread at a time asks a throttling server how long to wait; its answer holds for all until `_quiet_until`.
        self._asking, self._tells_when, self._quiet_until = threading.Lock(), True, 0.0

    def read(self, name: str, ranges: Sequence[Range]) -> list[Buffer]:
        """Read the ranges in parallel; those that touch become one request. No other byte is requested.

        Raises:
            ReadFailed: Some could not be read for a transient reason; the error carries the others.
            DataError: They are not available, or the object was replaced.
        """
        spans = merge_ranges(ranges, limit_bytes=MAX_MERGED_BYTES)
        attempts = [partial(self._attempt, name, span) for span in spans]
        if len(attempts) > 1:
            # The inner list submits all of them before the outer one waits for the first.
            results = [future.result() for future in [self._fetchers.submit(attempt) for attempt in attempts]]
        else:
            results = [attempt() for attempt in attempts]  # a single request needs no other thread
        arrived = [data if isinstance(data, memoryview) else None for data in results]
        pieces = list(zip(spans, arrived, strict=True))
        found = [cut_range(pieces, span) for span in ranges]
        failures = [error for error in results if isinstance(error, ReadFailed)]
        if failures:
            wait_s = max((error.wait_s for error in failures if error.wait_s), default=None)
            error, unreachable = failures[0], all(error.unreachable for error in failures)
            raise ReadFailed(error.where, error.reason, found=found, wait_s=wait_s, unreachable=unreachable)
        return [data for data in found if data is not None]

    @cached_property
    def _patient(self) -> Any:
        """A client with a longer time limit: a whole object can be large, and the link slow."""
        return open_client(self._address, replace(self._limits, request_s=self._limits.whole_s))[0]

    def read_all(self, name: str) -> bytes:
        """Read a whole object.

        Raises:
            ReadFailed: The request failed for a transient reason.
            DataError: The object is not available, or was replaced.
        """
        try:
            with no_panic():
                found = obstore.get(self._patient, name)
                data = bytes(found.bytes())
        except Exception as error:
            raise self._failure(name, None, error) from None
        if data.startswith(GZIP_MAGIC) and not name.endswith(".gz"):
            raise DataError(
                f"{self._url}/{name}: expected it as it was written, found it compressed with gzip; upload the set "
                "again without compression (no Content-Encoding)"
            )
        self._pin(name, found.meta["size"], found.meta["e_tag"])
        return data

    def size(self, name: str) -> int | None:
        """Request the object's size in bytes (HTTP HEAD); None if there is no such object.

        Raises:
            ReadFailed: The request failed for a transient reason.
            DataError: The answer is not available, or the object was replaced.
        """
        try:
            with no_panic():
                found = obstore.head(self._store, name)
        except FileNotFoundError:
            self._check_bucket(name)
            return None
        except Exception as error:
            raise self._failure(name, None, self._explained(name, error)) from None
        self._pin(name, found["size"], found["e_tag"])
        return int(found["size"])

    def _asked_by_get(self, name: str) -> Exception | None:
        """Return the error of a GET of one byte: a refused HEAD has no text that would tell its reason."""
        try:
            with no_panic():
                obstore.get(self._store, name, options={"range": (0, 1)})
        except Exception as error:
            return error
        return None

    def _explained(self, name: str, error: Exception) -> Exception:
        refused = read_failure(str(error)).status in (400, 401, 403)
        return (self._asked_by_get(name) if refused else None) or error

    def _check_bucket(self, name: str) -> None:
        """Raise if an object is missing because its bucket is; asks once."""
        if self._bucket_is_there:
            return
        error = self._asked_by_get(name)
        if error and read_failure(str(error)).code in NO_BUCKET:
            raise self._failure(name, None, error)
        self._bucket_is_there = True

    def local_path(self, name: str) -> Path | None:
        """Return None: no object of a remote store is on this machine."""
        return None

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return False: this store has no cache."""
        return False

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return True: the bytes may have been damaged in transit."""
        return True

    def _attempt(self, name: str, span: Range) -> memoryview | ReadFailed:
        """Request a range once; return a transient failure instead of raising it, so that other ranges are not lost."""
        try:
            return self._fetch(name, span)
        except ReadFailed as error:
            return error

    def _fetch(self, name: str, span: Range) -> memoryview:
        start, length = span
        options: dict[str, Any] = {"range": (start, start + length)}  # the end is exclusive
        # With If-Match the server itself refuses (412) an object that was replaced since the first answer.
        etag = self._seen.get(name, (0, ""))[1]
        if etag and not etag.startswith("W/"):  # a weak ETag never matches (RFC 9110, 13.1.1)
            options["if_match"] = etag
        try:
            with no_panic():
                found = obstore.get(self._store, name, options=options)  # type: ignore[arg-type]
                data = memoryview(found.bytes())  # a view of obstore's own buffer, no copy
        except Exception as error:
            raise self._failure(name, span, error) from None
        self._pin(name, found.meta["size"], found.meta["e_tag"])
        if start + length > found.meta["size"]:
            size = found.meta["size"]
            raise DataError(
                f"{self._where(name, span)}: the object ends after {size} bytes; get a whole copy of the set"
            )
        if len(data) != length:
            raise ReadFailed(self._where(name, span), f"received {len(data)} of {length} bytes")
        return data

    def _pin(self, name: str, size: int, etag: str | None) -> None:
        """Compare size and ETag of an answer with the expected size and with the first answer, which is recorded.

        Raises:
            DataError: They differ.
        """
        expected = self._expected.get(name)
        if expected is not None and size != expected:
            raise DataError(
                f"{self._url}/{name}: expected {expected} bytes, as the manifest says, found {size}: the object was "
                "replaced or is truncated; get a whole copy of the set, or start again if the set was rebuilt"
            )
        first = self._seen.setdefault(name, (size, etag or ""))  # atomic: threads agree on one first answer
        if first != (size, etag or ""):
            raise self._changed(name, f"expected {_version(*first)}, found {_version(size, etag or '')}")

    def _changed(self, name: str, difference: str) -> DataError:
        return DataError(
            f"{self._url}/{name}: the object changed while it was read: {difference}; start again, and leave a set "
            "alone while it is read"
        )

    def _where(self, name: str, span: Range | None) -> str:
        return f"{self._url}/{name}" + (f", bytes {span[0]}-{sum(span) - 1}" if span else "")

    def _failure(self, name: str, span: Range | None, error: Exception) -> DataError:
        """Return the error to raise for an error of obstore, whose text is not shown: it may hold credentials."""
        failure = read_failure(conceal(str(error), os.environ))
        self._bucket_is_there |= failure.code == "NoSuchKey"
        if name in self._seen and failure.status == 412:
            return self._changed(name, f"it no longer has the ETag {self._seen[name][1]}")
        if name in self._seen and failure.status == 404:
            return self._changed(name, "it no longer exists")
        foreign = self._is_foreign(failure)
        where, reason = self._where(name, span), f"{failure}{self._server if failure.lost or foreign else ''}"
        if failure.transient:
            wait_s = self._wait_s(name, failure)
            return ReadFailed(where, reason, wait_s=wait_s, unreachable=failure.unreachable)
        if failure.out_of_range and span:
            self.size(name)  # raises if the object was replaced, and returns if only the range is wrong
        advice = _FOREIGN_ADVICE if foreign else failure.advice
        return DataError(f"{where}: expected to read it, but: {reason}; {advice}")

    def _is_foreign(self, failure: RequestFailure) -> bool:
        """Tell whether the refusal is not one of an object store, which always names a code."""
        return self._url.startswith(BUCKETS) and failure.status in (401, 403, 405) and not failure.code

    def _wait_s(self, name: str, failure: RequestFailure) -> float | None:
        """Return the seconds that a throttling server asks to wait, None if it does not tell.

        One thread asks for all; a server that refuses without telling when to retry is not asked again.
        """
        if not failure.throttled:
            return None
        with self._asking:  # other threads wait here, then find the answer in `_quiet_until`
            if (left := self._quiet_until - time.monotonic()) > 0:
                return left
            wait_s = self._ask_retry_after(name) if self._tells_when else None  # 0: refused, does not tell when
            self._tells_when = self._tells_when and wait_s != 0.0
            self._quiet_until = time.monotonic() + (wait_s or 0.0)
            return wait_s or None

    def _ask_retry_after(self, name: str) -> float | None:
        try:
            return ask_retry_after(self._plain_url(name), self._headers)
        except Exception:  # these credentials cannot sign a URL
            return 0.0

    def _plain_url(self, name: str) -> str:
        """Return an address for one GET without obstore: that of the object, signed for one minute at a bucket."""
        if isinstance(self._store, HTTPStore):
            return encode_web(f"{self._url}/{name}")
        return obstore.sign(self._store, "GET", name, timedelta(minutes=1))


def _version(size: int, etag: str) -> str:
    return f"{size} bytes" + (f" with ETag {etag}" if etag else "")


def _server(url: str) -> str:
    """Return the server and the proxy of an address, for messages, if variables name them; the address does not."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") if url.startswith("s3") else ()
    found = next(filter(None, map(os.environ.get, names)), "")
    said = [f"server {without_login(found)}"] * bool(found)
    if proxy := find_proxy(url, os.environ):
        said.append(f"through {proxy}")
    return f" ({', '.join(said)})" if said else ""
