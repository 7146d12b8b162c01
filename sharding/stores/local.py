"""A local folder as a store."""

import errno
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from sharding.errors import DataError
from sharding.machine.regular import open_descriptor, read_regular
from sharding.stores.store import Range

OPEN_FILES = 16
"""Files that a store keeps open: an epoch's order reads from few shards at a time, and a process may hold many sets."""


class _OpenFile:
    """A file that is closed when nothing refers to it, so not while another thread still reads from it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = open_descriptor(path)

    def __del__(self) -> None:
        if (descriptor := getattr(self, "descriptor", None)) is not None:  # None if it could not be opened
            os.close(descriptor)


class LocalStore:
    """A folder whose files are the objects; those that were read last stay open.

    Args:
        root: Path of the folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)
        self._opened = lru_cache(OPEN_FILES)(_OpenFile)  # of no method: the store would refer to itself

    def _open_file(self, name: str) -> "_OpenFile":
        try:
            return self._opened(self._root / name)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._opened.cache_clear()  # the process has too many files open, among them ours
            return self._opened(self._root / name)

    def read(self, name: str, ranges: Sequence[Range]) -> list[bytes]:
        """Read each range with `pread`, which moves no shared file position.

        Raises:
            DataError: The file is missing, unreadable or truncated.
        """
        try:
            file = self._open_file(name)
        except OSError as error:
            raise DataError(f"{self._root / name}: expected a readable file: {error.strerror}") from error
        return [self._pread(file.descriptor, name, offset, length) for offset, length in ranges]

    def _pread(self, file: int, name: str, offset: int, length: int) -> bytes:
        try:
            data = os.pread(file, length, offset)
            # One call may return less than asked for: Linux reads at most 2 GiB - 4 KiB at once.
            while 0 < len(data) < length and (more := os.pread(file, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise DataError(
                f"{self._root / name}: expected to read {length} bytes at {offset}: {error.strerror}"
            ) from error
        if len(data) != length:
            raise DataError(
                f"{self._root / name}: expected {length} bytes at {offset}, found {len(data)}; the file is truncated"
            )
        return data

    def read_all(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            DataError: It is missing or unreadable.
        """
        try:
            return read_regular(self._root / name, sys.maxsize)
        except OSError as error:
            raise DataError(f"{self._root / name}: expected a readable file: {error.strerror}") from error

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if there is none."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def local_path(self, name: str) -> Path | None:
        """Return the path of the file, whether it exists or not."""
        return self._root / name

    def is_cached(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return False: the folder may be a network mount, where reading ahead helps."""
        return False

    def invalidate(self, name: str, ranges: Sequence[Range]) -> bool:
        """Return False: a file gives the same bytes again."""
        return False
