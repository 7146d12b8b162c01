"""Look at a tar front to back: whether it is compressed, and which members it has."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import zstandard

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.choices import Compression
from sharding.format.shard import ZSTD_MAGIC
from sharding.format.tar_walk import BLOCK, TarWalker, parse_header
from sharding.limits import MAX_TEXT_CHARS

_PIECE_BYTES = 1 << 20


def detect_compression(head: bytes) -> Compression:
    """Distinguish a `.tar.zst` from a `.tar` by its first bytes, not by its name.

    Args:
        head: The first 512 bytes or more.

    Raises:
        DataError: It is neither.
    """
    if head[:4] == ZSTD_MAGIC:
        return "zstd"
    if head[257:262] == b"ustar" or _is_header(head[:BLOCK]):  # the field `magic`, which the oldest tars lack
        return "none"
    found = f"a file that begins with {head[:8].hex()}" if head else "an empty file"
    raise DataError(f"expected a tar or a zstd-compressed tar, found {found}")


def _is_header(block: bytes) -> bool:
    try:
        parse_header(block)
    except tarfile.HeaderError:
        return False
    return True


class SupportsRead(Protocol):
    """Anything with `read(n) -> bytes`."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""
        ...


class _Sequence:
    """A file as `TarWalker` reads it: not seekable, because a decompressor cannot seek backwards."""

    name = ""

    def __init__(self, file: SupportsRead) -> None:
        self._file, self.position = file, 0

    def read(self, num_bytes: int) -> bytes:
        pieces = []
        while num_bytes > 0 and (piece := self._piece(num_bytes)):
            pieces.append(piece)
            num_bytes -= len(piece)
        return b"".join(pieces)

    def skip(self, num_bytes: int) -> int:
        left = num_bytes
        while left > 0 and (piece := self._piece(min(left, _PIECE_BYTES))):
            left -= len(piece)
        return num_bytes - left

    def _piece(self, num_bytes: int) -> bytes:
        try:
            piece = self._file.read(num_bytes)
        except (zstandard.ZstdError, OSError) as error:
            raise DataError(f"expected a whole shard, found it damaged beyond byte {self.position}: {error}") from error
        self.position += len(piece)
        return piece


@dataclass(frozen=True, slots=True)
class ShardMember:
    """A member found while walking a tar.

    Attributes:
        name: Name of the member, shortened if it is longer than any name in a set.
        num_bytes: Size of its payload.
        offset: Offset of the payload in the (decompressed) tar, in bytes.
    """

    name: str
    num_bytes: int
    offset: int


def iter_members(file: SupportsRead) -> Iterator[ShardMember]:
    """Yield the entries of a plain tar front to back, of any kind, without seeking; no payload is kept in memory.

    See `open_plain` for a `.tar.zst`.

    Raises:
        DataError: The tar is truncated or damaged.
    """
    for entry in TarWalker(_Sequence(file)):
        yield ShardMember(shorten(entry.name, MAX_TEXT_CHARS), entry.num_bytes, entry.begin)


def open_plain(data: bytes | BinaryIO, compression: Compression) -> BinaryIO:
    """Open the plain tar in a shard, given as bytes or an open file; reading from it decompresses a `.tar.zst`."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    if compression == "none":
        return file
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
