"""Sizes of pages, against what pyarrow's writer says of them, and of headers made by hand."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sharding.format.parquet_pages import Chunk, chunks, has_dictionary, page_sizes

TABLE = pa.table({"text": [f"name {row}" for row in range(5000)], "number": range(5000)})


def write(**options):
    pq.write_table(TABLE, buffer := io.BytesIO(), row_group_size=2000, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_sizes_are_those_that_the_writer_summed(version, use_dictionary, compression):
    data = write(
        data_page_version=version,
        use_dictionary=use_dictionary,
        compression=compression,
        data_page_size=4000,
        write_batch_size=100,
    )
    found, metadata = list(chunks(data)), pq.read_metadata(io.BytesIO(data))
    assert [chunk.column for chunk in found] == ["text", "number"] * 3
    for at, chunk in enumerate(found):
        told = metadata.row_group(at // 2).column(at % 2)
        sizes = list(page_sizes(data, chunk))
        assert chunk.end - chunk.begin == told.total_compressed_size
        # The writer counts the headers, of some 20 to 100 bytes, as well.
        assert 0 < told.total_uncompressed_size - sum(sizes) < 100 * len(sizes)
        assert len(sizes) > 2


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("coded", [[], ["text"], ["number"], ["text", "number"]])
def test_a_chunk_has_a_dictionary_where_the_writer_made_one(version, coded):
    data = write(data_page_version=version, use_dictionary=coded)
    assert [has_dictionary(data, chunk) for chunk in chunks(data)] == [name in coded for name in TABLE.column_names] * 3


def test_a_page_of_places_tells_of_a_dictionary_that_is_elsewhere():
    data = b"PAR1" + header(5, 5, encoding=0) + bytes(5) + header(5, 5, encoding=8) + bytes(5)
    assert has_dictionary(data, Chunk("c", 4, len(data)))
    plain = b"PAR1" + header(5, 5, encoding=0) + bytes(5)
    assert not has_dictionary(plain, Chunk("c", 4, len(plain)))


def varint(value):
    value = value << 1  # zigzag of a number that is not negative
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def header(inflated, stored, encoding=0):
    """A page of version 1: fields 1 to 3, and in field 5 the number of values and the encoding."""
    return b"".join(
        [b"\x15\0\x15", varint(inflated), b"\x15", varint(stored), b"\x2c\x15\x02\x15", varint(encoding), b"\0\0"]
    )


def sizes_of(data):
    return list(page_sizes(data, Chunk("c", 4, len(data))))


def test_the_header_counts_and_not_the_footer():
    assert sizes_of(b"PAR1" + header(2**31 - 1, 3) + b"abc" + header(7, 0)) == [0, 2**31 - 1, 7]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header(3, 3)[:-1], "found the end of the file"),
        (header(3, 3, encoding=7) + b"abc", "found one of encoding 7"),
        # Lists of two numbers where the type of the page, and its encoding, should be.
        (b"\x19\x25\0\0" + header(3, 3)[2:] + b"abc", "expected a page of values or of a dictionary"),
        (header(3, 3)[:-4] + b"\x19\x25\0\0\0\0", "found one of encoding"),
        (b"\0", "expected a page with its size, found none"),
        (b"\x15\0\x15" + b"\xff" * 11, "expected a number of 64 bits, found a longer one"),
        (b"\x1c" * 40, "found a value of type 12 in it"),
        (b"\x15\x02" * 100 + b"\0", "found one of too many"),
        (b"\x15\0\x45\0" * 100 + b"\0", "found one of too many"),  # the same field again and again
        (b"\x19\xf1\xff\x7f" + bytes(20000), "found one of too many"),
        (b"\x18\x7f", "found the end of the file"),
        (b"\x18\xff\xff\xff\xff\x7f", "found a text of 34359738367 bytes"),
        (b"\x15\x0e\x15\x06\x15\x06\0abc", "found one of type 7"),
    ],
)
def test_a_damaged_header_is_refused(content, said):
    with pytest.raises(ValueError, match=said):
        sizes_of(b"PAR1" + content)
