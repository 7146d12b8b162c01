"""The entries of a tar, one after the other, from a stream of plain bytes: strict, in linear time, in bounded memory.

A header is a block of 512 bytes; the payload follows, padded to whole blocks; two zero blocks end the archive. Long
names and pax attributes are entries of their own before the one that they describe (POSIX pax, and
https://www.gnu.org/software/tar/manual/html_node/Standard.html).

What programs read differently, or what ends too early, is an error that names the byte: an entry is never lost.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.limits import (
    MAX_EXTENSION_BYTES,
    MAX_EXTENSION_ENTRIES,
    MAX_EXTENSION_RECORDS,
    MAX_TAR_PADDING_BYTES,
    over,
)

BLOCK = tarfile.BLOCKSIZE
"""512 bytes: a tar consists of blocks of this size."""

FILE, FOLDER = "file", "folder"
"""Kinds of entries. The others are described in words, such as "hard link"."""

_KINDS = {
    tarfile.REGTYPE: FILE,
    tarfile.AREGTYPE: FILE,
    tarfile.CONTTYPE: FILE,
    tarfile.DIRTYPE: FOLDER,
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}
# They have no payload, whatever size their header contains.
_WITHOUT_PAYLOAD = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
# Entries that describe the next one; b"X" is a pax header of Solaris.
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
# Offsets of `isextended` (another block of the sparse map follows) in an old GNU header and in a block of the map.
_SPARSE_MORE_IN_HEADER, _SPARSE_MORE_IN_MAP = 482, 504
_SIZE = re.compile(rb"[0-9]{1,19}")  # int() of longer ones may fail; 2**63 has 19 digits
_LENGTH_DIGITS = len(str(MAX_EXTENSION_BYTES))
_PIECE_BYTES = 1 << 16


class PlainBytes(Protocol):
    """The plain bytes of a tar, in order.

    Attributes:
        name: Its name in messages.
    """

    name: str

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        ...

    def read(self, num_bytes: int) -> bytes:
        """Return `num_bytes` bytes, fewer only at the end."""
        ...

    def skip(self, num_bytes: int) -> int:
        """Read past `num_bytes` bytes; return how many there were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of a tar.

    Attributes:
        name: As stored; undecodable bytes are surrogates.
        kind: `FILE`, `FOLDER`, or what else it is, in words.
        num_bytes: Size of its payload.
        offset: Offset of its first header, that of a long name if it has one.
        begin: Offset of its payload; of its sparse map, if it has one.
    """

    name: str
    kind: str
    num_bytes: int
    offset: int
    begin: int


@dataclass(slots=True)
class _Extended:
    """What the entries before a header contain about it."""

    name: str = ""
    size: int | None = None
    sparse_name: str = ""
    sparse: bool = False
    entries: int = 0
    bytes: int = 0
    records: int = 0
    described: bool = False  # by anything but global attributes


class TarWalker:
    """Iterates over the entries of a tar, from the position of `plain`, a header, to its end.

    The payload of the entry that was yielded last may be read or skipped; what is left of it is passed over.

    Raises:
        DataError: It is not a tar, damaged, truncated, or followed by other data.
    """

    def __init__(self, plain: PlainBytes) -> None:
        self._plain = plain
        self._block = b""  # the last header as read
        self._header = tarfile.TarInfo()
        self._left = 0  # bytes of the payload that were not read

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries; end only at the zero blocks that end the tar."""
        offset, extended = self._plain.position, _Extended()
        while self._read_header():
            if self._header.type in _EXTENSIONS:
                self._extend(extended)
                continue  # `offset` stays at the first header of the entry
            yield self._entry(extended, offset)
            self.skip()
            offset, extended = self._plain.position, _Extended()
        if extended.described:
            raise self._error(f"header at byte {offset} describes a member that does not follow")
        self._expect_end()

    def read(self) -> bytes:
        """Return the payload of the entry."""
        wanted, self._left = self._left, 0
        data = self._plain.read(wanted)
        padding = -wanted % BLOCK  # up to a whole block
        if len(data) < wanted or self._plain.skip(padding) < padding:
            raise self._cut_off()
        return data

    def skip(self) -> None:
        """Read past what is left of the payload."""
        stored, self._left = self._left + -self._left % BLOCK, 0
        if self._plain.skip(stored) < stored:
            raise self._cut_off()

    def _read_header(self) -> bool:
        """Read the next header; False at a zero block."""
        at = self._plain.position
        self._block = block = self._plain.read(BLOCK)
        if block == bytes(BLOCK):
            return False
        if len(block) < BLOCK:
            raise self._error(f"expected a header or the end blocks at byte {at}, found that it ends: it is truncated")
        try:
            self._header = parse_header(block)
        except tarfile.HeaderError as error:
            what = "a tar archive" if at == 0 else f"a tar header at byte {at}"
            raise self._error(f"expected {what}, found {block[:16]!r}: {error}") from error
        self._check_size(at)
        return True

    def _check_size(self, at: int) -> None:
        size = self._header.size
        # Base-256 sizes have a sign. Of a folder with a size GNU tar skips a payload, and others do not.
        if size < 0 or (size and self._header.type == tarfile.DIRTYPE):
            raise self._error(f"header at byte {at}: {_shown(self._header.name)} claims {size} bytes")

    def _extend(self, extended: _Extended) -> None:
        """Read a long name or a pax header; names of link targets are ignored."""
        header, at = self._header, self._plain.position - BLOCK
        extended.entries += 1
        extended.bytes += header.size
        if extended.bytes > MAX_EXTENSION_BYTES:  # before its payload is read into memory
            claim = over(f"claims a name or attributes of {extended.bytes} bytes", MAX_EXTENSION_BYTES)
            raise self._error(f"header at byte {at} {claim}")
        if extended.entries > MAX_EXTENSION_ENTRIES:
            raise self._error(f"header at byte {at}: more than {MAX_EXTENSION_ENTRIES} describe one member")
        extended.described |= header.type != tarfile.XGLTYPE
        self._left = header.size
        data = self.read()
        if header.type == tarfile.GNUTYPE_LONGNAME:
            self._rename(extended, data.split(b"\0", 1)[0], at)
        elif header.type != tarfile.GNUTYPE_LONGLINK:
            self._take_pax(data, extended, at)

    def _rename(self, extended: _Extended, name: bytes, at: int) -> None:
        found = name.decode("utf-8", "surrogateescape")
        if extended.name and found != extended.name:  # programs differ in which of them they take
            raise self._error(f"header at byte {at}: a second name for {_shown(extended.name)}, {_shown(found)}")
        extended.name = found

    def _take_pax(self, data: bytes, extended: _Extended, at: int) -> None:
        for key, value in self._pax_records(data, at):
            extended.records += 1
            if extended.records > MAX_EXTENSION_RECORDS:
                raise self._error(f"header at byte {at}: {over('too many attributes', MAX_EXTENSION_RECORDS)}")
            sparse = key.startswith(b"GNU.sparse.")
            if self._header.type == tarfile.XGLTYPE and (sparse or key in (b"path", b"size")):
                raise self._error(f"header at byte {at} sets {_shown(key.decode('ascii', 'replace'))} of all members")
            if key == b"path":
                self._rename(extended, value, at)
            elif key == b"size":
                if not _SIZE.fullmatch(value):
                    raise self._error(f"header at byte {at}: pax header claims a size of {repr(value[:50])[1:]}")
                extended.size = int(value)
            elif sparse:
                extended.sparse = True
                if key == b"GNU.sparse.name":  # `path` is then a made-up one
                    extended.sparse_name = value.decode("utf-8", "surrogateescape")

    def _pax_records(self, data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of each record: `LENGTH KEY=VALUE` and a line end, the length being that of all of it."""
        begin, end = 0, len(data.rstrip(b"\0"))
        while begin < end:
            space = data.find(b" ", begin, begin + _LENGTH_DIGITS + 1)
            digits = data[begin : max(space, begin)]
            stop = begin + (int(digits) if digits.isdigit() else 0)
            equals = data.find(b"=", space, stop)
            if equals < 0 or stop > end or data[stop - 1 : stop] != b"\n":
                raise self._error(f"header at byte {at}: expected pax records, found {data[begin : begin + 16]!r}")
            yield data[space + 1 : equals], data[equals + 1 : stop - 1]
            begin = stop

    def _entry(self, extended: _Extended, offset: int) -> Entry:
        header, begin = self._header, self._plain.position
        # A size of 8 GiB or more does not fit the 11 octal digits of a header.
        header.size = header.size if extended.size is None else extended.size
        header.name = extended.sparse_name or extended.name or header.name
        kind = _KINDS.get(header.type, f"entry of type {header.type!r}")
        if extended.sparse:
            kind = _KINDS[tarfile.GNUTYPE_SPARSE]
        elif kind == FILE and header.name.endswith("/"):
            kind = FOLDER
        self._left = 0 if header.type in _WITHOUT_PAYLOAD else header.size
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_map()
        return Entry(name=header.name, kind=kind, num_bytes=header.size, offset=offset, begin=begin)

    def _skip_sparse_map(self) -> None:
        """Read past the blocks between the header of a sparse file of the old GNU form and its payload."""
        more = self._block[_SPARSE_MORE_IN_HEADER]
        while more:
            block = self._plain.read(BLOCK)
            more = len(block) == BLOCK and block[_SPARSE_MORE_IN_MAP]

    def _cut_off(self) -> DataError:
        return self._error(
            f"{_shown(self._header.name)}: expected {self._header.size} bytes, found that the archive ends after "
            f"{self._plain.position} plain bytes: it is truncated, or the header is wrong"
        )

    def _expect_end(self) -> None:
        """Read to the end of the file, so that its checksum is verified; only zeros may be left, a block or more."""
        zeros = 0
        while piece := self._plain.read(_PIECE_BYTES):
            zeros += len(piece)
            if piece.strip(b"\0") or zeros > MAX_TAR_PADDING_BYTES:
                raise self._error(
                    f"expected nothing but zeros after its end, found other data before byte {self._plain.position}; "
                    "concatenated archives are not supported: give them one by one"
                )
        if zeros < BLOCK:
            raise self._error(
                f"expected two zero blocks at its end, found one at byte {self._plain.position - zeros - BLOCK}: "
                "it is truncated"
            )

    def _error(self, text: str) -> DataError:
        return DataError(f"{self._plain.name}: {text}" if self._plain.name else text)


def parse_header(block: bytes) -> tarfile.TarInfo:
    """Parse a header and compare its checksum.

    Raises:
        tarfile.HeaderError: It is no header, or damaged.
    """
    # Names that are not UTF-8 become unprintable.
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if not block.startswith(b"ustar\0", 257) and header.type in _KINDS:
        # Only a POSIX header has a prefix of the name at its end; the old GNU form has times there.
        name = block[:100].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        header.name = name.rstrip("/") if header.type == tarfile.DIRTYPE else name
    return header


def _shown(name: str) -> str:
    """Return a name for a message: escaped and shortened."""
    return repr(shorten(name, 200))
