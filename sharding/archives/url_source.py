"""An object behind a URL as bytes at any offset, for reading it once from front to back.

`http(s)://` is streamed over one connection, which is resumed at the byte where it broke; `s3://` and the like are read
by ranged GETs. The object is pinned: one that changes while it is read is an error. Memory: `CACHED_BLOCKS` blocks.
"""

import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from sharding.archives.byte_source import ByteSource, LocalFile
from sharding.errors import DataError
from sharding.machine.threads import END_S, Fetchers
from sharding.stores.credentials import check_login, http_headers, without_login
from sharding.stores.opening import open_store

DOWNLOAD_BLOCK_BYTES = 1 << 20
CACHED_BLOCKS = 96
"""Blocks in memory: a reader of many threads jumps ahead and back within them."""

AHEAD_BLOCKS = 4
"""Blocks that are read ahead of sequential reads."""

MAX_JUMP_BLOCKS = 64
"""A forward jump of at most this many blocks is read through; a larger one makes a new request."""

_TRANSIENT = (408, 429, 500, 502, 503, 504)  # HTTP statuses that are retried
T = TypeVar("T")


def open_source(address: str) -> ByteSource:
    """Open a file or a URL as a byte source.

    Raises:
        DataError: It is missing or may not be read.
    """
    scheme = address.partition("://")[0] if "://" in address else "file"
    if scheme in ("http", "https"):
        return HttpObject(address)
    return LocalFile(address.removeprefix("file://")) if scheme == "file" else StoredObject(address)


