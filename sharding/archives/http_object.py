"""A file behind `http(s)://`, streamed over one connection, which is resumed at the byte where it broke."""

import http.client
import os
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from sharding.archives.blocks import DOWNLOAD_BLOCK_BYTES, Blocks
from sharding.archives.http_answers import GATEWAY, explain, open_request, read_extent
from sharding.errors import DataError, UsageError
from sharding.hiding import without_login
from sharding.stores.address import encode_web, split_address
from sharding.stores.credentials import find_proxy, http_headers
from sharding.stores.retry import announce

MAX_JUMP_BLOCKS = 64
"""A forward jump of at most this many blocks is read through; a larger one makes a new request."""

UNANSWERED_S, ANSWER_S = 15.0, 20.0
"""Seconds in which a file is requested again while nothing answers, and until its first answer begins."""

T = TypeVar("T")


class HttpObject(Blocks):
    """A file behind `http(s)://`.

    From a server without ranges the file is read once from the start; a broken connection cannot be resumed.

    Args:
        url: Address of the file.
        timeout_s: Seconds without a byte after which a connection counts as lost.
        retries: Maximum attempts without progress after the first.
        delay_s: Seconds before the first retry; doubles with each, up to 30 s.

    Raises:
        DataError: There is no such file, it may not be read, or the server does not report its size.
        UsageError: The address is wrong, or its proxy cannot be used.
    """

    def __init__(self, url: str, timeout_s: float = 60, retries: int = 8, delay_s: float = 0.5) -> None:
        super().__init__()
        self._timeout_s, self._retries, self._delay_s = timeout_s, retries, delay_s
        query = split_address(url).query
        self.name, self._login = without_login(url), http_headers(url, os.environ)
        self._url = encode_web(f"{self.name}?{query}" if query else self.name)
        self._proxy = find_proxy(url, os.environ)
        if self._proxy and self._proxy.address.lower().startswith("socks"):
            raise UsageError(
                f"{self._proxy}: archives are read through http:// proxies; download it, and give its path"
            )
        self._opened = time.monotonic()
        self.size = -1
        self._ranges, self._version = False, ("", "")  # whether the server sends ranges; ETag and Last-Modified
        self._response: http.client.HTTPResponse | None = None
        self._position, self._answered = 0, False
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
        self._position, self._answered = self._position + len(piece), True
        return piece

    def _persist(self, action: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Run `action`, again after a transient error; the pauses grow, and start over after progress."""
        failures, reached = 0, progress()
        while True:
            try:
                return action()
            except (OSError, http.client.HTTPException) as error:
                problem = explain(error)
            self._drop()
            if problem.lasting:
                raise DataError(f"{self.name}: expected a file, found {problem.text}{self._via()}: {problem.advice}")
            self._answered |= self._is_of_the_server(problem.status)
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            pause_s, left_s = self._pauses(failures)
            if pause_s > left_s:
                raise DataError(
                    f"{self.name}: expected to continue at byte {self._position}, but {failures} attempts failed, "
                    f"the last with: {problem.text}{self._via()}; run again when the network or the server is back"
                )
            announce(self.name, f"{problem.text}{self._via()}", left_s)
            if self._closed.wait(pause_s):  # a pause that `close` ends
                raise self._was_closed()

    def _pauses(self, failures: int) -> tuple[float, float]:
        """Return the pause after so many failures, and the seconds within which attempts begin."""
        pauses = [min(30.0, self._delay_s * 2**count) for count in range(self._retries)]
        left_s = sum(pauses[failures - 1 :])
        if not self._answered:  # by nothing at that address yet: it is more likely wrong than down
            left_s = min(left_s, self._opened + UNANSWERED_S - time.monotonic())
        return (pauses[failures - 1], left_s) if failures <= self._retries else (1.0, 0.0)

    def _is_of_the_server(self, status: int | None) -> bool:
        """Tell whether a status was answered by the server; a proxy answers with a gateway's if there is no server."""
        asks_proxy = self._proxy and self._url.startswith("http:")  # through a tunnel the server itself answers
        return status is not None and not (asks_proxy and status in GATEWAY)

    def _via(self) -> str:
        return f" (through {self._proxy})" if self._proxy else ""

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
        response = open_request(request, self._timeout_s if self.size >= 0 else min(self._timeout_s, ANSWER_S))
        try:
            self._check(response, offset)
        except BaseException:
            response.close()
            raise
        self._response, self._position = response, offset

    def _check(self, response: http.client.HTTPResponse, offset: int) -> None:
        """Record size and version, or compare them; check that the server honoured the range."""
        size, partial = read_extent(self.name, response, offset)
        version = (response.headers.get("ETag") or "", response.headers.get("Last-Modified") or "")
        if self.size < 0:  # the first answer, which pins the file
            self.size, self._version, self._ranges = size, version, partial
        found, expected = (size, *version), (self.size, *self._version)
        if found != expected:
            raise DataError(
                f"{self.name}: the file changed while it was read: size, ETag and date were {expected}, are {found}; "
                "start again"
            )
        if offset and not partial:
            raise DataError(f"{self.name}: expected data from byte {offset}, found that the server sends other bytes")

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        """End the reading ahead and close the connection."""
        super().close()
        self._drop()
