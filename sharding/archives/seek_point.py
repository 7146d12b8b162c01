"""Seek points of a gzip file: what is needed to go on inflating in its middle, and a gzip file that begins there.

A deflate stream can be entered at any block if the 32 KiB before it are known. `entry` writes them as a stored block in
front of the rest of the file, so that any gzip decoder can go on, and so that its checksum still covers the whole
original: four bytes before the window are chosen such that the CRC-32 of all that the decoder has seen is that of the
original up to the point.
"""

import base64
import json
import struct
import zlib
from dataclasses import dataclass

from sharding.errors import DataError

WINDOW_BYTES = 1 << 15
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MATCH_BYTES = 3


@dataclass(frozen=True, kw_only=True)
class SeekPoint:
    """A place where inflating can begin.

    Attributes:
        bit: Offset of a deflate block in the compressed file, in bits.
        offset: Offset of its first byte in the inflated stream.
        crc32: CRC-32 of the inflated stream before it.
        window: The last 32 KiB before it, fewer at the beginning.
    """

    bit: int
    offset: int
    crc32: int
    window: bytes

    def encode(self) -> bytes:
        """As JSON, some 44 KB at most."""
        window = base64.b85encode(zlib.compress(self.window)).decode()
        return json.dumps({"bit": self.bit, "offset": self.offset, "crc32": self.crc32, "window": window}).encode()

    @staticmethod
    def decode(data: bytes) -> "SeekPoint":
        """What `encode` gave.

        Raises:
            DataError: It is something else.
        """
        try:
            fields = json.loads(data)
            window = zlib.decompress(base64.b85decode(fields.pop("window")))
            return SeekPoint(window=window, **fields)
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise DataError(f"expected a saved seek point, found {len(data)} bytes that are none: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class GzipEntry:
    """A gzip file that begins at a seek point: `prefix`, then the original from byte `start`.

    Attributes:
        prefix: Header, window and the first bits of the block.
        start: Byte of the original that follows.
        plain_bytes: How many inflated bytes come before those of the point.
    """

    prefix: bytes
    start: int
    plain_bytes: int


def entry(point: SeekPoint, first_byte: int) -> GzipEntry:
    """Make a gzip file that goes on at `point`.

    Args:
        point: Where.
        first_byte: The byte of the original in which the block begins (`point.bit // 8`).
    """
    byte, shift = divmod(point.bit, 8)
    window = point.window.rjust(WINDOW_BYTES, b"\0")
    # Blocks between a stored one, which ends on a whole byte, and ours: an empty one has 10 bits, one that holds a
    # match of 3 bytes 32768 back has 35. With them any shift can be had.
    odd = shift % 2 == 1
    plain = window[-_MATCH_BYTES:] + window if odd else window
    plain = _forge(plain, point.crc32) + plain
    stored = plain[:-_MATCH_BYTES] if odd else plain
    bits = _MATCH_BLOCK if odd else []
    while len(bits) % 8 != shift:
        bits = bits + _EMPTY_BLOCK
    prefix = _GZIP_HEADER + b"\0" + struct.pack("<HH", len(stored), len(stored) ^ 0xFFFF) + stored + _pack(bits)
    if shift:
        prefix = prefix[:-1] + bytes([prefix[-1] | first_byte >> shift << shift])
    return GzipEntry(prefix=prefix, start=byte + (shift > 0), plain_bytes=len(plain))


_EMPTY_BLOCK = [0, 1, 0] + [0] * 7  # not the last, fixed codes; end of block
_MATCH_BLOCK = [0, 1, 0] + [0, 0, 0, 0, 0, 0, 1] + [1, 1, 1, 0, 1] + [1] * 13 + [0] * 7  # length 3, distance 32768


def _pack(bits: list[int]) -> bytes:
    """Bits to bytes, the first bit lowest; the last byte is filled with zeros."""
    return sum(bit << index for index, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return table


def _forge(data: bytes, crc32: int) -> bytes:
    """The four bytes that give `crc32(four + data) == crc32`: the register is run backwards over `data`."""
    table = _table()
    index_of = {entry >> 24: index for index, entry in enumerate(table)}
    register = crc32 ^ 0xFFFFFFFF
    for byte in data[::-1] + bytes(4):
        index = index_of[register >> 24]
        register = ((register ^ table[index]) << 8 & 0xFFFFFFFF) | (index ^ byte)
    return (register ^ 0xFFFFFFFF).to_bytes(4, "little")
