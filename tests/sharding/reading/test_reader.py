import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig
from sharding.errors import DataError, UsageError
from sharding.format.index import encode_index
from sharding.making.create import shard_diode
from sharding.reading.shard_set import ShardSet


class CountingStore:
    """A store around a store that keeps the ranges it was asked for."""

    def __init__(self, inner):
        self._inner, self.ranges = inner, []

    def read(self, name, ranges):
        self.ranges += [(name, *r) for r in ranges]
        return self._inner.read(name, ranges)


@pytest.fixture(params=["zstd", "none"])
def opened(request, diode_source, tmp_path):
    options = {"split": "train", "shard_size": 9000, "workers": 1, "compression": request.param}
    shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), **options))
    return ShardSet(tmp_path / "set")


def count(opened):
    reader = opened.reader
    store = CountingStore(reader.store)
    reader._store = os.getpid(), store
    return store


def test_samples_come_in_the_order_of_the_rows_asked_for(opened):
    rows = [7, 0, 3, 3, 8]
    assert [sample.key for sample in opened.read(rows)] == list(opened.index["key"].iloc[rows])


def test_reading_images_touches_no_byte_of_depth(opened):
    store = count(opened)
    samples = opened.read(range(len(opened)), ("image",))
    assert sum(length for _, _, length in store.ranges) == opened.index["image_bytes"].sum()
    assert all(sample.depth is None for sample in samples)


def test_a_whole_sample_is_one_range(opened):
    store = count(opened)
    opened.read([2])
    assert len(store.ranges) == 1


def test_a_subset_keeps_the_ids_of_the_whole(opened):
    subset = ShardSet(opened.url, where="scene_type == 'indoors'")
    assert len(subset) == 3
    assert subset.shard_sizes.sum() == 3
    assert len(subset.shard_sizes) == len(opened.shard_sizes)
    for row, identity in enumerate(subset.ids):
        assert subset[row].key == opened[int(identity)].key


@pytest.mark.parametrize("where", ["colour == 1", "scene ==", "scene == 'nowhere'"])
def test_a_wrong_or_empty_query_is_a_usage_error(opened, where):
    with pytest.raises(UsageError, match="--where"):
        ShardSet(opened.url, where=where)


def test_a_set_survives_pickling(opened):
    copy = pickle.loads(pickle.dumps(opened))
    np.testing.assert_array_equal(copy[1].depth, opened[1].depth)


def test_a_damaged_sample_names_shard_key_and_what_to_do(opened, tmp_path):
    row = opened.index.iloc[5]
    path = tmp_path / "set/shards" / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["depth_offset"] + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{row['shard']}, key {row['key']}.*crc32c.*depthstream verify"):
        opened[5]


def test_meta_says_where_a_sample_comes_from(opened):
    meta = opened.meta(0)
    assert meta["source"]["image"].endswith(opened.index["key"].iloc[0] + ".png")
    assert meta["depth_unit"] == "m"
    assert meta["depth_kind"] == "metric"


@pytest.mark.parametrize("ext", ["pkl", "pth", "depth.npy", "__url__", "x" * 4000])
@pytest.mark.parametrize("part", ["image", "depth"])
def test_an_extension_that_no_part_has_is_refused_when_a_set_is_opened(opened, tmp_path, part, ext):
    shutil.copytree(opened.url, tmp_path / "copy")
    index = opened.index.copy()
    index.loc[3, f"{part}_ext"] = ext
    data = encode_index(index)
    (tmp_path / "copy/index.parquet").write_bytes(data)
    manifest = json.loads((tmp_path / "copy/manifest.json").read_text())
    manifest["index_sha256"] = hashlib.sha256(data).hexdigest()
    (tmp_path / "copy/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=rf"column {part}_ext: expected one of .*, found ") as caught:
        ShardSet(tmp_path / "copy")
    assert len(str(caught.value)) < 400
