"""One shard: a USTAR tar whose members are zstd frames of their own, or plain.

Writing gives the same bytes for the same input: headers are fixed (mtime 0, uid and gid 0, mode 0644). Reading takes
what a ranged read returned and gives the payload back, checked. docs/format.md specifies the bytes.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import google_crc32c
import zstandard

from sharding.errors import DataError
from sharding.format.choices import Compression

BLOCK = tarfile.BLOCKSIZE
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_PAYLOAD_BYTES = 1 << 31
"""A member that claims to be larger is refused before memory is taken for it."""

Stored = bytes | memoryview
SUFFIX: dict[Compression, str] = {"zstd": ".tar.zst", "none": ".tar"}


@dataclass(frozen=True, slots=True)
class Span:
    """Where a member is stored: a frame in a `.tar.zst`, the payload in a `.tar`.

    Attributes:
        offset: First byte within the shard.
        bytes: Number of bytes.
        crc32c: CRC-32C of those bytes.
    """

    offset: int
    bytes: int
    crc32c: int


class SupportsWrite(Protocol):
    """Anything with `write(bytes)`."""

    def write(self, data: bytes, /) -> Any:
        """Write all of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class PackedMember:
    """A member as it will stand in a shard.

    Attributes:
        stored: A frame in a `.tar.zst`, the payload in a `.tar`.
        crc32c: CRC-32C of `stored`.
        head: What comes before it: the header in a `.tar`.
        tail: What comes after it: the padding in a `.tar`.
    """

    stored: bytes
    crc32c: int
    head: bytes = b""
    tail: bytes = b""


LEVEL = 3
FAST_LEVEL = -1
"""zstd level of members that are compressed already: the same size as with `LEVEL`, five times as fast."""

COMPRESSED = (".jpg", ".jpeg", ".webp", ".png")
"""Such members."""


class Packer:
    """Makes members; for one thread at a time.

    Args:
        compression: "zstd" or "none".
    """

    def __init__(self, compression: Compression = "zstd") -> None:
        self._compressor = self._fast = None
        if compression == "zstd":
            self._compressor, self._fast = (
                zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
                for level in (LEVEL, FAST_LEVEL)
            )

    def pack(self, name: str, payload: bytes) -> PackedMember:
        """Make the member `name`."""
        header, padding = tar_header(name, len(payload)), bytes(-len(payload) % BLOCK)
        compressor = self._fast if name.endswith(COMPRESSED) else self._compressor
        if compressor is None:
            return PackedMember(payload, google_crc32c.value(payload), header, padding)
        frame = compressor.compress(b"".join((header, payload, padding)))
        return PackedMember(frame, google_crc32c.value(frame))

    def end(self) -> bytes:
        """The two zero blocks that end a tar (in a `.tar.zst`: the last frame)."""
        end = bytes(2 * BLOCK)
        return end if self._compressor is None else self._compressor.compress(end)


class ShardWriter:
    """Writes members to an open file, one after the other; `close` ends the tar.

    Args:
        file: Open for writing; stays open.
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
        """Append a member that was made before, with the same compression."""
        self._write(member.head)
        span = Span(self._offset, len(member.stored), member.crc32c)
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
    """The 512-byte USTAR header of a regular file with fixed time, owner and mode."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, 0, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def check_member(stored: Stored, name: str, crc32c: int) -> None:
    """Compare the stored bytes of the member `name` with their checksum.

    Raises:
        DataError: They are not those that were written.
    """
    if (found := google_crc32c.value(bytes(stored))) != crc32c:
        raise DataError(f"member {name}: expected crc32c {crc32c:08x}, found {found:08x} in {len(stored)} bytes")


def unpack_member(stored: Stored, name: str, compression: Compression) -> bytes:
    """Return the payload of the member `name` from its stored bytes, which were checked before.

    Raises:
        DataError: They are no frame of a member, or belong to another member.
    """
    if compression == "none":
        return bytes(stored)
    content = _inflate(stored, name)
    header = _parse_header(content[:BLOCK], name)
    if header.name != name:
        raise DataError(f"expected member {name}, found {header.name} at its place")
    return content[BLOCK : BLOCK + header.size]


def _inflate(frame: Stored, name: str) -> bytes:
    try:
        if zstandard.frame_content_size(frame) > MAX_PAYLOAD_BYTES:
            raise DataError(f"member {name}: its frame claims more than {MAX_PAYLOAD_BYTES} bytes")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise DataError(f"member {name}: expected a zstd frame, found {len(frame)} bytes: {error}") from error


def _parse_header(block: bytes, name: str) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise DataError(f"member {name}: expected a tar header, found something else: {error}") from error


def detect_compression(head: bytes) -> Compression:
    """Tell a `.tar.zst` from a `.tar` by its first bytes, not by its name.

    Raises:
        DataError: It is neither.
    """
    if head[:4] == ZSTD_MAGIC:
        return "zstd"
    if head[257:262] == b"ustar":
        return "none"
    raise DataError(f"expected a tar or a zstd-compressed tar, found a file that begins with {head[:8].hex()}")


class SupportsRead(Protocol):
    """Anything with `read(n) -> bytes`."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class ShardMember:
    """A member met while walking a tar: its name, payload, and the offset of the payload in the (inflated) tar."""

    name: str
    payload: bytes
    offset: int


def iter_members(file: SupportsRead) -> Iterator[ShardMember]:
    """Walk the regular files of a plain tar front to back, as any tar reader would; see `open_plain` for a `.tar.zst`.

    Raises:
        DataError: The tar is truncated or damaged.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:  # type: ignore[call-overload]
            for info in tar:
                if info.isfile():
                    payload = tar.extractfile(info).read()
                    yield ShardMember(info.name, payload, info.offset_data)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError) as error:
        raise DataError(f"expected a whole tar, found a damaged or truncated one: {error}") from error


def open_plain(data: bytes | BinaryIO, compression: Compression) -> BinaryIO:
    """A file of the plain tar behind a shard, given as bytes or as an open file."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    if compression == "none":
        return file
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
