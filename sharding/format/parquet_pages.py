"""The pages of a Parquet file: how large they become, read from their headers, which is what its reader goes by.

The footer of a file repeats the sizes; a file made to exhaust memory has others there. Footer and headers are structs
of Thrift's compact protocol (https://github.com/apache/parquet-format). They are read here and not by pyarrow, because
that ends the process when it describes a damaged footer (`RowGroupMetaData.column` in version 26).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sharding.limits import MAX_FOOTER_BYTES

TAIL_BYTES = 8
"""A file ends with the length of its footer (4 bytes, little-endian) and the magic number `PAR1`."""

# Fields of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData and PageHeader, by their numbers.
_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_PATH, _CHUNK_BYTES, _DATA_AT, _DICTIONARY_AT = 3, 7, 9, 11
_PAGE_TYPE, _INFLATED, _COMPRESSED = 1, 2, 3
_DATA_V1, _DICTIONARY, _DATA_V2 = 0, 2, 3
_ENCODING = {_DATA_V1: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""Type of page -> the field with its own header, and the field of the encoding in that."""

_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
ENCODINGS = (_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY)
"""Encodings whose values are as long as the page, or are places in a dictionary; others repeat parts of values."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_MAX_LEVELS = 12
_MAX_HEADER_VALUES = 64
"""Fields, and members of lists, of a page's header; those of the format are 30, with statistics."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pages of a column in a group of rows.

    Attributes:
        column: Name of the column.
        begin, end: Their bytes in the file.
    """

    column: str
    begin: int
    end: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks that the footer of a file lists.

    Raises:
        ValueError: The footer is damaged.
    """
    begin = len(data) - TAIL_BYTES - int.from_bytes(data[-TAIL_BYTES:-4], "little")
    footer = _Reader(data, begin, len(data)).struct(_MAX_LEVELS)  # its bytes are limited by whoever reads it
    for group in _list(footer, _ROW_GROUPS):
        for chunk in _list(group, _COLUMNS):
            yield _chunk(chunk.get(_META) if isinstance(chunk, dict) else None, begin)


def _list(struct: Any, field: int) -> list[Any]:
    found = struct.get(field) if isinstance(struct, dict) else None
    if not isinstance(found, list):
        raise ValueError("expected groups of rows with their columns in the footer, found something else")
    return found


def _chunk(meta: Any, footer: int) -> Chunk:
    if not isinstance(meta, dict):
        raise ValueError("expected the description of a column in the footer, found none")
    path, size = meta.get(_PATH), meta.get(_CHUNK_BYTES)
    places = [place for place in (meta.get(_DATA_AT), meta.get(_DICTIONARY_AT)) if isinstance(place, int) and place > 0]
    if not (isinstance(path, list) and all(isinstance(name, bytes) for name in path)):
        raise ValueError("expected the name of a column in the footer, found something else")
    name = b".".join(path).decode(errors="replace")
    if not places and size == 0:  # of a column without rows and without a dictionary
        return Chunk(name, 0, 0)
    # The dictionary, if there is one, comes first.
    if not (places and isinstance(size, int) and 0 <= size <= footer - min(places)):
        raise ValueError(f"column {name}: expected its pages in the file, found them beyond its end")
    return Chunk(name, min(places), min(places) + size)


def page_sizes(data: bytes, chunk: Chunk) -> Iterator[int]:
    """Yield the bytes of each page of a chunk, once decompressed; 0 first.

    Raises:
        ValueError: A header is damaged, or a page is encoded so that its size tells nothing.
    """
    yield 0  # a chunk without pages is not free either
    for header in _headers(data, chunk):
        yield header[_INFLATED]


def has_dictionary(data: bytes, chunk: Chunk) -> bool:
    """Tell whether values of a chunk are places in a dictionary; if none are, they take no more than its pages.

    Raises:
        ValueError: As `page_sizes`.
    """
    coded = (_PLAIN_DICTIONARY, _RLE_DICTIONARY)
    return any(header[_PAGE_TYPE] == _DICTIONARY or _encoding(header) in coded for header in _headers(data, chunk))


def _headers(data: bytes, chunk: Chunk) -> Iterator[dict[int, Any]]:
    """Yield the header of each page of a chunk, checked."""
    at = chunk.begin
    while at < chunk.end:
        reader = _Reader(data, at, _MAX_HEADER_VALUES)
        header = reader.struct(_MAX_LEVELS)
        size, stored = header.get(_INFLATED), header.get(_COMPRESSED)
        if not (isinstance(size, int) and isinstance(stored, int) and size >= 0 and stored >= 0):
            raise ValueError("expected a page with its size, found none")
        _encoding(header)
        yield header
        at = reader.at + stored


def _encoding(header: dict[int, Any]) -> int:
    """Return the encoding of a page, which must be a known one."""
    kind = header.get(_PAGE_TYPE)
    if not isinstance(kind, int) or kind not in _ENCODING:  # a damaged header may have a list there
        raise ValueError(f"expected a page of values or of a dictionary, found one of type {str(kind)[:40]}")
    field, inner = _ENCODING[kind]
    encoding = header.get(field)
    found = encoding.get(inner) if isinstance(encoding, dict) else None
    if not isinstance(found, int) or found not in ENCODINGS:
        found = str(found)[:40]
        raise ValueError(f"expected a page of plain values or of places in a dictionary, found one of encoding {found}")
    return found


class _Reader:
    """Reads values of the compact protocol one after the other.

    Args:
        data: The file.
        at: Offset of the first one.
        values: The most that are read.

    Attributes:
        at: Offset of the next one.
    """

    def __init__(self, data: bytes, at: int, values: int) -> None:
        self._data, self.at, self._left = data, at, values

    def struct(self, levels: int) -> dict[int, Any]:
        """Read a struct as field -> value."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._signed()
            self._count()
            fields[number] = head & 15 == _TRUE if head & 15 in (_TRUE, _FALSE) else self._value(head & 15, levels)
        return fields

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("expected a footer or the header of a page, found one of too many fields")

    def _value(self, kind: int, levels: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _BINARY:
            return self._take(self._unsigned())
        if kind == _STRUCT and levels:
            return self.struct(levels - 1)
        if kind in (_LIST, _SET) and levels:
            return self._list(levels - 1)
        if kind in (_TRUE, _FALSE, _BYTE, _DOUBLE):  # in a list, a truth value takes a byte
            return self._take(8 if kind == _DOUBLE else 1)
        raise ValueError(f"expected a footer or the header of a page, found a value of type {kind} in it")

    def _list(self, levels: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        found = []
        for _ in range(count):
            self._count()
            found.append(self._value(head & 15, levels))
        return found

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)  # zigzag: the sign is the lowest bit

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("expected a number of 64 bits, found a longer one")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, size: int) -> bytes:
        if size > MAX_FOOTER_BYTES:
            raise ValueError(f"expected a footer or the header of a page, found a text of {size} bytes in it")
        found = self._data[self.at : self.at + size]
        if len(found) < size or self.at < 0:
            raise ValueError("expected a footer or the header of a page, found the end of the file")
        self.at += size
        return found
