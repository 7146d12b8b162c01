"""Inflate a gzip file on all cores and take seek points on the way. The only file that imports rapidgzip.

A rapidgzip reader has its own threads and must be closed before the process ends.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, TypeVar

from sharding.archives.byte_source import ByteSource, ByteView
from sharding.archives.seek_point import WINDOW_BYTES, SeekPoint, enter_gzip
from sharding.archives.stream_ends import FOOTER_BYTES, Footers, StreamCrc, WatchedSource
from sharding.errors import DataError
from sharding.limits import MAX_TAR_PADDING_BYTES
from sharding.machine.signals import hold_signals, hold_signals_within

T = TypeVar("T")

CHUNK_BYTES = 2 << 20
"""Compressed bytes that one thread inflates at a time; half of it takes a third more CPU, double of it more memory."""

POINT_STRIDE_BYTES = 64 << 20
"""Compressed bytes between seek points."""

RENEWAL_BYTES = 128 << 20
"""Compressed bytes after which a reader is replaced: it keeps a window of every chunk that it ever read."""

_ZEROS_ACCEPTED = 2  # by rapidgzip, behind the last stream
_IGNORED = 8
"""Bytes behind the last stream that rapidgzip may pass over, whatever they are; found: up to 4."""

_PIECE_BYTES = 1 << 20

_CALLED_BACK = {method.__code__ for method in vars(ByteView).values() if isinstance(method, FunctionType)}
"""Functions that rapidgzip calls, in this thread too."""

_INTERNAL = re.compile(r"\[[A-Za-z]\w*(::\w+)*( (0x)?[0-9a-fA-F]+)?\]")
"""Names of classes and threads in rapidgzip's errors: "[IsalInflateWrapper][Thread 140043546844032] Decoding ..."."""

_TAIL_BYTES = 1024  # no seek point in these last bytes of the file, where the stream may already have ended


