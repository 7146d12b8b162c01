"""Read-only bytes at any offset: a local file here, an object behind a URL in `url_source`."""

import io
import os
from typing import Protocol

from sharding.errors import DataError
from sharding.machine.regular import open_descriptor


class ByteSource(Protocol):
    """A read-only object of known size. `read_at` may be called from several threads.

    Attributes:
        name: Its name in messages.
        size: Its size in bytes.
    """

    name: str
    size: int

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes from `offset`, fewer only at the end of the object."""
        ...

    def has_changed(self) -> bool:
        """Tell whether it was written to since it was opened; one that cannot tell compares versions as it reads."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class LocalFile:
    """A regular file on this machine.

    Raises:
        DataError: It cannot be opened, or is something else, such as a named pipe.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = str(path)
        try:
            self._file = os.fdopen(open_descriptor(path), "rb", buffering=0)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            raise DataError(f"{path}: expected a readable archive: {getattr(error, 'strerror', error)}") from error
        self._opened = os.fstat(self._file.fileno())
        self.size = self._opened.st_size

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes from `offset`, fewer only at the end of the file."""
        pieces = []
        try:
            # One pread may return less than requested: Linux reads at most 2 GiB - 4 KiB at once.
            while num_bytes > 0 and (piece := os.pread(self._file.fileno(), num_bytes, offset)):
                pieces.append(piece)
                offset += len(piece)
                num_bytes -= len(piece)
        except OSError as error:
            raise DataError(f"{self.name}: expected to read at byte {offset}: {error.strerror}") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def has_changed(self) -> bool:
        """Compare size and modification time."""
        now = os.fstat(self._file.fileno())
        return (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ByteView(io.RawIOBase):
    """A seekable file: `prefix`, the source from byte `start`, `suffix`; its position is independent of the source.

    A C++ decoder calls it from its own threads and rewords a failed read: the original exception is in `failure`.
    """

    def __init__(self, source: ByteSource, prefix: bytes = b"", start: int = 0, suffix: bytes = b"") -> None:
        self._source, self._prefix, self._start, self._suffix = source, prefix, start, suffix
        self._size = len(prefix) + source.size - start + len(suffix)
        self._position = 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` from `whence`, as files do; return the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; the rest of the file if it is negative."""
        wanted = max(0, self._size - self._position)
        wanted = min(wanted, size) if size >= 0 else wanted
        head = self._prefix[self._position : self._position + wanted]  # empty behind the prefix
        rest = wanted - len(head)
        try:
            # Offset in the source of the part of the read that is behind the prefix.
            offset = self._start + self._position + len(head) - len(self._prefix)
            data = head + self._source.read_at(offset, rest) if rest else head
            behind = max(0, offset - self._source.size)  # where in the suffix the read begins
            data += self._suffix[behind : behind + wanted - len(data)]
        except Exception as error:
            self.failure = self.failure or error  # the first one is the cause of later ones
            raise
        self._position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
