"""A Parquet file that nobody vouches for, read into a table of exactly the columns and types that are wanted.

What the file says of itself beside them (pandas' metadata, row labels, other columns) is not read. Nothing is inflated
before it is known how large it becomes, and text that the file has once, in a dictionary, is kept once.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sharding.errors import DataError
from sharding.escaping import shorten
from sharding.format.parquet_pages import TAIL_BYTES, Chunk, chunks, has_dictionary, page_sizes
from sharding.limits import MAX_FOOTER_BYTES, MAX_INDEX_BYTES, MAX_TEXT_CHARS, over

if TYPE_CHECKING:
    import pyarrow as pa  # takes a quarter of a second, so only the functions that read a table import it
    import pyarrow.parquet as pq

_PAGE_BYTES = 16 << 10  # what a page counts at least, so that their number is limited as well
_CODE_BYTES = 4  # of a text's place in its dictionary


def read_table(data: bytes, where: str, columns: Mapping[str, str], rows: int | None) -> "dict[str, pa.Array]":
    """Read columns of a Parquet file, each as small as it is stored.

    One column is read after the other, so that at no time there are all of them in another form as well.

    Args:
        data: The file.
        where: Name of the file, for messages.
        columns: Name -> type: "str", or a number as numpy names it.
        rows: Number of rows that it must have; None if that is not known.

    Returns:
        The columns in the given order, without nulls; a null float is NaN. Text is `large_string`, or where the file
        has a dictionary of it that is worth it, a `DictionaryArray` of `large_string`. Signed integers, and the places
        in a dictionary, are of the narrowest type that holds all of them.

    Raises:
        DataError: It is no Parquet file, is too large, or lacks a column of that name and type; names the column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = _read_footer(data, where)
    _check_columns(metadata, where, columns)
    _check_rows(metadata, where, columns, rows)
    # Text in a dictionary stays there, because it may be longer than the file by any factor.
    coded = _check_sizes(data, where, columns)
    with _named(where, data):
        file = pq.ParquetFile(pa.BufferReader(data), metadata=metadata, read_dictionary=sorted(coded))
    found, left = {}, MAX_INDEX_BYTES
    for name, kind in columns.items():
        with _named(where, data):
            column = file.read(columns=[name], use_threads=False, use_pandas_metadata=False)[name]
        if rows is not None and len(column) != rows:
            raise DataError(f"{where}: expected {rows} rows, found {len(column)}")
        if kind == "str" and (left := left - _check_text(column, f"{where}: column {name}")) < 0:
            raise DataError(f"{where}: column {name}: {over('found more bytes of text', MAX_INDEX_BYTES)}")
        found[name] = _convert(column, kind, f"{where}: column {name}")
    if len(lengths := {len(column) for column in found.values()}) > 1:
        raise DataError(f"{where}: expected columns of one length, found {sorted(lengths)}")
    return found


def release_unused() -> None:
    """Give back to the system what pyarrow keeps for later arrays."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


@contextmanager
def _named(where: str, data: bytes) -> Iterator[None]:
    """Turn what the reader of Parquet raises into a DataError: of many types, by the damage."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = shorten(str(error).partition("\n")[0]) or type(error).__name__
        raise DataError(
            f"{where}: expected a Parquet file, found {len(data)} bytes of something else: {reason}"
        ) from None


def _read_footer(data: bytes, where: str) -> "pq.FileMetaData":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(data) > MAX_INDEX_BYTES:
        raise DataError(f"{where}: {over(f'found {len(data)} bytes', MAX_INDEX_BYTES)}")
    if (footer := int.from_bytes(data[-TAIL_BYTES:-4], "little")) > MAX_FOOTER_BYTES and data.endswith(b"PAR1"):
        raise DataError(f"{where}: {over(f'found a footer of {footer} bytes', MAX_FOOTER_BYTES)}")
    with _named(where, data):
        return pq.read_metadata(pa.BufferReader(data))


def _check_columns(metadata: "pq.FileMetaData", where: str, columns: Mapping[str, str]) -> None:
    """Check that each wanted column is there once, with a type from which its own can be had without loss."""
    import pyarrow as pa

    with _named(where, b""):
        schema: pa.Schema = metadata.schema.to_arrow_schema()
    if missing := [name for name in columns if name not in schema.names]:
        raise DataError(f"{where}: columns {', '.join(missing)} are missing; make the set again or get a whole copy")
    for name, kind in columns.items():
        if (count := schema.names.count(name)) != 1:
            raise DataError(f"{where}: column {name}: expected it once, found it {count} times")
        found = schema.field(name).type
        if not _fits(found, kind):
            raise DataError(f"{where}: column {name}: expected {kind}, found {shorten(str(found), 80)}")


