"""One shard: a USTAR tar (POSIX.1-1988) whose members are plain, or each in a zstd frame of its own (RFC 8878).

    .tar      header (512) | payload | padding to 512 | header | payload | padding | ... | two zero blocks (1024)
    .tar.zst  [header | payload | padding] [header | payload | padding] ... [two zero blocks]

[] is one zstd frame. The stored bytes of a member, whose offset, length and CRC-32C the index records, are the payload
in a `.tar` and the frame in a `.tar.zst`. Writing gives the same bytes for the same input: headers are fixed (mtime 0,
uid and gid 0, mode 0644). docs/format.md specifies the format.
"""

import tarfile
from dataclasses import dataclass
from typing import Any, Protocol

import google_crc32c
import zstandard

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.choices import Compression
from sharding.format.strict_json import Count, Crc
from sharding.format.tar_walk import BLOCK, parse_header
from sharding.limits import MAX_PAYLOAD_BYTES, over

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

Stored = bytes | memoryview
"""The stored bytes of a member."""

SUFFIX: dict[Compression, str] = {"zstd": ".tar.zst", "none": ".tar"}


@dataclass(frozen=True, slots=True)
class Span:
    """Where a member is stored: a frame in a `.tar.zst`, the payload in a `.tar`.

    Attributes:
        offset: First byte within the shard.
        bytes: Length in bytes.
        crc32c: CRC-32C of those bytes.
    """

    offset: Count
    bytes: Count
    crc32c: Crc


class SupportsWrite(Protocol):
    """Anything with `write(bytes)`."""

    def write(self, data: bytes, /) -> Any:
        """Write all of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class PackedMember:
    """A member, ready to be appended to a shard.

    Attributes:
        stored: A frame in a `.tar.zst`, the payload in a `.tar`.
        crc32c: CRC-32C of `stored`.
        head: Bytes before it: the header in a `.tar`.
        tail: Bytes after it: the padding in a `.tar`.
    """

    stored: bytes
    crc32c: int
    head: bytes = b""
    tail: bytes = b""


LEVEL = 1
"""zstd level of arrays, and of what `STORED` does not name: higher ones save 1 to 9 % of measured depth, and take up to
half longer to inflate (docs/results/codecs.md)."""

STORED = (".jpg", ".jpeg", ".webp", ".png")
"""Ends of the names of members that are compressed already: another level gives the same size, five times as fast."""

_LEAST = -1


class Packer:
    """Makes members. Not thread-safe: only one thread may use it at a time.

    Args:
        compression: "zstd" or "none".
    """

    def __init__(self, compression: Compression = "zstd") -> None:
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}
        if compression == "zstd":
            self._compressors = {
                level: zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
                for level in (LEVEL, _LEAST)
            }

    def pack(self, name: str, payload: bytes) -> PackedMember:
        """Make the member `name`."""
        header, padding = tar_header(name, len(payload)), bytes(-len(payload) % BLOCK)  # zeros up to a whole block
        if not self._compressors:
            return PackedMember(payload, google_crc32c.value(payload), header, padding)
        # Whole blocks in each frame: all frames of a shard, decompressed one after the other, are a plain tar.
        level = _LEAST if name.endswith(STORED) else LEVEL
        frame = self._compressors[level].compress(b"".join((header, payload, padding)))
        return PackedMember(frame, google_crc32c.value(frame))

    def end(self) -> bytes:
        """Return the two zero blocks that end a tar; in a `.tar.zst`, the frame that holds them."""
        end = bytes(2 * BLOCK)
        return self._compressors[LEVEL].compress(end) if self._compressors else end


class ShardWriter:
    """Writes members to an open file, one after the other; `close` ends the tar.

    Args:
        file: Open for writing; `close` does not close it.
        compression: "zstd" or "none".
    """

    def __init__(self, file: SupportsWrite, compression: Compression = "zstd") -> None:
        self._file = file
        self._offset = 0
        self._packer = Packer(compression)

    def add(self, name: str, payload: bytes) -> Span:
        """Append a member and return where its stored bytes are."""
        return self.append(self._packer.pack(name, payload))

    def append(self, member: PackedMember) -> Span:
        """Append a member made by a `Packer` of the same compression; return where its stored bytes are."""
        self._write(member.head)
        span = Span(self._offset, len(member.stored), member.crc32c)  # in a `.tar`: after the header
        self._write(member.stored)
        self._write(member.tail)
        return span

    def close(self) -> None:
        """End the tar."""
        self._write(self._packer.end())

    def _write(self, data: bytes) -> None:
        if data:
            self._file.write(data)
            self._offset += len(data)


def tar_header(name: str, size: int) -> bytes:
    """Make the 512-byte USTAR header of a regular file with fixed time, owner and mode."""
    info = tarfile.TarInfo(name)  # uid and gid 0, no names of owner and group
    info.size, info.mtime, info.mode = size, 0, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def check_member(stored: Stored, name: str, crc32c: int) -> None:
    """Compare the stored bytes of the member `name` with their checksum.

    Raises:
        DataError: Checksum mismatch.
    """
    # google_crc32c takes nothing but `bytes`: a view must be copied.
    if (found := google_crc32c.value(stored if isinstance(stored, bytes) else bytes(stored))) != crc32c:
        raise DataError(f"member {name}: expected crc32c {crc32c:08x}, found {found:08x} in {len(stored)} bytes")


def unpack_member(stored: Stored, name: str, compression: Compression) -> Stored:
    """Return the payload of the member `name` from its stored bytes, whose checksum the caller has compared.

    It is not copied: a view of the inflated frame, or `stored` itself in a `.tar`.

    Raises:
        DataError: They are no frame of a member, or that of another member.
    """
    if compression == "none":
        return stored
    content = _inflate(stored, name)  # header, payload, padding
    header = _parse_header(content[:BLOCK], name)
    # A correct checksum of the wrong bytes: the index points to another member.
    if header.name != name:
        raise DataError(f"expected member {name}, found {shorten(header.name)} at its place")
    if header.size < 0 or BLOCK + header.size + -header.size % BLOCK != len(content):
        raise DataError(f"member {name}: its header claims {header.size} bytes, its frame holds {len(content)}")
    return memoryview(content)[BLOCK : BLOCK + header.size]


def _inflate(frame: Stored, name: str) -> bytes:
    """Decompress one frame: header, payload and padding of a member."""
    try:
        # The decompressor allocates as many bytes as the frame's header claims.
        if zstandard.frame_content_size(frame) > MAX_PAYLOAD_BYTES:
            claim = f"its frame claims {zstandard.frame_content_size(frame)} bytes"
            raise DataError(f"member {name}: {over(claim, MAX_PAYLOAD_BYTES)}")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise DataError(f"member {name}: expected a zstd frame, found {len(frame)} bytes: {error}") from error


def _parse_header(block: bytes, name: str) -> tarfile.TarInfo:
    try:
        return parse_header(block)
    except tarfile.HeaderError as error:
        raise DataError(f"member {name}: expected a tar header, found something else: {error}") from error
