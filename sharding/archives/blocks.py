"""Blocks of an object behind a URL: the last used ones in memory, a few read ahead."""

import threading
from collections import OrderedDict
from concurrent.futures import Future, wait
from functools import partial

from sharding.errors import DataError
from sharding.machine.threads import END_S, Fetchers

DOWNLOAD_BLOCK_BYTES = 1 << 20
CACHED_BLOCKS = 96
"""Blocks in memory: a reader of many threads jumps ahead and back within them."""

AHEAD_BLOCKS = 4
"""Blocks that are read ahead of sequential reads."""


class Blocks:
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

    def has_changed(self) -> bool:
        """Return False: versions are compared whenever it is requested."""
        return False

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
