"""An archive as one stream of plain bytes: `.tar`, `.tar.gz` or `.tar.zst`, distinguished by their first bytes.

It counts compressed bytes, gives what a later run needs to resume here, and hashes on the way. Plain bytes are those of
the tar, after inflating; plain offsets count them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

import zstandard

from sharding.archives.byte_source import ByteSource, ByteView, LocalFile
from sharding.archives.gzip_stream import POINT_STRIDE_BYTES, GzipStream
from sharding.archives.md5 import PIECE_BYTES, FollowingMd5
from sharding.archives.seek_point import SeekPoint
from sharding.errors import DataError
from sharding.format.shard import ZSTD_MAGIC

GZIP_MAGIC = b"\x1f\x8b"
MAX_ZSTD_WINDOW_BYTES = 1 << 27
"""Maximum memory that a zstd archive may require for its window."""


_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


class PlainStream(Protocol):
    """Plain bytes in order."""

    @property
    def position(self) -> int:
        """Offset of the next plain byte."""
        ...

    @property
    def compressed_position(self) -> int:
        """Bytes of the source that were consumed."""
        ...

    def read(self, num_bytes: int) -> bytes:
        """Return 1 to `num_bytes` bytes, b"" only at the end."""
        ...

    def close(self) -> None:
        """Release everything; the source stays open."""
        ...


class _Stored:
    """A `.tar`: nothing to inflate, reading can begin anywhere."""

    def __init__(self, source: ByteSource, offset: int) -> None:
        self._source, self.position = source, offset
        self.seekable = isinstance(source, LocalFile)  # of a URL, all bytes come in order with few requests

    @property
    def compressed_position(self) -> int:
        return self.position

    def read(self, num_bytes: int) -> bytes:
        data = self._source.read_at(self.position, num_bytes)
        self.position += len(data)
        return data

    def close(self) -> None:
        pass


class _Zstd:
    """A `.tar.zst`: decompressed on one core, always from its start."""

    def __init__(self, source: ByteSource) -> None:
        # The end of a frame is its checksum. A decompressor takes a file that lacks it for one that goes on later; a
        # frame of no content behind it makes that an error.
        self._name, self._view, self.position = source.name, ByteView(source, suffix=_EMPTY_FRAME), 0
        # A `.tar.zst` may have a frame for each member, as shards do.
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
        self._file = decompressor.stream_reader(cast(BinaryIO, self._view), read_across_frames=True)

    @property
    def compressed_position(self) -> int:
        return self._view.tell()  # ahead by what the decompressor has buffered

    def read(self, num_bytes: int) -> bytes:
        try:
            data = self._file.read(num_bytes)
        except zstandard.ZstdError as error:
            raise DataError(
                f"{self._name}: expected valid zstd data, found it damaged beyond byte {self.position} of what it "
                f"inflates to: {error}; download it again"
            ) from error
        self.position += len(data)
        return data

    def close(self) -> None:
        self._file.close()  # type: ignore[no-untyped-call]


class Archive:
    """An open archive.

    Attributes:
        name: Its name in messages.
        size: Its size in compressed bytes.
    """

    def __init__(self, source: ByteSource, stream: PlainStream, digest: "FollowingMd5 | None") -> None:
        self.name, self.size = source.name, source.size
        self._stream, self._digest = stream, digest

    @property
    def position(self) -> int:
        """Offset of the next plain byte."""
        return self._stream.position

    @property
    def compressed_position(self) -> int:
        """Compressed bytes that were consumed, at most `size`: what a progress bar shows."""
        return min(self._stream.compressed_position, self.size)

    @property
    def point(self) -> SeekPoint | None:
        """The last seek point that was passed; None for the start, and always for a `.tar`, which needs none."""
        return self._stream.point if isinstance(self._stream, GzipStream) else None

    @property
    def seek_point(self) -> bytes:
        """The encoded `point`, for `open_archive`: about a stride before this position at most; b"" for the start."""
        return self.point.encode() if self.point else b""

    def read(self, num_bytes: int) -> bytes:
        """Return `num_bytes` plain bytes, fewer only at the end.

        Raises:
            DataError: The archive is damaged.
        """
        pieces = []  # a stream may return less than requested before its end
        while num_bytes > 0 and (piece := self._stream.read(num_bytes)):
            pieces.append(piece)
            num_bytes -= len(piece)
        if self._digest:
            self._digest.follow(self.compressed_position)  # soon, while the source still has these bytes cached
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)  # a single piece, the usual case, is not copied

    def skip(self, num_bytes: int) -> int:
        """Read past `num_bytes` plain bytes; return how many there were."""
        if isinstance(self._stream, _Stored) and self._stream.seekable and self._digest is None:
            skipped = min(num_bytes, self.size - self._stream.position)
            self._stream.position += skipped
            return skipped
        left = num_bytes
        while left and (piece := self.read(min(left, PIECE_BYTES))):
            left -= len(piece)
        return num_bytes - left

    def md5(self) -> str:
        """Return the MD5 of the whole compressed file in hex; "" if it was not requested."""
        return self._digest.finish(self.size) if self._digest else ""

    def md5_state(self) -> bytes:
        """Return the state from which `open_archive` resumes hashing at this position; b"" if it cannot."""
        return self._digest.state(self.compressed_position) if self._digest else b""


@contextmanager
def open_archive(
    source: ByteSource,
    offset: int = 0,
    seek_point: bytes = b"",
    threads: int = 0,
    digest: bool = False,
    md5_state: bytes = b"",
    stride_bytes: int = POINT_STRIDE_BYTES,
) -> Iterator[Archive]:
    """Open an archive at a plain offset.

    In a `.tar` reading begins at `offset`. A gzip file is read from the seek point, or from its start, and a zstd file
    from its start; what precedes `offset` is discarded.

    Args:
        source: The file; stays open.
        offset: Plain offset at which to begin.
        seek_point: From `Archive.seek_point`, at or before `offset`.
        threads: Number of threads that inflate gzip; 0 for all cores.
        digest: Whether `md5` will be requested: of the whole source, wherever reading begins. It costs about 2 s of a
            core per GB.
        md5_state: From `Archive.md5_state`, at or after `offset`; without it the source is hashed from its start.
        stride_bytes: Compressed bytes between seek points.

    Raises:
        DataError: It is damaged, shorter than `offset`, or the seek point is beyond it.
    """
    magic = source.read_at(0, 4)  # zstd's has 4 bytes, gzip's 2
    if magic[:2] == GZIP_MAGIC:
        point = SeekPoint.decode(seek_point) if seek_point else None
        stream: PlainStream = GzipStream(source, point, threads, stride_bytes)
    else:
        stream = _Zstd(source) if magic == ZSTD_MAGIC else _Stored(source, min(offset, source.size))
    # Reading that begins in the middle without a saved state is far ahead of the hash and must not wait for it.
    following = FollowingMd5(source, md5_state, patient=offset == 0 or bool(md5_state)) if digest else None
    try:
        archive = Archive(source, stream, following)
        missing = offset - archive.position
        if missing < 0:
            raise DataError(f"{source.name}: the saved seek point is {-missing} bytes beyond offset {offset}")
        if archive.skip(missing) < missing:
            raise DataError(f"{source.name}: expected at least {offset} plain bytes, found {archive.position}")
        yield archive
    finally:
        if following:
            following.close()
        stream.close()