class _Blocks:
    """Blocks of an object, the last used ones cached, a few read ahead. A lock lets one thread fetch at a time."""

    name: str
    size: int

    def __init__(self) -> None:
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._fetcher: Fetchers[None] = Fetchers(1)
        self._ahead: Future[None] | None = None
        self._last = -2  # so that a first read at block 0 is no sequential one
        self._closed = threading.Event()

    def _fetch(self, index: int) -> bytes:
        """Return the bytes of a block that is not cached; called under the lock."""
        raise NotImplementedError

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes from `offset`, fewer only at the end.

        Raises:
            DataError: The object can no longer be read, or has changed.
        """
        end = min(offset + num_bytes, self.size)
        if end <= offset:
            return b""
        first, last = offset // DOWNLOAD_BLOCK_BYTES, (end - 1) // DOWNLOAD_BLOCK_BYTES
        data = b"".join(self._block(index) for index in range(first, last + 1))
        # `_last` is not locked: with several readers a wrong guess costs or saves one prefetch, no more.
        if first - self._last in (0, 1):  # not after a jump: the first read is often one of the magic bytes only
            self._read_ahead(last + 1)
        self._last = last
        return data[offset - first * DOWNLOAD_BLOCK_BYTES : end - first * DOWNLOAD_BLOCK_BYTES]

    def _block(self, index: int) -> bytes:
        # Held while fetching: a reader of a block that is being read ahead waits for it instead of fetching it twice.
        with self._lock:
            if index not in self._cache:
                self._keep(index, self._fetch(index))
            self._cache.move_to_end(index)
            return self._cache[index]

    def _keep(self, index: int, data: bytes) -> None:
        self._cache[index] = data
        while len(self._cache) > CACHED_BLOCKS:
            self._cache.popitem(last=False)

    def _read_ahead(self, index: int) -> None:
        if not self._closed.is_set() and (self._ahead is None or self._ahead.done()):
            self._ahead = self._fetcher.submit(partial(self._fill, index))

    def _fill(self, index: int) -> None:
        """Read blocks ahead; an error is ignored, because it occurs again when the block is requested."""
        for ahead in range(index, min(index + AHEAD_BLOCKS, -(-self.size // DOWNLOAD_BLOCK_BYTES))):
            if self._closed.is_set():
                return
            try:
                self._block(ahead)
            except DataError:
                return

    def close(self) -> None:
        """End the reading ahead; a read that hangs is abandoned."""
        self._closed.set()
        wait([self._ahead] if self._ahead else [], END_S)


class HttpObject(_Blocks):
    """A file behind `http(s)://`.

    From a server without ranges the file is read once from the start; a broken connection cannot be resumed.

    Args:
        url: Address of the file.
        timeout_s: Seconds without a byte after which a connection counts as lost.
        retries: Maximum attempts without progress after the first.
        delay_s: Seconds before the first retry; doubles with each, up to 30 s.

    Raises:
        DataError: There is no such file, it may not be read, or the server does not report its size.
    """

    def __init__(self, url: str, timeout_s: float = 60, retries: int = 8, delay_s: float = 0.5) -> None:
        super().__init__()
        self._timeout_s, self._retries, self._delay_s = timeout_s, retries, delay_s
        check_login(url)
        self.name, query = without_login(url), urlsplit(url).query
        self._url, self._login = f"{self.name}?{query}" if query else self.name, http_headers(url, os.environ)
        self.size = -1
        self._ranges, self._version = False, ("", "")  # whether the server sends ranges; ETag and Last-Modified
        self._response: http.client.HTTPResponse | None = None
        self._position = 0
        try:
            self._persist(lambda: self._connect(0))
        except BaseException:
            self.close()
            raise

    def _fetch(self, index: int) -> bytes:
        block = self._position // DOWNLOAD_BLOCK_BYTES  # the next one of the connection
        if not block <= index <= block + MAX_JUMP_BLOCKS:
            block = index
            self._drop()
        for number in range(block, index):  # blocks of the jump are read from the connection too, and cached
            if number not in self._cache or self._response is not None:
                self._keep(number, self._stream(number))
        return self._stream(index)

    def _stream(self, index: int) -> bytes:
        """Read a block from the connection; a lost connection is resumed at the byte where it broke."""
        start = index * DOWNLOAD_BLOCK_BYTES
        wanted = min(DOWNLOAD_BLOCK_BYTES, self.size - start)
        data = bytearray()

        def read_on() -> None:
            if self._response is None or self._position != start + len(data):
                self._connect(start + len(data))
            while len(data) < wanted:
                data.extend(self._receive(wanted - len(data)))

        self._persist(read_on, lambda: len(data))
        return bytes(data)

    def _receive(self, num_bytes: int) -> bytes:
        if self._response is None:
            raise self._was_closed()
        piece = self._response.read1(min(num_bytes, 1 << 18))
        if not piece:
            raise ConnectionError(f"connection closed at byte {self._position} of {self.size}")
        self._position += len(piece)
        return piece

    def _persist(self, action: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Run `action`, again after a transient error; the pauses grow, and start over after progress."""
        failures, reached = 0, progress()
        while True:
            try:
                return action()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _TRANSIENT:
                    raise self._refused(error) from error
                problem: Exception = error
            except (OSError, http.client.HTTPException) as error:
                problem = error
            self._drop()
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            if failures > self._retries:
                raise DataError(
                    f"{self.name}: expected to continue at byte {self._position}, but {failures} attempts failed, "
                    f"the last with: {problem}; run again when the network or the server is back"
                ) from problem
            if self._closed.wait(min(30.0, self._delay_s * 2 ** (failures - 1))):  # a pause that `close` ends
                raise self._was_closed() from problem

    def _was_closed(self) -> DataError:
        return DataError(f"{self.name}: was closed while it was read")

    def _connect(self, offset: int) -> None:
        """Open a connection that streams from `offset`."""
        self._drop()
        if offset and not self._ranges:
            raise DataError(
                f"{self.name}: the server does not send parts of a file, so reading cannot resume at byte {offset}; "
                "download the file with another tool and give its path"
            )
        # "identity": offsets are of the stored bytes, so the server must not compress them.
        request = urllib.request.Request(
            self._url, headers={"Range": f"bytes={offset}-", "Accept-Encoding": "identity", "User-Agent": "depthstream"}
        )
        for name, value in self._login.items():
            request.add_unredirected_header(name, value)  # a redirect may lead to another server
        response = urllib.request.urlopen(request, timeout=self._timeout_s)
        try:
            self._check(response, offset)
        except BaseException:
            response.close()
            raise
        self._response, self._position = response, offset

    def _check(self, response: http.client.HTTPResponse, offset: int) -> None:
        """Record size and version, or compare them; check that the server honoured the range."""
        ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        partial = response.status == 206 and ranged is not None
        size = int(ranged[2]) if partial and ranged else int(response.headers.get("Content-Length") or -1)
        version = (response.headers.get("ETag") or "", response.headers.get("Last-Modified") or "")
        if size < 0:
            raise DataError(f"{self.name}: expected the server to report the size, found no Content-Length")
        if self.size < 0:  # the first answer, which pins the file
            self.size, self._version, self._ranges = size, version, partial
        found, expected = (size, *version), (self.size, *self._version)
        if found != expected:
            raise DataError(
                f"{self.name}: the file changed while it was read: size, ETag and date were {expected}, are {found}; "
                "start again"
            )
        if offset and not (partial and ranged and int(ranged[1]) == offset):
            raise DataError(f"{self.name}: expected data from byte {offset}, found that the server sends other bytes")

    def _refused(self, error: urllib.error.HTTPError) -> DataError:
        advice = {
            401: "a login is required: set DEPTHSTREAM_HTTP_TOKEN, or check it",
            403: "it may not be read from here: check the address and your rights",
            404: "there is no such file: check the address",
        }.get(error.code, "check the address")
        return DataError(f"{self.name}: expected a file, found status {error.code} ({error.reason}): {advice}")

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        """End the reading ahead and close the connection."""
        super().close()
        self._drop()


class StoredObject(_Blocks):
    """An object of a store: `s3://bucket/key`, `gs://`, `az://`. A process that used one must not fork.

    Args:
        url: Address of the object.

    Raises:
        DataError: There is no such object, or it may not be read.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        prefix, _, self._key = url.rpartition("/")
        self.name = without_login(url)
        self._store = open_store(prefix)
        size = self._store.size(self._key)
        if size is None:
            raise DataError(f"{self.name}: expected an object, found none")
        self.size = size

    def _fetch(self, index: int) -> bytes:
        start = index * DOWNLOAD_BLOCK_BYTES
        return bytes(self._store.read(self._key, [(start, min(DOWNLOAD_BLOCK_BYTES, self.size - start))])[0])
