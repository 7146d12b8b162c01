"""Where the gzip streams of a file begin: one file may hold several (RFC 1952, section 2.2), as bgzip makes them.

A seek point needs the CRC-32 of its own stream up to there, and a reader that inflates on several threads does not tell
where a stream ends. `Footers` finds, in the compressed bytes that pass, whatever looks like the end of a stream that is
followed by another; `StreamCrc` follows the plain bytes and takes it for an end where length and CRC-32 agree. Where
that is wrong, because a stream begins with all that a later one holds, reading ends with a checksum mismatch.

    ... deflate | CRC-32 (4) | length modulo 2**32 (4) | 1f 8b 08 flags ... deflate | CRC-32 | length | end of file
"""

import bisect
import struct
import threading
import zlib
from collections import OrderedDict

import numpy as np

from sharding.archives.byte_source import ByteSource

FOOTER_BYTES = 8
_HEADER_BYTES = 4  # of which this looks at the magic, the method and the flags
_RESERVED_FLAGS = 0xE0
_LENGTHS = 1 << 32
_EDGES = 4096
_MANY_FOOTERS = 5_000
_MOST_FOOTERS = 20_000
"""More are not taken down: what is read ahead of the position holds that many if streams have some 3 KB each."""


class Footers:
    """Collects possible ends of gzip streams from pieces of a file, in any order and from several threads.

    Attributes:
        incomplete: Whether there were too many to note all: a checksum that is followed from here on may be wrong.
    """

    def __init__(self) -> None:
        self.incomplete = False
        self._lock = threading.Lock()
        self._bytes: dict[tuple[int, int], list[int]] = {}  # (length, CRC-32) -> where the next stream begins, sorted
        self._lengths: list[int] = []  # sorted, each once
        self._count, self._many = 0, _MANY_FOOTERS
        # A footer may lie across two pieces: last bytes by the offset where a piece ends, first ones by its offset.
        self._tails, self._heads = OrderedDict[int, bytes](), OrderedDict[int, bytes]()

    def see(self, offset: int, data: bytes) -> None:
        """Look at a piece of the file; one of less than 12 bytes must come behind the one before it."""
        if not data:
            return
        size = FOOTER_BYTES + _HEADER_BYTES
        found = _find_footers(offset, data)
        with self._lock:
            before, after = self._tails.get(offset, b""), self._heads.get(offset + len(data), b"")
            found += _find_footers(offset - len(before), before + data[:size])
            found += _find_footers(offset + len(data) - len(data[-size:]), data[-size:] + after)
            for edges, place, edge in (
                (self._tails, offset + len(data), (before + data[-size:])[-size:]),
                (self._heads, offset, data[:size]),
            ):
                edges[place] = edge
                if len(edges) > _EDGES:
                    edges.popitem(last=False)
            for length, crc32, byte in found:
                self._note(length, crc32, byte)

    def _note(self, length: int, crc32: int, byte: int) -> None:
        places = self._bytes.get((length, crc32), [])
        at = bisect.bisect_left(places, byte)
        if places[at : at + 1] == [byte]:
            return
        if self._count >= _MOST_FOOTERS:
            self.incomplete = True
            return
        places.insert(at, byte)
        self._bytes[length, crc32] = places
        self._count += 1
        at = bisect.bisect_left(self._lengths, length)
        if self._lengths[at : at + 1] != [length]:
            self._lengths.insert(at, length)

    def next_length(self, least: int, most: int) -> int | None:
        """Return the smallest length from `least` to `most` at which a stream may end."""
        with self._lock:
            at = bisect.bisect_left(self._lengths, least)
            return self._lengths[at] if at < len(self._lengths) and self._lengths[at] <= most else None

    def find(self, length: int, crc32: int, after: int) -> int | None:
        """Return where the next stream begins, behind byte `after`, if a stream of this length and CRC-32 ends."""
        with self._lock:
            places = self._bytes.get((length, crc32), [])
            at = bisect.bisect_right(places, after)
            return places[at] if at < len(places) else None

    def forget(self, before: int) -> None:
        """Forget what was found before a byte of the file, if it is much: of a file that holds many gzip files."""
        if self._count <= self._many:
            return
        with self._lock:
            kept = {known: [byte for byte in places if byte >= before] for known, places in self._bytes.items()}
            self._bytes = {known: places for known, places in kept.items() if places}
            self._lengths = sorted({length for length, _ in self._bytes})
            self._count = sum(map(len, self._bytes.values()))
            # Twice what could not be forgotten: else little work would be done often.
            self._many = max(_MANY_FOOTERS, min(2 * self._count, _MOST_FOOTERS - 1))


