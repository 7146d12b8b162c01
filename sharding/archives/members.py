"""The members of a tar, one after the other, from a stream of plain bytes. No path is ever made from a member's name.

A header is a block of 512 bytes; the payload follows, padded to whole blocks; a zero block ends the archive. Long names
and pax attributes are entries of their own before the file that they describe (POSIX pax, and
https://www.gnu.org/software/tar/manual/html_node/Standard.html).

Any entry but a regular file with a valid name is skipped and counted. Memory: one wanted member, at most
`MAX_MEMBER_BYTES`.
"""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sharding.archives.archive import Archive
from sharding.errors import DataError
from sharding.format.shard import BLOCK

MAX_MEMBER_BYTES = 256 << 20
"""A larger file is of no published data set: it is skipped and counted."""

MAX_EXTENSION_BYTES = 1 << 20
"""A larger long name or pax header is an attack or damage."""

MAX_PADDING_BYTES = 64 << 20
"""Maximum zeros after the end of the archive."""

_KINDS = {
    tarfile.DIRTYPE: "folder",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}
# Offsets of `isextended` (another block of the sparse map follows) in an old GNU header and in a block of the map.
_SPARSE_MORE_IN_HEADER, _SPARSE_MORE_IN_MAP = 482, 504
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
# Entries that describe the next one; b"X" is a pax header of Solaris.
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the archive.

    Attributes:
        name: With `/`, without a leading `./`.
        num_bytes: Its size.
        offset: Plain offset of its first header, that of a long name if it has one: a member boundary.
        end: Plain offset of the next header: a member boundary, at which a later reader can begin.
        data: Its bytes; None if it was not wanted.
    """

    name: str
    num_bytes: int
    offset: int
    end: int
    data: bytes | None


@dataclass(slots=True)
class _Extended:
    """What long names and pax headers contain about the member that follows."""

    name: str = ""
    size: int | None = None
    sparse: bool = False


@dataclass
class MemberReader:
    """Iterates over the plain files of an archive, from its position to its end.

    Args:
        archive: At the start or at a member boundary.
        wanted: Whether the bytes are needed, from name and size.
        count_from: Entries that begin before this plain offset are not counted: an earlier reader counted them.

    Attributes:
        skipped: Number of entries that this reader skipped, by reason; folders are not counted.

    Raises:
        DataError: It is not a tar, damaged, truncated, or followed by other data.
    """

    archive: Archive
    wanted: Callable[[str, int], bool] = lambda name, num_bytes: True
    count_from: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    _block: bytes = field(default=b"", init=False, repr=False)  # the last header as read, for its sparse map

    def __iter__(self) -> Iterator[Member]:
        """Yield the members; end only at the zero block that ends the archive."""
        offset, extended = self.archive.position, _Extended()
        while (header := self._header()) is not None:
            if header.type in _EXTENSIONS:
                self._extend(header, extended)
                continue  # `offset` stays at this first header of the member
            member = self._member(header, extended, offset)
            if member is not None:
                yield member
            offset, extended = self.archive.position, _Extended()
        self._expect_end()

    def _header(self) -> tarfile.TarInfo | None:
        """Read the next header; None at a zero block."""
        at = self.archive.position
        self._block = block = self.archive.read(BLOCK)
        if block == bytes(BLOCK):
            return None
        if len(block) < BLOCK:
            raise self._error(f"expected a header or the end blocks at byte {at}, found that it ends: it is truncated")
        try:
            # Checks the checksum of the header. Names that are not UTF-8 become unprintable, and are skipped later.
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            what = "a tar archive" if at == 0 else f"a tar header at byte {at}"
            raise self._error(f"expected {what}, found {block[:16]!r}: {error}") from error
        if header.size < 0:  # base-256 sizes have a sign
            raise self._error(f"header at byte {at}: {_shown(header.name)} claims {header.size} bytes")
        return header

    def _extend(self, header: tarfile.TarInfo, extended: _Extended) -> None:
        """Read a long name or a pax header; global ones and long link names are ignored."""
        if header.size > MAX_EXTENSION_BYTES:  # before its payload is read into memory
            raise self._error(
                f"header at byte {self.archive.position - BLOCK} claims a name or attributes of {header.size} bytes; "
                f"at most {MAX_EXTENSION_BYTES} are read"
            )
        data = self._payload(header)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            extended.name = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif header.type in (tarfile.XHDTYPE, b"X"):
            self._take_pax(data, extended)

    def _take_pax(self, data: bytes, extended: _Extended) -> None:
        for key, value in self._pax_records(data):
            if key == "path":
                extended.name = value
            elif key == "size":
                if not value.isdecimal():
                    raise self._error(f"pax header claims a size of {_shown(value)}")
                extended.size = int(value)
            elif key.startswith("GNU.sparse."):
                extended.sparse = True

    def _pax_records(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Yield key and value of each record: `LENGTH KEY=VALUE` and a line end, the length being that of all of it."""
        while data.strip(b"\0"):
            digits, _, _ = data[:20].partition(b" ")
            length = int(digits) if digits.isdigit() else 0  # 0: an empty record, which is refused below
            record = data[len(digits) + 1 : length]
            key, equals, value = record.partition(b"=")
            if length > len(data) or not equals or not value.endswith(b"\n"):
                raise self._error(f"expected pax records before byte {self.archive.position}, found {data[:16]!r}")
            yield key.decode("utf-8", "replace"), value[:-1].decode("utf-8", "surrogateescape")
            data = data[length:]

    def _member(self, header: tarfile.TarInfo, extended: _Extended, offset: int) -> Member | None:
        name = (extended.name or header.name).removeprefix("./")
        # A size of 8 GiB or more does not fit the 11 octal digits of a header.
        header.size = header.size if extended.size is None else extended.size
        header.name = name
        reason = _reason_to_skip(header, extended, name)
        if reason:
            self.skipped.update([reason] if reason != "folder" and offset >= self.count_from else [])
            self._skip(header)
            return None
        data = None
        if self.wanted(name, header.size):
            data = self._payload(header)
        else:
            self._skip(header)
        return Member(name=name, num_bytes=header.size, offset=offset, end=self.archive.position, data=data)

    def _payload(self, header: tarfile.TarInfo) -> bytes:
        data = self.archive.read(header.size)
        padding = -header.size % BLOCK  # up to a whole block
        if len(data) < header.size or self.archive.skip(padding) < padding:
            raise self._cut_off(header)
        return data

    def _skip(self, header: tarfile.TarInfo) -> None:
        """Read past the payload. Links and devices have none, whatever size their header contains."""
        if header.type in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            return
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_map()
        stored = header.size + -header.size % BLOCK
        if self.archive.skip(stored) < stored:
            raise self._cut_off(header)

    def _skip_sparse_map(self) -> None:
        """Read past the blocks between the header of a sparse file of the old GNU form and its payload."""
        more = self._block[_SPARSE_MORE_IN_HEADER]
        while more:
            block = self.archive.read(BLOCK)
            more = len(block) == BLOCK and block[_SPARSE_MORE_IN_MAP]

    def _cut_off(self, header: tarfile.TarInfo) -> DataError:
        return self._error(
            f"{_shown(header.name)}: expected {header.size} bytes, found that the archive ends after "
            f"{self.archive.position} plain bytes: it is truncated, or the header is wrong"
        )

    def _expect_end(self) -> None:
        """Read to the end of the file, so that its checksum is verified; only zeros may be left."""
        zeros = 0
        while piece := self.archive.read(1 << 16):
            zeros += len(piece)
            if piece.strip(b"\0") or zeros > MAX_PADDING_BYTES:
                raise self._error(
                    f"expected nothing but zeros after its end, found other data before byte {self.archive.position}; "
                    "concatenated archives are not supported: give them one by one"
                )

    def _error(self, text: str) -> DataError:
        return DataError(f"{self.archive.name}: {text}")


def _reason_to_skip(header: tarfile.TarInfo, extended: _Extended, name: str) -> str:
    if extended.sparse:
        return "sparse file"
    if header.type not in _FILES:
        return _KINDS.get(header.type, f"entry of type {header.type!r}")
    if name.endswith("/"):
        return "folder"
    if name.startswith("/") or ".." in name.split("/"):
        return "name that leads out of the archive"
    if not name or not name.isprintable():
        return "name that is no readable text"
    return f"file of more than {MAX_MEMBER_BYTES >> 20} MiB" if header.size > MAX_MEMBER_BYTES else ""


def _shown(name: str) -> str:
    """Return a name for a message: escaped and shortened."""
    return repr(name if len(name) <= 200 else name[:200] + "...")
