"""An index is read as it was written, or refused in one line that names row and column."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.errors import DataError
from sharding.format.index import COLUMNS, decode_index, encode_index
from tests.sharding.format.indexes import MANIFEST, ROWS, SHARD_BYTES, as_table, encode, make_index, write

INDEX = make_index()


def decode(data):
    return decode_index(data, "s/index.parquet", MANIFEST)


def refusal(data):
    with pytest.raises(DataError) as caught:
        decode(data)
    text = str(caught.value)
    assert text.startswith("s/index.parquet: ")
    assert "\n" not in text
    assert len(text) < 1000
    return text.removeprefix("s/index.parquet: ")


def test_an_index_is_read_as_it_was_written():
    for data in (encode_index(INDEX), encode()):
        pd.testing.assert_frame_equal(decode(data), INDEX)


LABELS = json.dumps({"index_columns": ["key"], "columns": [], "column_indexes": [], "pandas_version": "3"}).encode()
ALIKE = {
    "as pandas 2 wrote it": lambda: write(as_table().cast(pa.schema([(n, small(t)) for n, t in types()]))),
    "labels of rows": lambda: write(as_table().replace_schema_metadata({b"pandas": LABELS})),
    "broken metadata of pandas": lambda: write(as_table().replace_schema_metadata({b"pandas": b'{"columns": 5'})),
    "other columns": lambda: write(as_table().append_column("more", pa.array([["x"]] * ROWS))),
    "other order": lambda: write(as_table().select(list(COLUMNS)[::-1])),
    "groups of rows": lambda: write(as_table(), row_group_size=1),
    "no dictionaries": lambda: write(as_table(), use_dictionary=False, compression="none"),
    "pages of version 2": lambda: write(as_table(), data_page_version="2.0"),
    "a dictionary": lambda: encode(key=as_table()["key"].dictionary_encode()),
    "wider numbers": lambda: encode(height=pa.array([48] * ROWS, pa.int64())),
}


def types():
    return [(field.name, field.type) for field in as_table().schema]


def small(kind):
    return pa.string() if pa.types.is_large_string(kind) else kind


@pytest.mark.parametrize("name", ALIKE)
def test_how_it_is_stored_makes_no_difference(name):
    pd.testing.assert_frame_equal(decode(ALIKE[name]()), INDEX)


def four(value, kind=None):
    return pa.array([value] * ROWS, kind)


WRONG = [
    ({"key": four(1)}, "column key: expected str, found int64"),
    ({"key": four(b"\xff")}, "column key: expected str, found binary"),
    ({"key": four(["a"])}, "column key: expected str, found list<element: string>"),
    ({"key": ["a", None, "b", "c"]}, "column key: expected text in each row, found null"),
    ({"key": ["a", "b", "c", "a"]}, "column key: expected each key once, found a again"),
    ({"key": ["a", "", "c", "d"]}, "row 1, key : key: expected text, found ''"),
    ({"key": ["a", "x" * 4097, "c", "d"]}, "column key: found a text of 4097 characters; at most 4096 are read"),
    ({"shard": four("../x")}, "row 0, key k0: shard: expected a shard of the manifest, found '../x'"),
    ({"kind": four("\x1b[2J")}, "row 0, key k0: kind: expected one of metric, up_to_scale, ordinal, none, found "),
    ({"height": four(1.0)}, "column height: expected int32, found double"),
    ({"height": four(2**31)}, "column height: expected int32: Integer value 2147483648 not in range"),
    ({"height": [1, 2, None, 4]}, "column height: expected a number in each row, found null"),
    ({"width": [1, -2, 3, 4]}, "row 1, key k1: width: expected at least 0, found -2"),
    ({"width": four(2**31 - 1)}, "row 0, key k0: height x width: expected fewer; at most 67108864 are read"),
    ({"valid_fraction": four(1.5)}, "column valid_fraction: expected float32, found double"),
    ({"valid_fraction": four(1.5, pa.float32())}, "row 0, key k0: valid_fraction: expected 0 to 1, found 1.5"),
    ({"valid_fraction": four(np.nan, pa.float32())}, "row 0, key k0: valid_fraction: expected 0 to 1, found nan"),
    ({"image_offset": four(-2)}, "row 0, key k0: image_offset: expected at least 0, found -2"),
    ({"image_offset": four(-1)}, "row 0, key k0: image_offset: expected -1 without a image, and only then, found -1"),
    ({"depth_ext": four("npy")}, "row 3, key k3: depth_offset: expected -1 without a depth, and only then, found -1"),
    ({"image_offset": four(2**63 - 1)}, "row 0, key k0: image_offset: expected a place within its shard, found 92"),
    ({"image_offset": four(SHARD_BYTES - 99)}, "row 0, key k0: image_offset: expected a place within its shard"),
    ({"image_bytes": four(-1)}, "row 0, key k0: image_bytes: expected at least 0, found -1"),
    ({"image_bytes": four(2**40)}, "row 0, key k0: image_bytes: expected fewer; at most 536870912 are read"),
    ({"image_crc32c": four(2**32)}, "column image_crc32c: expected uint32: Integer value 4294967296 not in range"),
]


@pytest.mark.parametrize(("columns", "said"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_value_is_named_with_row_and_column(columns, said):
    assert refusal(encode(**columns)).startswith(said)


def test_a_span_may_end_where_its_shard_does():
    decode(encode(image_offset=four(SHARD_BYTES - 100)))


def test_columns_are_missing_or_twice():
    assert refusal(write(as_table().drop(["key", "width"]))).startswith("columns key, width are missing; make the set")
    twice = as_table().append_column("key", as_table()["key"])
    assert refusal(write(twice)) == "column key: expected it once, found it 2 times"


def test_there_are_as_many_rows_as_the_manifest_has_samples():
    assert refusal(write(as_table().slice(1))) == "expected 4 rows, as many as the manifest has samples, found 3"
    assert len(decode_index(write(as_table().slice(1)), "m")) == 3


def repeated(text, rows):
    """An index of many rows, in which a column of text repeats one value: it is stored once."""
    table = as_table().take(np.arange(rows) % ROWS)
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
    keys = pa.array([f"k{row}" for row in range(rows)])
    at = list(COLUMNS).index("scene")
    return write(table.set_column(at, "scene", column).set_column(0, "key", keys))


def many(rows):
    return replace(MANIFEST, samples=rows)


def test_text_that_is_stored_once_and_inflates_is_refused_before_it_does():
    data = repeated("x" * 3_000_000, 8000)  # 24 GB
    assert len(data) < 300_000
    with pytest.raises(DataError, match="column scene: found a text of 3000000 characters"):
        decode_index(data, "m", many(8000))
    with pytest.raises(DataError, match=r"column scene: found more bytes of text; at most 1073741824 are read"):
        decode_index(repeated("x" * 4096, 264_000), "m", many(264_000))  # 1.08 GB


def test_text_that_is_stored_as_differences_is_refused():
    keys = [f"{'x' * 4000}{row}" for row in range(ROWS)]
    data = write(
        as_table().set_column(0, "key", pa.array(keys)),
        use_dictionary=False,
        column_encoding={"key": "DELTA_BYTE_ARRAY"},
    )
    assert refusal(data).startswith(
        "column key: expected a page of plain values or of places in a dictionary, found one"
    )


DAMAGED = {
    "empty": b"",
    "text": b"hello, world",
    "magic": b"PAR1" * 3,
    "long footer": b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
    "encrypted": encode()[:-4] + b"PARE",
    "cut": encode()[:-1],
    "cut in front": encode()[100:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_index_is_refused(name):
    refusal(DAMAGED[name])


def typed_or_refused(data):
    """Decode it; what is accepted has exactly the types of an index, and survives another time."""
    try:
        found = decode(data)
    except DataError:
        refusal(data)
    else:
        assert found.dtypes.equals(INDEX.dtypes)
        pd.testing.assert_frame_equal(decode(encode_index(found)), found)


def test_a_damaged_footer_is_refused():
    """Each is a description that ends the process if pyarrow is asked for its columns, or is near to that."""
    whole = encode()
    length = int.from_bytes(whole[-8:-4], "little")
    for at in [*range(48), *range(48, length, 97)]:
        data = bytearray(whole)
        data[len(data) - 8 - length + at] ^= 2
        typed_or_refused(bytes(data))


STORED = [encode(), write(as_table(), use_dictionary=False, compression="none")]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(STORED), st.data())
def test_any_bytes_anywhere_are_typed_or_refused(stored, data):
    at = data.draw(st.integers(0, len(stored)))
    cut, inserted = data.draw(st.integers(0, 8)), data.draw(st.binary(max_size=8))
    typed_or_refused(stored[:at] + inserted + stored[at + cut :])


TEXT = st.lists(st.text(max_size=5) | st.none() | st.just("x" * 5000), min_size=ROWS, max_size=ROWS)
INTS = st.lists(st.integers(-(2**63), 2**64 - 1) | st.none(), min_size=ROWS, max_size=ROWS)
NUMBERS = st.lists(st.floats(width=32) | st.none(), min_size=ROWS, max_size=ROWS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(COLUMNS)), st.one_of(TEXT, INTS, NUMBERS))
def test_any_values_in_any_column_are_typed_or_refused(column, values):
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, OverflowError):  # text with half characters, or integers that no type holds all of
        return
    typed_or_refused(encode(**{column: array}))