def _fits(found: "pa.DataType", kind: str) -> bool:
    import pyarrow as pa

    if kind == "str":
        value = found.value_type if pa.types.is_dictionary(found) else found
        return bool(pa.types.is_string(value) or pa.types.is_large_string(value))
    if "int" in kind:
        return bool(pa.types.is_integer(found))  # its values decide: see `_convert`
    return bool(pa.types.is_float32(found))


def _check_rows(metadata: "pq.FileMetaData", where: str, columns: Mapping[str, str], rows: int | None) -> None:
    """Check the number of rows, and that so many fit into memory, whatever text they hold."""
    found = metadata.num_rows
    if rows is not None and found != rows:
        raise DataError(f"{where}: expected {rows} rows, as many as the manifest has samples, found {found}")
    width = sum(_CODE_BYTES if kind == "str" else int(kind.strip("uintfloa")) // 8 for kind in columns.values())
    if found * width > MAX_INDEX_BYTES:
        raise DataError(f"{where}: {over(f'found {found} rows', MAX_INDEX_BYTES // width)}")


def _check_sizes(data: bytes, where: str, columns: Mapping[str, str]) -> set[str]:
    """Check that all pages of the wanted columns fit into memory, once decompressed.

    Returns:
        The columns of text of which some is in a dictionary.
    """
    left, coded = MAX_INDEX_BYTES, set()
    try:
        for chunk in chunks(data):
            if chunk.column not in columns:
                continue
            for size in _page_sizes(data, chunk):
                left -= max(size, _PAGE_BYTES)
                if left < 0:
                    found = f"found more bytes in all columns up to {chunk.column}"
                    raise DataError(f"{where}: {over(found, MAX_INDEX_BYTES)}")
            if columns[chunk.column] == "str" and has_dictionary(data, chunk):
                coded.add(chunk.column)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    return coded


def _page_sizes(data: bytes, chunk: Chunk) -> Iterator[int]:
    """Yield the sizes of the pages of a chunk; an error names its column."""
    try:
        yield from page_sizes(data, chunk)
    except ValueError as error:
        raise ValueError(f"column {chunk.column}: {error}") from None


def _check_text(column: "pa.ChunkedArray", where: str) -> int:
    """Check text, which may be in dictionaries; return the bytes it takes without them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        with _named(where, b""):
            chunk.validate(full=True)  # places within the dictionary, and text that is UTF-8
        coded = isinstance(chunk, pa.DictionaryArray)
        texts = chunk.dictionary if coded else chunk
        if chunk.null_count or texts.null_count:
            raise DataError(f"{where}: expected text in each row, found null")
        if not len(chunk):
            continue
        if (longest := pc.max(pc.utf8_length(texts)).as_py() or 0) > MAX_TEXT_CHARS:
            raise DataError(f"{where}: {over(f'found a text of {longest} characters', MAX_TEXT_CHARS)}")
        sizes = pc.binary_length(texts)
        total += pc.sum(pc.take(sizes, chunk.indices) if coded else sizes).as_py() or 0
    return total


def _convert(column: "pa.ChunkedArray", kind: str, where: str) -> "pa.Array":
    """Turn a column into one array of its type, as narrow as its values."""
    import pyarrow as pa

    if column.null_count and not pa.types.is_floating(column.type):
        raise DataError(f"{where}: expected a number in each row, found null")
    if column.null_count:
        column = column.fill_null(math.nan)  # which pandas writes as null
    try:
        if kind == "str":
            return _narrow_text(column)
        array = _as_array(column.cast(pa.from_numpy_dtype(kind)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: expected {kind}: {shorten(str(error).partition(chr(10))[0])}") from None
    return _narrow(array) if kind.startswith("int") else array


def _as_array(column: "pa.ChunkedArray") -> "pa.Array":
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _narrow_text(column: "pa.ChunkedArray") -> "pa.Array":
    """Keep the dictionary of a text that repeats."""
    import pyarrow as pa

    array = _as_array(column)
    if not isinstance(array, pa.DictionaryArray) or 2 * len(array.dictionary) > len(array):
        return array.cast(pa.large_string())
    return pa.DictionaryArray.from_arrays(_narrow(array.indices), array.dictionary.cast(pa.large_string()))


def _narrow(array: "pa.Array") -> "pa.Array":
    """Return signed integers in the narrowest type that holds all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = pc.min_max(array).as_py().values()
    for kind in (pa.int8(), pa.int16(), pa.int32()):
        end = 1 << kind.bit_width - 1
        if low is None or -end <= low <= high < end:
            return array.cast(kind)
    return array
