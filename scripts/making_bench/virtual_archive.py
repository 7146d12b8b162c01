"""A `.tar.gz` of any size that is never on a disk: one gzip stream of which any byte range can be read directly.

Large contents are deflated once and used under many names. Deflated by a compressor of their own and ended by a full
flush (zlib's Z_FULL_FLUSH), they end at a byte boundary and refer to nothing before themselves, so they may be anywhere
in a deflate stream (RFC 1951). Between them are tar headers, in stored blocks. The checksum of the whole is combined
from those of its pieces (zlib's crc32_combine).
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
_POLYNOMIAL = 0xEDB88320  # of CRC-32, lowest bit first
_GZIP_HEADER = bytes.fromhex("1f8b0800000000000003")  # RFC 1952: magic, deflate, no flags, no time, Unix
_STORED, _STORED_LAST = b"\x00", b"\x01"  # BTYPE 00 and the bit BFINAL, padded to a byte
_END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveEntry:
    """A member of an archive: its content is `lead`, followed by a content that members may share.

    Attributes:
        name: In the archive; that of a folder ends in `/`.
        lead: First bytes, the entry's own; with padding and header they must fit into 65535 bytes.
        body: Position of the shared content in the list of contents; None for none.
    """

    name: str
    lead: bytes = b""
    body: int | None = None


def tar_pieces(entries: Iterable[ArchiveEntry], bodies: Sequence[bytes]) -> Iterator[tuple[bytes, int | None]]:
    """Yield the pieces of a tar: an entry's own bytes (header, lead), and the position of its shared content or None.

    The padding after an entry is at the start of the next piece; the two end blocks are in the last one.
    """
    padding = b""
    for entry in entries:
        size = len(entry.lead) + (len(bodies[entry.body]) if entry.body is not None else 0)
        yield padding + header(entry.name, size) + entry.lead, entry.body
        padding = bytes(-size % tarfile.BLOCKSIZE)
    yield padding + _END_OF_TAR, None


def header(name: str, size: int) -> bytes:
    """Make a tar header (POSIX ustar) of 512 bytes."""
    member = tarfile.TarInfo(name.rstrip("/"))
    member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    member.size, member.mode = size, 0o755 if name.endswith("/") else 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


class VirtualArchive:
    """The bytes of a `.tar.gz`, generated on request. Picklable.

    Memory: the shared contents, deflated once each, and some 600 bytes for each entry.

    Args:
        entries: The members in their order.
        bodies: The shared contents.

    Attributes:
        size: Compressed bytes.
        num_plain_bytes: Bytes of the tar.
        crc32: Of the tar.
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
        trailer = struct.pack("<II", self.crc32, self.num_plain_bytes & 0xFFFFFFFF)  # RFC 1952, 2.3.1: size mod 2**32
        self._pieces.append(stored(b"", last=True) + trailer)
        # Piece i is bytes _offsets[i]:_offsets[i + 1] of the archive.
        self._offsets = [0, *accumulate(len(piece) for piece in self._pieces)]
        self.size = self._offsets[-1]

    def _add(self, piece: bytes, crc32: int, num_bytes: int) -> None:
        self._pieces.append(piece)
        self.crc32 = crc32_combine(self.crc32, crc32, num_bytes)
        self.num_plain_bytes += num_bytes

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the compressed bytes `start`:`stop` in parts; `stop` is at most `size`."""
        at = bisect_right(self._offsets, start) - 1
        while start < stop:
            part = memoryview(self._pieces[at])[start - self._offsets[at] :][: stop - start]
            yield part
            start, at = start + len(part), at + 1


def deflate(data: bytes) -> bytes:
    """Deflate `data` so that it ends at a byte boundary and depends on nothing before it; the stream stays open."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def stored(data: bytes, last: bool = False) -> bytes:
    """Make a stored block of `data`, at most 65535 bytes, to follow at a byte boundary (RFC 1951, 3.2.4)."""
    # After the block header: LEN, and its complement NLEN, both 16-bit little-endian.
    return (_STORED_LAST if last else _STORED) + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def crc32_combine(first: int, second: int, num_bytes: int) -> int:
    """Compute the CRC-32 of two byte strings, one after the other, from those of each.

    Args:
        first: CRC-32 of the first.
        second: CRC-32 of the second.
        num_bytes: Length of the second.
    """
    return _times(_pass_zeros(num_bytes), first) ^ second


@cache
def _pass_zeros(num_bytes: int) -> tuple[int, ...]:
    """Make the matrix over GF(2) that advances a CRC by so many zero bytes: 32 columns, as ints."""
    # One zero bit shifts the register right, and a 1 that drops out adds the polynomial: the image of bit 0.
    power = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    for _ in range(3):  # squared three times: 8 bits, a byte
        power = _product(power, power)
    result = tuple(1 << bit for bit in range(32))  # the identity
    while num_bytes:  # exponentiation by squaring
        if num_bytes & 1:
            result = _product(power, result)
        power, num_bytes = _product(power, power), num_bytes >> 1
    return result


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(left, column) for column in right)


def _times(matrix: tuple[int, ...], vector: int) -> int:
    """Multiply over GF(2): XOR the columns whose bit in the vector is 1."""
    total = 0
    for column in matrix:
        if vector & 1:
            total ^= column
        vector >>= 1
    return total
