"""An archive as one stream of plain bytes: `.tar`, `.tar.gz` or `.tar.zst`, told apart by their first bytes.

Knows where it stands in compressed bytes, hands out what a later run needs to go on there, and hashes on the way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

import zstandard

from sharding.archives.byte_source import ByteSource, ByteView
from sharding.archives.gzip_stream import POINT_STRIDE_BYTES, GzipStream
from sharding.archives.md5 import PIECE_BYTES, FollowingMd5
from sharding.archives.seek_point import SeekPoint
from sharding.errors import DataError
from sharding.format.shard import ZSTD_MAGIC

GZIP_MAGIC = b"\x1f\x8b"
MAX_ZSTD_WINDOW_BYTES = 1 << 27
"""As much memory as a zstd archive may ask for."""


class PlainStream(Protocol):
    """Plain bytes in order."""

    @property
    def position(self) -> int:
        """Offset of the next plain byte."""
        ...

    @property
    def compressed_position(self) -> int:
        """Bytes of the source that were used."""
        ...

    def read(self, num_bytes: int) -> bytes:
        """Return up to `num_bytes`, none only at the end."""
        ...

    def close(self) -> None:
        """Give everything back; the source stays open."""
        ...


class _Stored:
    """A `.tar`: nothing to inflate, any offset can be entered."""

    def __init__(self, source: ByteSource, offset: int) -> None:
        self._source, self.position = source, offset

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
    """A `.tar.zst`: one core, from the start."""

    def __init__(self, source: ByteSource) -> None:
        self._name, self._view, self.position = source.name, ByteView(source), 0
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
        self._file = decompressor.stream_reader(cast(BinaryIO, self._view), read_across_frames=True)

    @property
    def compressed_position(self) -> int:
        return self._view.tell()

    def read(self, num_bytes: int) -> bytes:
        try:
            data = self._file.read(num_bytes)
        except zstandard.ZstdError as error:
            raise DataError(
                f"{self._name}: expected sound zstd data, found it damaged beyond byte {self.position} of what it "
                f"inflates to: {error}; download it again"
            ) from error
        self.position += len(data)
        return data

    def close(self) -> None:
        self._file.close()  # type: ignore[no-untyped-call]


class Archive:
    """An open archive.

    Attributes:
        name: What messages call it.
        size: Compressed bytes.
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
        """How far it is read, of `size`: what a progress bar shows."""
        return min(self._stream.compressed_position, self.size)

    @property
    def point(self) -> SeekPoint | None:
        """The last place that was passed where inflating can begin; None is the start, or any place of a `.tar`."""
        return self._stream.point if isinstance(self._stream, GzipStream) else None

    @property
    def seek_point(self) -> bytes:
        """What `open_archive` takes to begin at, or one stride before, the present position; b"" is the start."""
        return self.point.encode() if self.point else b""

    def read(self, num_bytes: int) -> bytes:
        """Return `num_bytes` plain bytes, fewer only at the end.

        Raises:
            DataError: The archive is damaged.
        """
        pieces = []
        while num_bytes > 0 and (piece := self._stream.read(num_bytes)):
            pieces.append(piece)
            num_bytes -= len(piece)
        if self._digest:
            self._digest.follow(self.compressed_position)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, num_bytes: int) -> int:
        """Read past bytes without keeping them; returns how many there were."""
        left = num_bytes
        while left and (piece := self.read(min(left, PIECE_BYTES))):
            left -= len(piece)
        return num_bytes - left

    def md5(self) -> str:
        """MD5 of the whole compressed file; "" if it was not asked for."""
        return self._digest.finish(self.size) if self._digest else ""

    def md5_state(self) -> bytes:
        """What `open_archive` takes to go on hashing at the present position; b"" if it cannot."""
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

    A `.tar` is entered there. A gzip file is entered at the seek point, or at its start, and read up to there; a zstd
    file always at its start.

    Args:
        source: The file; stays open.
        offset: Plain offset at which to begin.
        seek_point: What `Archive.seek_point` gave at or before `offset`.
        threads: That inflate gzip; 0 for all cores.
        digest: Whether `md5` will be asked for: of the whole source, wherever reading begins. It costs a core some 2 s
            a GB.
        md5_state: What `Archive.md5_state` gave at or after `offset`; without it the source is hashed from its start.
        stride_bytes: Compressed bytes between seek points.

    Raises:
        DataError: It is damaged, shorter than `offset`, or the seek point lies beyond it.
    """
    magic = source.read_at(0, 4)
    if magic[:2] == GZIP_MAGIC:
        point = SeekPoint.decode(seek_point) if seek_point else None
        stream: PlainStream = GzipStream(source, point, threads, stride_bytes)
    else:
        stream = _Zstd(source) if magic == ZSTD_MAGIC else _Stored(source, min(offset, source.size))
    following = FollowingMd5(source, md5_state, patient=offset == 0 or bool(md5_state)) if digest else None
    try:
        archive = Archive(source, stream, following)
        missing = offset - archive.position
        if missing < 0:
            raise DataError(f"{source.name}: the saved seek point lies {-missing} bytes beyond offset {offset}")
        if archive.skip(missing) < missing:
            raise DataError(f"{source.name}: expected at least {offset} plain bytes, found {archive.position}")
        yield archive
    finally:
        if following:
            following.close()
        stream.close()
