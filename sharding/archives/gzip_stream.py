"""Inflate a gzip file on all cores and take seek points on the way. The only file that imports rapidgzip.

A rapidgzip reader has its own threads and must be closed before the process ends.
"""

import zlib
from typing import Any

from sharding.archives.byte_source import ByteSource, ByteView
from sharding.archives.seek_point import WINDOW_BYTES, SeekPoint, enter_gzip
from sharding.errors import DataError

CHUNK_BYTES = 2 << 20
"""Compressed bytes that one thread inflates at a time; half of it takes a third more CPU, double of it more memory."""

POINT_STRIDE_BYTES = 64 << 20
"""Compressed bytes between seek points."""

RENEWAL_BYTES = 128 << 20
"""Compressed bytes after which a reader is replaced: it keeps a window of every chunk that it ever read."""

_TAIL_BYTES = 1024  # no seek point in these last bytes of the file, where the stream may already have ended


class GzipStream:
    """The plain bytes of a gzip file, in order; its checksum is verified, also after a resume.

    Memory: some inflated chunks for each thread, 20 to 120 MiB in all; a gzip bomb, which inflates to a thousand times
    its size, took up to 1.2 GiB.

    A file of several gzip streams is read if it is smaller than `RENEWAL_BYTES`. A seek point in any stream but the
    first, whether saved or of a renewal, gives a checksum mismatch where that stream ends.

    Args:
        source: The gzip file.
        point: Where to begin; None for the start. The stream is then at `point.offset`.
        threads: Number of threads; 0 for all cores.
        stride_bytes: Compressed bytes between seek points.

    Raises:
        DataError: It is not a gzip file.
    """

    def __init__(
        self,
        source: ByteSource,
        point: SeekPoint | None = None,
        threads: int = 0,
        stride_bytes: int = POINT_STRIDE_BYTES,
    ) -> None:
        self._source, self._point, self._stride = source, point, stride_bytes
        self._entered = False
        self._begin = 0
        self._position = self._plain_shift = self._crc32 = self._bit_shift = 0
        self._window = b""
        self._view = ByteView(source)
        if point is not None:
            self._enter(point)
        self._threads = threads
        self._file = self._open()
        self._skip_prefix(point)

    def _enter(self, point: SeekPoint) -> None:
        first = self._source.read_at(point.bit // 8, 1)
        if not first:
            raise DataError(
                f"{self._source.name}: the saved seek point is at byte {point.bit // 8}, found {self._source.size} "
                "bytes: it is of another file, or this one was truncated"
            )
        start = enter_gzip(point, first[0])
        self._entered, self._begin = True, start.start
        self._view = ByteView(self._source, start.prefix, start.start)
        self._position, self._crc32, self._window = point.offset, point.crc32, point.window
        # Added to an offset of the reader, these give the offset in the original: in plain bytes, in compressed bits.
        self._plain_shift = point.offset - start.plain_bytes
        self._bit_shift = 8 * (start.start - len(start.prefix))

    def _open(self) -> Any:
        from rapidgzip import RapidgzipFile

        try:
            return RapidgzipFile(self._view, self._threads, chunk_size=CHUNK_BYTES)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error

    def _skip_prefix(self, point: SeekPoint | None) -> None:
        """Read and discard the plain bytes that `enter_gzip` put before the point."""
        left = point.offset - self._plain_shift if point else 0  # `GzipEntry.plain_bytes`
        try:
            while left:
                data = self._read(left)  # not `_advance`: position, checksum and window are the point's already
                if not data:
                    raise self._failure(EOFError("ends before the seek point"))
                left -= len(data)
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Offset of the next byte in the inflated stream."""
        return self._position

    @property
    def compressed_position(self) -> int:
        """Compressed bytes that were consumed, to the precision of a chunk."""
        return int(self._file.tell_compressed() + self._bit_shift) // 8

    @property
    def point(self) -> SeekPoint | None:
        """The last seek point that was passed; None for the start of the file."""
        return self._point

    def read(self, num_bytes: int) -> bytes:
        """Return 1 to `num_bytes` bytes, b"" only at the end.

        Raises:
            DataError: The file is damaged or truncated, or bytes follow the gzip stream.
        """
        # `_begin` is where this reader began; a new one can only begin at a seek point.
        if self._point is not None and self._point.bit // 8 - self._begin >= RENEWAL_BYTES:
            self._renew(self._point)
        return self._advance(num_bytes)

    def _renew(self, point: SeekPoint) -> None:
        """Replace the reader: enter at the last seek point and read up to where the old one was."""
        position = self._position
        self._file.close()
        self._enter(point)
        self._file = self._open()
        self._skip_prefix(point)
        while self._position < position:  # through `_advance`, which takes checksum and window along
            self._advance(min(position - self._position, CHUNK_BYTES))

    def _advance(self, num_bytes: int) -> bytes:
        wanted = self._point_is_due()
        block = self._file.tell_compressed()  # if it changes, a block begins in what is read next
        data = self._read(num_bytes)
        # An end before the last byte of the file: the stream is damaged, or other bytes follow it.
        if not data and num_bytes and self.compressed_position != self._source.size:
            raise self._failure(EOFError(f"ends at compressed byte {self.compressed_position}"))
        if wanted and self._file.tell_compressed() != block:
            self._plant(data)
        self._position += len(data)  # `_crc32` and `_window` are of the plain bytes before it
        self._crc32 = zlib.crc32(data, self._crc32)
        self._window = _tail(self._window, data)
        return data

    def _read(self, num_bytes: int) -> bytes:
        try:
            return bytes(self._file.read(num_bytes))
        except (ValueError, RuntimeError, OSError) as error:
            raise self._failure(error) from error

    def _point_is_due(self) -> bool:
        last = self._point.bit // 8 if self._point else 0
        return self.compressed_position - last >= self._stride

    def _plant(self, data: bytes) -> None:
        """Take a seek point at the block that begins within `data`, which `position` does not include yet."""
        bit = int(self._file.tell_compressed())  # of the reader, as are the keys of its block offsets
        # Offset of the block in `data`; outside of it if the reader does not know the block.
        start = self._file.available_block_offsets().get(bit, -1) + self._plain_shift - self._position
        bit += self._bit_shift
        if 0 <= start <= len(data) and bit < 8 * (self._source.size - _TAIL_BYTES):
            self._point = SeekPoint(
                bit=bit,
                offset=self._position + start,
                crc32=zlib.crc32(data[:start], self._crc32),
                window=_tail(self._window, data[:start]),
            )

    def _failure(self, error: Exception) -> DataError:
        if isinstance(self._view.failure, DataError):  # the source could not be read: rapidgzip rewords that
            return self._view.failure
        entered = "; reading began at a seek point, which is valid for a file of one gzip stream only"
        return DataError(
            f"{self._source.name}: expected one valid gzip file of {self._source.size} bytes, found it damaged, "
            f"truncated or followed by other bytes, beyond byte {self._position} of what it inflates to: {error}; "
            f"compare its size with the published one and download it again{entered if self._entered else ''}"
        )

    def close(self) -> None:
        """Close the reader, which ends its threads."""
        if hasattr(self, "_file"):
            self._file.close()


def _tail(before: bytes, data: bytes) -> bytes:
    return data[-WINDOW_BYTES:] if len(data) >= WINDOW_BYTES else (before + data)[-WINDOW_BYTES:]
