"""Rows of an index have the values of its table, in less memory."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import sharding.format.index_checks as checks
from sharding.errors import DataError
from sharding.format.index import COLUMNS, build_index, encode_index, read_index, select, select_rows
from sharding.format.index_rows import IndexRows
from sharding.format.parquet_table import read_table
from tests.sharding.format.indexes import as_table, make_index, write

ROWS = 300


def repeated(rows=ROWS):
    """An index of many rows in which all but the keys repeats."""
    index = make_index()
    frame = index.iloc[np.arange(rows) % len(index)].reset_index(drop=True)
    return frame.assign(key=[f"k{row}" for row in range(rows)], scene=[f"s{row // 100}" for row in range(rows)]).astype(
        index.dtypes.to_dict()
    )


FRAME = repeated()
STORED = {
    "ours": encode_index(FRAME),
    "keys in a dictionary": write(pa.Table.from_pandas(FRAME, preserve_index=False)),
    "no dictionaries": write(pa.Table.from_pandas(FRAME, preserve_index=False), use_dictionary=False),
    "groups of rows": write(pa.Table.from_pandas(FRAME, preserve_index=False), row_group_size=70),
}


@pytest.fixture(params=STORED)
def rows(request):
    return read_index(STORED[request.param], "i")


def test_the_table_and_each_column_are_those_that_were_written(rows):
    pd.testing.assert_frame_equal(rows.to_frame(), FRAME)
    for name in COLUMNS:
        pd.testing.assert_series_equal(rows[name], FRAME[name])


CONDITIONS = [
    "index % 7 == 3",
    "key in ['k5', 'k299', 'k1']",
    "scene == 's1' and depth_ext != ''",
    "kind.str.startswith('met') and scene.str.contains('2')",
    "height * width > 10 and image_crc32c == 1 and meta_crc32c > 4e9",
    "depth_offset == -1",
    "valid_fraction < 0.6 and depth_max > 3",
]


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_selects_the_same_rows_with_their_labels(rows, where):
    chosen, expected = select_rows(rows, where), select(FRAME, where)
    pd.testing.assert_frame_equal(chosen.to_frame(), expected)
    again = select_rows(chosen, "index > 4 and image_ext == 'jpg'")
    pd.testing.assert_frame_equal(again.to_frame(), select(expected, "index > 4 and image_ext == 'jpg'"))


def test_a_condition_on_any_column_is_computed(rows):
    for name, kind in COLUMNS.items():
        value = repr(FRAME[name].iloc[5]) if kind == "str" else FRAME[name].iloc[5].item()
        chosen = select_rows(rows, f"{name} == {value}")
        assert chosen.index.tolist() == FRAME.index[FRAME[name] == FRAME[name].iloc[5]].tolist()


def test_texts_and_codes_of_a_subset_are_its_own(rows):
    chosen = rows.chosen(FRAME["scene"].to_numpy() == "s1")
    assert chosen.texts("scene") == ["s1"]
    codes, texts = chosen.codes("scene")
    assert [texts[code] for code in codes] == ["s1"] * 100
    assert sorted(rows.texts("depth_ext")) == ["", "planes.npy"]


def test_text_that_repeats_takes_a_byte_a_row_and_numbers_what_they_need():
    rows = read_index(STORED["ours"], "i")
    assert {rows.codes(name)[0].itemsize for name in ("shard", "scene", "kind", "image_ext", "meta_ext")} == {1}
    assert rows.numbers("height").dtype == np.int8  # 48
    assert rows.numbers("image_offset").dtype == np.int16  # to 3000
    assert rows.numbers("image_crc32c").dtype == np.uint32


@pytest.mark.parametrize(
    ("least", "most", "kind"),
    [
        (-128, 127, np.int8),
        (-129, 0, np.int16),
        (-1, 2**15 - 1, np.int16),
        (-1, 2**15, np.int32),
        (-1, 2**31, np.int64),
        (0, 2**29, np.int32),
    ],
)
def test_no_number_is_cut(least, most, kind):
    values = [least, 0, most]
    table = pa.table({"n": pa.array(values, pa.int64())})
    found = read_table(write(table), "i", {"n": "int64"}, 3)["n"].to_numpy()
    assert found.tolist() == values
    assert found.dtype == kind


def test_a_key_that_comes_twice_is_found_wherever_it_is():
    for first, second in [(0, 1), (0, 39_999), (16_383, 16_384), (20_000, 39_999)]:
        keys = [f"k{row}" for row in range(40_000)]
        keys[second] = keys[first]
        table = as_table().take(np.zeros(40_000, np.int64)).set_column(0, "key", pa.array(keys))
        with pytest.raises(DataError, match=f"expected each key once, found {keys[first]} again"):
            read_index(write(table), "i")


def test_keys_with_a_common_hash_are_compared(monkeypatch):
    monkeypatch.setattr(checks, "hash", lambda text: 7, raising=False)
    checks.check_rows(read_index(STORED["ours"], "i"), "i")
    with pytest.raises(DataError, match="found k1 again"):
        read_index(encode_index(FRAME.assign(key=["k1" if key == "k9" else key for key in FRAME["key"]])), "i")


def test_no_rows_are_an_index_as_well():
    rows = read_index(encode_index(build_index([])), "i")
    assert len(rows) == 0
    assert isinstance(rows, IndexRows)
    assert rows.texts("scene") == []
    assert rows.to_frame().dtypes.equals(FRAME.dtypes)