def _find_footers(offset: int, data: bytes) -> list[tuple[int, int, int]]:
    """Find length, CRC-32 and offset of the next header of each possible footer in a piece of the file."""
    found = []
    for shift in (0, 1):
        # Three times as fast as `bytes.find`, and other threads run meanwhile.
        pairs = np.frombuffer(data, "<u2", max(0, len(data) - shift) // 2, shift)
        for at in (2 * np.flatnonzero(pairs == 0x8B1F) + shift).tolist():
            if at >= FOOTER_BYTES and data[at + 2 : at + 3] == b"\x08" and not _flags(data, at) & _RESERVED_FLAGS:
                crc32, length = struct.unpack_from("<II", data, at - FOOTER_BYTES)
                if length or crc32:  # an empty stream changes neither length nor CRC-32 of those around it
                    found.append((length, crc32, offset + at))
    return found


def _flags(data: bytes, at: int) -> int:
    return data[at + 3] if at + 3 < len(data) else _RESERVED_FLAGS


class StreamCrc:
    """The CRC-32 of the gzip stream that is being inflated.

    Args:
        footers: The ends of streams.
        position: Plain offset at which to begin.
        begin: Plain offset at which the stream there begins.
        crc32: CRC-32 of its plain bytes so far.
        byte: Offset in the file, of the header of that stream or behind it.

    Attributes:
        position, begin, crc32, byte: The same of the position that was reached.
    """

    def __init__(self, footers: Footers, position: int = 0, begin: int = 0, crc32: int = 0, byte: int = 0) -> None:
        self._footers = footers
        self.position, self.begin, self.crc32, self.byte = position, begin, crc32, byte

    @property
    def footer(self) -> bytes:
        """The footer that the stream has if it ends here: CRC-32 and length modulo 2**32."""
        return struct.pack("<II", self.crc32, (self.position - self.begin) % _LENGTHS)

    def take(self, data: bytes) -> None:
        """Follow the next plain bytes, whose compressed bytes passed by already."""
        rest = memoryview(data)
        while (step := self._step(rest)) is not None:
            rest = rest[step:]

    def _step(self, data: memoryview) -> int | None:
        """Follow the bytes up to the end of a stream, or to where its length begins again at 0; None: all of them."""
        low, done = (self.position - self.begin) % _LENGTHS, 0
        reach = min(len(data), _LENGTHS - 1 - low)
        length = self._footers.next_length(low, low + reach)
        while length is not None:
            self._add(data[done : length - low])
            done = length - low
            byte = self._footers.find(length, self.crc32, self.byte)
            if byte is not None:
                self.begin, self.crc32, self.byte = self.position, 0, byte
                return done
            length = self._footers.next_length(length + 1, low + reach)
        end = min(reach + 1, len(data))  # one byte more, if the length begins again at 0
        self._add(data[done:end])
        return end if end < len(data) or reach < len(data) else None

    def _add(self, data: memoryview) -> None:
        self.crc32 = zlib.crc32(data, self.crc32)
        self.position += len(data)


class WatchedSource:
    """A source, all of whose bytes pass by `footers`.

    Args:
        source: The file.
        footers: See above.
        size: Its size without what follows the last stream.
    """

    def __init__(self, source: ByteSource, footers: Footers, size: int) -> None:
        self._source, self._footers = source, footers
        self.name, self.size = source.name, size

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes from `offset`, fewer only at the end."""
        data = self._source.read_at(offset, max(0, min(num_bytes, self.size - offset)))
        self._footers.see(offset, data)
        return data

    def has_changed(self) -> bool:
        """Return what the source says."""
        return self._source.has_changed()

    def close(self) -> None:
        """Do nothing: the source stays open."""
