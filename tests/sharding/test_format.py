"""What docs/format.md promises, by its own reference reader, by webdataset and by the tools people have."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sharding.config import ShardDiodeConfig
from sharding.create import shard_diode
from sharding.shardset import ShardSet
from sharding.wds import webdataset_decoder

DOC = Path(__file__).parents[2] / "docs/format.md"


@pytest.fixture(params=[("exact", "zstd"), ("exact", "none"), ("compact", "zstd"), ("compact", "none")], ids="-".join)
def opened(request, diode_source, tmp_path):
    preset, compression = request.param
    options = {"split": "train", "preset": preset, "compression": compression, "shard_size": 9000, "workers": 1}
    shard_diode(ShardDiodeConfig(source=str(diode_source), set=str(tmp_path / "set"), **options))
    return ShardSet(tmp_path / "set")


def paths(opened):
    return [Path(opened.url) / shard.name for shard in opened.manifest.shards]


def assert_same(found, opened):
    """`found` maps keys to parts; every part must equal what our reader gives."""
    assert set(found) == set(opened.index["key"])
    for row, key in enumerate(opened.index["key"]):
        sample = opened[row]
        for part in ("image", "depth", "valid"):
            ours = getattr(sample, part)
            assert found[key][part].dtype == ours.dtype
            np.testing.assert_array_equal(found[key][part], ours)


def test_the_reference_reader_of_the_document_gives_the_same_arrays(opened):
    code = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[0]
    assert len(code.splitlines()) <= 70
    names = {}
    exec(code, names)
    assert_same(dict(sample for path in paths(opened) for sample in names["read_shard"](path)), opened)


def test_webdataset_gives_the_same_arrays(opened):
    webdataset = pytest.importorskip("webdataset")
    if shutil.which("zstd") is None and opened.manifest.shards[0].compression == "zstd":
        pytest.skip("the zstd program is not installed")
    prefix = "pipe:zstd -dc " if opened.manifest.shards[0].compression == "zstd" else ""
    urls = [prefix + str(path) for path in paths(opened)]
    found = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False).decode(webdataset_decoder):
        image = sample.get("jpg", sample.get("png"))
        depth = sample.get("depth.npy", sample.get("depth.log16.png"))
        found[sample["__key__"]] = {"image": image, "depth": depth, "valid": sample["valid.png"]}
    assert_same(found, opened)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd program is not installed")
def test_zstd_and_tar_accept_the_shards(opened):
    for path in paths(opened):
        if path.suffix == ".zst":
            subprocess.run(["zstd", "-tq", path], check=True)
            listing = subprocess.run(["tar", "--zstd", "-tvf", path], capture_output=True, check=True, text=True).stdout
        else:
            listing = subprocess.run(["tar", "-tvf", path], capture_output=True, check=True, text=True).stdout
        assert len(listing.splitlines()) == 4 * (opened.index["shard"] == path.name).sum()


def test_the_index_has_the_columns_the_document_lists(opened):
    table = DOC.read_text().partition("## index.parquet")[2].partition("## manifest.json")[0]
    listed = {
        name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    parts = {
        name.replace("PART", part) for name in listed if "PART" in name for part in ("image", "depth", "valid", "meta")
    }
    assert {name for name in listed if "PART" not in name} | parts == set(opened.index.columns)


def test_a_sample_with_depth_is_one_range(opened):
    index = opened.index
    gap = 0 if opened.manifest.shards[0].compression == "zstd" else 1024
    for before, after in (("image", "depth"), ("depth", "valid")):
        between = index[f"{after}_offset"] - index[f"{before}_offset"] - index[f"{before}_bytes"]
        assert between.between(0, gap).all()
