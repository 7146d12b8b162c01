"""A `.tar.gz` of any size that is never on a disk: one gzip stream whose every byte range can be told at once.

Large contents are deflated once and used under many names. A deflated content that ends with a full flush (zlib's
Z_FULL_FLUSH) ends at a byte and refers to nothing before itself, so it may stand anywhere in a deflate stream (RFC
1951); headers stand between them in blocks that are only stored. The checksum of the whole follows from those of its
pieces (zlib's crc32_combine).
"""

import struct
import tarfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

_LEVEL = 6  # gzip's own
_POLYNOMIAL = 0xEDB88320
_GZIP_HEADER = bytes.fromhex("1f8b0800000000000003")
_STORED, _STORED_LAST = b"\x00", b"\x01"
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveEntry:
    """A member of an archive: its content is `lead` and then a content that others may have as well.

    Attributes:
        name: In the archive; a folder's ends in `/`.
        lead: First bytes, the entry's own, at most 64 KB.
        body: Number of the shared content; None for none.
    """

    name: str
    lead: bytes = b""
    body: int | None = None


def tar_pieces(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes]) -> Iterator[tuple[bytes, int | None]]:
    """Yield what a tar is made of: bytes of an entry's own (header, lead) and the number of its shared content.

    The padding after an entry is the first of the next bytes; the end blocks are the last ones.
    """
    padding = b""
    for entry in entries:
        size = len(entry.lead) + (len(bodies[entry.body]) if entry.body is not None else 0)
        yield padding + header(entry.name, size) + entry.lead, entry.body
        padding = bytes(-size % tarfile.BLOCKSIZE)
    yield padding + _END_OF_TAR, None


def header(name: str, size: int) -> bytes:
    """A tar header of 512 bytes."""
    member = tarfile.TarInfo(name.rstrip("/"))
    member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    member.size, member.mode = size, 0o755 if name.endswith("/") else 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


class VirtualArchive:
    """The bytes of a `.tar.gz`, made when they are asked for. Picklable.

    Memory: the shared contents, deflated, and some 600 bytes for each entry.

    Args:
        entries: The members in their order.
        bodies: The shared contents.

    Attributes:
        size: Compressed bytes.
        num_plain_bytes: What it inflates to.
        crc32: Of the plain bytes.
    """

    def __init__(self, entries: Iterable[ArchiveEntry], bodies: Sequence[bytes]) -> None:
        deflated = [deflate(body) for body in bodies]
        checksums = [zlib.crc32(body) for body in bodies]
        self.crc32, self.num_plain_bytes = 0, 0
        self._pieces = [_GZIP_HEADER]
        for own, body in tar_pieces(entries, bodies):
            self._add(stored(own), zlib.crc32(own), len(own))
            if body is not None:
                self._add(deflated[body], checksums[body], len(bodies[body]))
        trailer = struct.pack("<II", self.crc32, self.num_plain_bytes & 0xFFFFFFFF)
        self._pieces.append(stored(b"", last=True) + trailer)
        self._offsets = [0, *accumulate(len(piece) for piece in self._pieces)]
        self.size = self._offsets[-1]

    def _add(self, piece: bytes, crc32: int, num_bytes: int) -> None:
        self._pieces.append(piece)
        self.crc32 = crc32_combine(self.crc32, crc32, num_bytes)
        self.num_plain_bytes += num_bytes

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the compressed bytes from `start` up to `stop`, which is at most `size`, in parts."""
        at = bisect_right(self._offsets, start) - 1
        while start < stop:
            part = memoryview(self._pieces[at])[start - self._offsets[at] :][: stop - start]
            yield part
            start, at = start + len(part), at + 1


def deflate(data: bytes) -> bytes:
    """Deflate `data` so that it ends at a byte and depends on nothing before it; the stream stays open."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def stored(data: bytes, last: bool = False) -> bytes:
    """`data`, up to 64 KB, as a stored block of a deflate stream that stands at a byte (RFC 1951, 3.2.4)."""
    return (_STORED_LAST if last else _STORED) + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def crc32_combine(first: int, second: int, num_bytes: int) -> int:
    """The CRC-32 of two texts one after the other.

    Args:
        first: CRC-32 of the first.
        second: CRC-32 of the second.
        num_bytes: Of the second.
    """
    return _times(_pass_zeros(num_bytes), first) ^ second


@cache
def _pass_zeros(num_bytes: int) -> tuple[int, ...]:
    """The matrix over GF(2) that takes a CRC past so many zero bytes: 32 columns, as ints."""
    power = (_POLYNOMIAL, *(1 << bit for bit in range(31)))  # past one bit
    for _ in range(3):
        power = _product(power, power)
    result = tuple(1 << bit for bit in range(32))
    while num_bytes:
        if num_bytes & 1:
            result = _product(power, result)
        power, num_bytes = _product(power, power), num_bytes >> 1
    return result


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(left, column) for column in right)


def _times(matrix: tuple[int, ...], vector: int) -> int:
    total = 0
    for column in matrix:
        if vector & 1:
            total ^= column
        vector >>= 1
    return total