class GzipStream:
    """The plain bytes of a gzip file, in order; its checksum is verified, also after a resume.

    Memory: some inflated chunks for each thread, 20 to 120 MiB in all; a gzip bomb, which inflates to a thousand times
    its size, took up to 1.2 GiB.

    The file may consist of several gzip streams, and zeros may follow the last, as `gzip` reads it.

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
        self._source, self._point, self._stride, self._threads = source, point, stride_bytes, threads
        self._size = source.size  # without zeros that follow the last stream
        self._shorter: list[int] | None = None  # other sizes to try; None: not known yet
        start = partial(self._start, point)
        self._unless_padded(start, start)

    def _start(self, point: SeekPoint | None) -> None:
        """Open a reader at a point; None for the start."""
        self._begin = self._plain_shift = self._bit_shift = 0
        self._window, self._footers = b"", Footers()
        self._crc = StreamCrc(self._footers)
        self._view = ByteView(WatchedSource(self._source, self._footers, self._size))
        if point is not None:
            self._enter(point)
        try:
            self._open()
            self._skip_prefix(point)
        except BaseException:
            self.close()
            raise

    def _enter(self, point: SeekPoint) -> None:
        first = self._source.read_at(point.bit // 8, 1)
        if not first:
            raise DataError(
                f"{self._source.name}: the saved seek point is at byte {point.bit // 8}, found {self._source.size} "
                "bytes: it is of another file, or this one was truncated"
            )
        start = enter_gzip(point, first[0])
        self._begin, self._window = start.start, point.window
        self._view = ByteView(WatchedSource(self._source, self._footers, self._size), start.prefix, start.start)
        self._crc = StreamCrc(self._footers, point.offset, point.begin, point.crc32, point.bit // 8)
        # Added to an offset of the reader, these give the offset in the original: in plain bytes, in compressed bits.
        self._plain_shift = point.offset - start.plain_bytes
        self._bit_shift = 8 * (start.start - len(start.prefix))

    def _open(self) -> None:
        from rapidgzip import RapidgzipFile

        try:
            with hold_signals():  # until it is an attribute: a reader that nobody closes calls the view as it is freed
                self._file: Any = RapidgzipFile(self._view, self._threads, chunk_size=CHUNK_BYTES)
        except (ValueError, RuntimeError) as error:
            raise self._failure(error) from error

    def _skip_prefix(self, point: SeekPoint | None) -> None:
        """Read and discard the plain bytes that `enter_gzip` put before the point."""
        left = point.offset - self._plain_shift if point else 0  # `GzipEntry.plain_bytes`
        while left:
            data = self._read(left)  # not `_advance`: position, checksum and window are the point's already
            if not data:
                raise self._failure(EOFError("ends before the seek point"))
            left -= len(data)

    @property
    def position(self) -> int:
        """Offset of the next byte in the inflated stream."""
        return self._crc.position

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
            DataError: The file is damaged or truncated, or other bytes than zeros follow the last gzip stream.
        """
        position = self.position

        def read_on() -> bytes:
            # `_begin` is where this reader began; a new one can only begin at a seek point.
            if self._point is not None and self._point.bit // 8 - self._begin >= RENEWAL_BYTES:
                self._renew(self._point, position)
            return self._advance(num_bytes)

        def read_again() -> bytes:
            self._renew(self._point, position)
            return self._advance(num_bytes)

        return self._unless_padded(read_on, read_again)

    def _renew(self, point: SeekPoint | None, position: int) -> None:
        """Replace the reader: enter at the last seek point and read up to where the old one was."""
        self.close()
        self._start(point)
        while self.position < position:  # through `_advance`, which takes checksum and window along
            self._advance(min(position - self.position, CHUNK_BYTES))

    def _unless_padded(self, action: Callable[[], T], again: Callable[[], T]) -> T:
        """Do something; if zeros end the file, which rapidgzip takes for a damaged stream, again as if it were shorter.

        Raises:
            DataError: It fails all the same.
        """
        try:
            return action()
        except DataError as error:
            if self._view.failure is not None:  # the source could not be read
                raise
            first = error
        if self._shorter is None:
            self._shorter = _sizes_without_zeros(self._source)
        while self._shorter:
            self._size = self._shorter.pop(0)
            with suppress(DataError):
                return again()
        raise first

    def _advance(self, num_bytes: int) -> bytes:
        wanted = self._point_is_due()
        block = self._file.tell_compressed()  # if it changes, a block begins in what is read next
        data = self._read(num_bytes)
        # An end before the last byte of the file: the stream is damaged, or other bytes follow it.
        if not data and num_bytes and self.compressed_position != self._size:
            raise self._failure(EOFError(f"ends at compressed byte {self.compressed_position}"))
        if not data and num_bytes and not self._ends_properly():
            raise self._failure(EOFError("other bytes follow the last stream"))
        if wanted and self._file.tell_compressed() != block:
            self._plant(data)
        else:
            self._crc.take(data)
        self._window = _tail(self._window, data)
        # Of streams before this one, and of what was passed; the position is precise to a chunk.
        self._footers.forget(max(self._crc.byte, self.compressed_position - 2 * CHUNK_BYTES))
        return data

    def _ends_properly(self) -> bool:
        """Tell whether the file ends with the footer of its last stream, and zeros: rapidgzip ignores some bytes."""
        ends = (self._crc.footer, bytes(FOOTER_BYTES))  # or that of an empty stream
        tail = self._source.read_at(max(0, self._size - FOOTER_BYTES - _IGNORED), FOOTER_BYTES + _IGNORED)
        whole = any(tail.endswith(end + bytes(zeros)) for end in ends for zeros in range(_IGNORED + 1))
        return whole or self._footers.incomplete  # then the checksum may be that of several streams

    def _read(self, num_bytes: int) -> bytes:
        try:
            with hold_signals_within(_CALLED_BACK):
                return bytes(self._file.read(num_bytes))
        except (ValueError, RuntimeError, OSError) as error:
            raise self._failure(error) from error

    def _point_is_due(self) -> bool:
        if self._footers.incomplete:  # a point with a wrong checksum would make a sound file a damaged one
            return False
        last = self._point.bit // 8 if self._point else 0
        return self.compressed_position - last >= self._stride

    def _plant(self, data: bytes) -> None:
        """Take a seek point at the block that begins within `data`, which `position` does not include yet."""
        bit = int(self._file.tell_compressed())  # of the reader, as are the keys of its block offsets
        # Offset of the block in `data`; outside of it if the reader does not know the block.
        start = self._file.available_block_offsets().get(bit, -1) + self._plain_shift - self.position
        bit += self._bit_shift
        if not (0 <= start <= len(data) and bit < 8 * (self._size - _TAIL_BYTES)):
            self._crc.take(data)
            return
        self._crc.take(data[:start])
        # Where a stream ends, the block may be an empty one that ends it, or the first of the next stream.
        if self.position > self._crc.begin or bit // 8 > self._crc.byte:
            self._point = SeekPoint(
                bit=bit,
                offset=self.position,
                crc32=self._crc.crc32,
                window=_tail(self._window, data[:start]),
                begin=self._crc.begin,
            )
        self._crc.take(data[start:])

    def _failure(self, error: Exception) -> DataError:
        if isinstance(self._view.failure, DataError):  # the source could not be read: rapidgzip rewords that
            return self._view.failure
        reason = _INTERNAL.sub("", str(error)).strip()
        entered = "; reading began at a seek point, that of another file perhaps" if self._begin else ""
        return DataError(
            f"{self._source.name}: expected one valid gzip file of {self._source.size} bytes, found it damaged, "
            f"truncated or followed by other bytes, beyond byte {self.position} of what it inflates to: {reason}; "
            f"compare its size with the published one and download it again{entered}"
        )

    def close(self) -> None:
        """Close the reader, which ends its threads."""
        if hasattr(self, "_file"):
            with hold_signals():  # its destructor calls the view: what a handler raises there aborts the process
                self._file.close()

    def __del__(self) -> None:
        """Close what an interrupt left open."""
        self.close()


def _sizes_without_zeros(source: ByteSource) -> list[int]:
    """Return the sizes that a file which ends in zeros may have without them: its last footer may end in zeros, too."""
    end = source.size
    while end and source.size - end <= MAX_TAR_PADDING_BYTES:
        piece = source.read_at(max(0, end - _PIECE_BYTES), min(end, _PIECE_BYTES)).rstrip(b"\0")
        begin = max(0, end - _PIECE_BYTES)
        if piece:
            end = begin + len(piece)
            break
        end = begin
    # rapidgzip accepts up to `_ZEROS_ACCEPTED` more. The deflate block of an empty stream ends in a zero, too.
    first, last = end + _ZEROS_ACCEPTED, end + 1 + FOOTER_BYTES + _ZEROS_ACCEPTED
    sizes = range(first, last + 1, _ZEROS_ACCEPTED + 1)
    return [size for size in sizes if size < source.size]


def _tail(before: bytes, data: bytes) -> bytes:
    return data[-WINDOW_BYTES:] if len(data) >= WINDOW_BYTES else (before + data)[-WINDOW_BYTES:]
