"""The columns that readers share: keys of any length, and the extensions for which there is a decoder."""

import numpy as np
import pandas as pd
import pytest

from sharding.errors import DataError
from sharding.format.tool import tool_version
from sharding.reading.columns import check_exts, flatten
from sharding.reading.reader import SampleReader
from tests.sharding.format.indexes import SHARD, as_rows, make_index


def keyed(keys):
    return pd.concat([make_index().iloc[:1]] * len(keys), ignore_index=True).assign(key=keys)


def reader_of(index):
    columns, exts = flatten(as_rows(index), [f"shards/{SHARD}"])
    return SampleReader("set", lambda: None, [SHARD], ["zstd"], columns, exts)


def test_every_key_comes_back():
    keys = ["a", "", "\u00fcber/\U0001f600", "nul\0inside", "x" * 4096, "z"]
    index = keyed(keys)
    assert [reader_of(index).key(row) for row in range(len(keys))] == keys
    # A subset shares the memory of the whole.
    assert [reader_of(index[2:5]).key(row) for row in range(3)] == keys[2:5]
    chosen = index[index["key"].isin(["a", "z"])]
    assert [reader_of(chosen).key(row) for row in range(2)] == ["a", "z"]


def test_one_long_key_does_not_make_the_others_long():
    columns, _ = flatten(as_rows(keyed(["x" * 3_000_000] + ["y"] * 2999)), [f"shards/{SHARD}"])
    assert sum(np.asarray(column).nbytes for column in columns.values()) < 4_000_000


@pytest.mark.parametrize("part", ["image", "depth", "valid", "meta"])
@pytest.mark.parametrize("ext", ["pickle", "pth", "pyd", "npy.gz", "x\x1b[2J"])
def test_an_extension_without_a_decoder_is_refused(part, ext):
    with pytest.raises(DataError, match=rf"^i: column {part}_ext: expected one of .*, found '") as caught:
        check_exts(as_rows(make_index().assign(**{f"{part}_ext": ext})), "i", "depthstream 7.8.9")
    assert repr(ext) in str(caught.value)
    said = "; it was made by depthstream 7.8.9: use that version or a newer one, this is depthstream "
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_of_this_very_version_has_no_other_extension():
    with pytest.raises(DataError, match=r"found 'new\.npy'; it was edited or damaged$"):
        check_exts(as_rows(make_index().assign(image_ext="new.npy")), "i", tool_version())


@pytest.mark.parametrize(
    "exts",
    [
        {"image_ext": "JPG", "depth_ext": "npy", "valid_ext": "PNG", "meta_ext": "JSON"},
        {"image_ext": "webp", "depth_ext": "log16.png", "valid_ext": "npy", "meta_ext": ""},
        {"image_ext": "rows.npy", "depth_ext": "log16.npy", "valid_ext": "pbm", "meta_ext": "json"},
    ],
)
def test_extensions_of_sets_made_earlier_or_elsewhere_are_known(exts):
    check_exts(as_rows(make_index().assign(**exts)), "i", "")


def test_a_shard_that_the_manifest_lacks_is_named():
    with pytest.raises(DataError, match=f"the index names shard {SHARD}, which the manifest lacks"):
        flatten(as_rows(make_index()), ["shards/other.tar"])


def test_rows_keep_their_parts():
    reader = reader_of(make_index())
    assert [reader.ext(3, part) for part in ("image", "depth", "valid", "meta")] == ["jpg", "", "", "json"]
    assert reader.ranges(0, ("image", "depth")) == [(0, 800)]
