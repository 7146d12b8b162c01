"""Seek points of a gzip file: what is needed to resume inflating in its middle, and a gzip file that begins there.

A deflate stream (RFC 1951) can be entered at any block if the 32 KiB of plain bytes before it, the window, are known.
`enter_gzip` puts them before the rest of the file as a stored block, so that a gzip decoder reads on from there and
verifies the CRC-32 of the whole original:

    gzip header | stored block: 4 forged bytes, window | blocks that shift bits | original from the point on

The four bytes are chosen such that the CRC-32 of all plain bytes before the point is that of the original there, which
counts from the beginning of the gzip stream if the file holds several. For an odd shift one of the blocks after the
stored one gives the last 3 bytes of the window: see `enter_gzip`.
"""

import base64
import json
import struct
import zlib
from dataclasses import dataclass

from sharding.errors import DataError
from sharding.format.strict_json import Count, Crc, parse, to_type

WINDOW_BYTES = 1 << 15
_WHERE = "saved seek point"
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate; no flags, no time, unknown system (RFC 1952)
_MATCH_BYTES = 3
# Bits of deflate blocks, in the order of the stream: not the last one, fixed codes (01, lower bit first), content, and
# the end of block (7 zeros). The match has length 3 (code 257 in 7 bits) and distance 32768 (code 29 in 5 bits, and 13
# extra bits).
_EMPTY_BLOCK = [0, 1, 0] + [0] * 7
_MATCH_BLOCK = [0, 1, 0] + [0, 0, 0, 0, 0, 0, 1] + [1, 1, 1, 0, 1] + [1] * 13 + [0] * 7


@dataclass(frozen=True, kw_only=True)
class SeekPoint:
    """A place where inflating can begin.

    Attributes:
        bit: Offset of a deflate block in the compressed file, in bits.
        offset: Offset of its first byte in the plain stream.
        crc32: CRC-32 of the plain bytes before it, from `begin` on.
        window: The last 32 KiB of the plain stream before it, fewer near the beginning.
        begin: Offset in the plain stream at which its gzip stream begins: a file may hold several.
    """

    bit: Count
    offset: Count
    crc32: Crc
    window: bytes
    begin: int = 0

    def encode(self) -> bytes:
        """Write it as JSON, 44 KB at most."""
        window = base64.b85encode(zlib.compress(self.window)).decode()
        fields = {"bit": self.bit, "offset": self.offset, "crc32": self.crc32, "window": window}
        return json.dumps(fields | ({"begin": self.begin} if self.begin else {})).encode()

    @staticmethod
    def decode(data: bytes) -> "SeekPoint":
        """Read what `encode` wrote.

        Raises:
            DataError: It is something else.
        """
        content = parse(data, _WHERE)
        try:
            window = _inflate(base64.b85decode(to_type(content, _Text, _WHERE).window))
        except (ValueError, zlib.error) as error:
            raise DataError(f"{_WHERE}: expected a window of {WINDOW_BYTES} bytes at most: {error}") from error
        return to_type(content | {"window": window}, SeekPoint, _WHERE)


@dataclass(frozen=True, kw_only=True)
class _Text:
    """The field that is bytes, as text."""

    window: str


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    window = inflater.decompress(data, WINDOW_BYTES + 1)
    if len(window) > WINDOW_BYTES or not inflater.eof:
        raise ValueError("found more, or less than a whole one")
    return window


@dataclass(frozen=True, kw_only=True)
class GzipEntry:
    """A gzip file that begins at a seek point: `prefix`, then the original from byte `start`.

    Attributes:
        prefix: Header, window and the first bits of the block.
        start: Byte of the original that follows it.
        plain_bytes: Number of plain bytes in the prefix: the point is at this offset of the new file.
    """

    prefix: bytes
    start: int
    plain_bytes: int


def enter_gzip(point: SeekPoint, first_byte: int) -> GzipEntry:
    """Make a gzip file that continues the original at `point`.

    Args:
        point: Where to enter it.
        first_byte: The byte of the original in which the block begins (`point.bit // 8`).
    """
    byte, shift = divmod(point.bit, 8)
    window = point.window.rjust(WINDOW_BYTES, b"\0")
    # A stored block ends at a whole byte, the original continues `shift` bits later. Empty blocks of 10 bits give all
    # even shifts; for odd ones a block of 35 bits comes before them, which copies 3 bytes from 32768 back. The window
    # is then stored without its last 3 bytes, and these 3 come first, where the copy finds them.
    odd = shift % 2 == 1
    plain = window[-_MATCH_BYTES:] + window if odd else window
    plain = _forge(plain, point.crc32) + plain
    stored = plain[:-_MATCH_BYTES] if odd else plain
    bits = _MATCH_BLOCK if odd else []
    while len(bits) % 8 != shift:
        bits = bits + _EMPTY_BLOCK
    # b"\0": header of a stored block (not the last, type 00), padded to a byte; then its length and the complement.
    prefix = _GZIP_HEADER + b"\0" + struct.pack("<HH", len(stored), len(stored) ^ 0xFFFF) + stored + _pack(bits)
    if shift:  # deflate fills bytes from the lowest bit: the block begins in the upper bits of the byte they share
        prefix = prefix[:-1] + bytes([prefix[-1] | first_byte >> shift << shift])
    return GzipEntry(prefix=prefix, start=byte + (shift > 0), plain_bytes=len(plain))


def _pack(bits: list[int]) -> bytes:
    """Pack bits into bytes, the first bit lowest; the last byte is padded with zeros."""
    return sum(bit << index for index, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


def _table() -> list[int]:
    """Return the byte table of CRC-32 with the reflected polynomial of gzip (RFC 1952, section 8)."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return table


def _forge(data: bytes, crc32: int) -> bytes:
    """Return four bytes with `crc32(four + data) == crc32`, by running the register backwards over `data`."""
    table = _table()
    # A step forwards is `register >> 8 ^ table[(register ^ byte) & 0xFF]`. The high byte of the result is that of the
    # table entry alone, and no two entries share it, so it gives the index back.
    index_of = {entry >> 24: index for index, entry in enumerate(table)}
    register = crc32 ^ 0xFFFFFFFF
    for byte in data[::-1] + bytes(4):  # the four as zeros: the register before them is the answer, xor its start
        index = index_of[register >> 24]
        register = ((register ^ table[index]) << 8 & 0xFFFFFFFF) | (index ^ byte)
    return (register ^ 0xFFFFFFFF).to_bytes(4, "little")
