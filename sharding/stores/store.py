"""The interface of a store: it reads the named objects of one set, whole or by byte ranges.

Retries and the cache are stores wrapped around other stores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

Range = tuple[int, int]
"""Offset and length in bytes."""

Buffer = bytes | memoryview
"""Bytes that were read; a view where a copy would cost as much as the network."""


class Store(Protocol):
    """Read access to the objects of one set."""

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[Buffer]:
        """Return the bytes of each range of object `name`, in the order of `ranges`.

        Raises:
            DataError: The object is missing, or ends before a range does.
        """
        ...

    def read_all(self, name: str) -> bytes:
        """Return a whole object.

        Raises:
            DataError: It is missing.
        """
        ...

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes, None if there is none."""
        ...

    def local_path(self, name: str) -> Path | None:
        """Return the file behind an object, None if it is not on this machine."""
        ...

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Tell whether all ranges are in a cache on this machine, so that prefetching them gains nothing.

        They will be read soon: a store may have the disk read them ahead.
        """
        ...

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Drop these ranges from every cache, because the bytes that were read are damaged.

        Returns:
            Whether reading again may give other bytes.
        """
        ...
