"""The pages of a Parquet file: how large they become, read from their headers, which is what its reader goes by.

The footer of a file repeats the sizes; a file made to exhaust memory has others there. A header is a struct of Thrift's
compact protocol (https://github.com/apache/parquet-format, `PageHeader`).
"""

from collections.abc import Iterator
from typing import Any

_DATA_V1, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_PAGE_TYPE, _INFLATED, _COMPRESSED, _CRC, _V1_HEADER, _INDEX_HEADER, _DICTIONARY_HEADER, _V2_HEADER = range(1, 9)
_ENCODING = {_DATA_V1: (_V1_HEADER, 2), _DICTIONARY: (_DICTIONARY_HEADER, 2), _DATA_V2: (_V2_HEADER, 4)}
"""Type of page -> the field with its own header, and the field of the encoding in that."""

_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
ENCODINGS = (_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY)
"""Encodings whose values are as long as the page, or are places in a dictionary; others repeat parts of values."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12
_MAX_LEVELS = 4


def page_sizes(data: bytes, chunk: Any) -> Iterator[int]:
    """Yield the bytes of each page of a column chunk, once decompressed; 0 first.

    Args:
        data: The file.
        chunk: `pyarrow.parquet.ColumnChunkMetaData` of it.

    Raises:
        ValueError: A header is damaged, or a page is encoded so that its size tells nothing.
    """
    yield 0  # a chunk without pages is not free either
    column = chunk.path_in_schema
    at = min(place for place in (chunk.data_page_offset, chunk.dictionary_page_offset) if place)
    end = at + chunk.total_compressed_size
    if not 0 < at <= end <= len(data):
        raise ValueError(f"the pages of column {column} are not in the file")
    while at < end:
        header, at = _read_struct(data, at, _MAX_LEVELS)
        size, stored = header.get(_INFLATED), header.get(_COMPRESSED)
        if not (isinstance(size, int) and isinstance(stored, int) and size >= 0 and stored >= 0):
            raise ValueError(f"a page of column {column} has no size")
        _check_encoding(header, column)
        yield size
        at += stored


def _check_encoding(header: dict[int, Any], column: str) -> None:
    kind = header.get(_PAGE_TYPE)
    if kind not in _ENCODING:
        raise ValueError(f"a page of column {column} is of the unknown type {kind}")
    field, inner = _ENCODING[kind]
    encoding = header.get(field)
    found = encoding.get(inner) if isinstance(encoding, dict) else None
    if found not in ENCODINGS:
        raise ValueError(f"a page of column {column} has encoding {found}; expected plain values or a dictionary")


def _read_struct(data: bytes, at: int, levels: int) -> tuple[dict[int, Any], int]:
    """Read a struct; return field -> value, and the offset behind it."""
    if not levels:
        raise ValueError("a header has too many levels")
    fields: dict[int, Any] = {}
    number = 0
    while (head := _byte(data, at)) != 0:
        kind, at = head & 15, at + 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _read_int(data, at)
        fields[number], at = _read_value(data, at, kind, levels)
    return fields, at + 1


def _read_value(data: bytes, at: int, kind: int, levels: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in (_I16, _I32, _I64):
        return _read_int(data, at)
    if kind == _BINARY:
        length, at = _read_varint(data, at)
        return None, at + length
    if kind == _STRUCT:
        return _read_struct(data, at, levels - 1)
    if kind in (_BYTE, _DOUBLE):
        return None, at + (1 if kind == _BYTE else 8)
    raise ValueError(f"a header has a value of the unknown type {kind}")


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return value >> 1 ^ -(value & 1), at  # zigzag: the sign is the lowest bit


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(data, at)
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("a header has a number of more than 64 bits")


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("a header is cut")
    return data[at]
