"""Where a set lives: a local folder or a URL. A store reads named objects whole or by byte ranges.

Retries, caches and counters are stores wrapped around stores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

Range = tuple[int, int]
"""Offset and number of bytes."""

Buffer = bytes | memoryview
"""What was read; a view where a copy would cost as much as the network."""


class Store(Protocol):
    """Read access to the objects of one set."""

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Return the bytes of each range of object `name`; a short object gives a DataError."""
        ...

    def read_all(self, name: str) -> bytes:
        """Return a whole object, or raise a DataError if there is none."""
        ...

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None if there is none."""
        ...

    def local_path(self, name: str) -> Path | None:
        """Return the file behind an object, None if it is not on this machine."""
        ...

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Be told that these ranges will be read soon.

        Returns:
            Whether all are in a cache on this machine, so that nothing is gained by reading them before their time.
        """
        ...

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Be told that what was read of these ranges was damaged: drop it, where it is kept.

        Returns:
            Whether reading again may give something else.
        """
        ...
