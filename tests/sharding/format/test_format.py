"""What docs/format.md promises, by its own reference reader, by webdataset and by the tools people have."""

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharding.codecs.log16 import encode_log16
from sharding.codecs.log16_planes import encode_log16_planes
from sharding.codecs.npy import encode_npy
from sharding.codecs.pbm import encode_pbm
from sharding.codecs.planes import encode_planes
from sharding.codecs.ppm import encode_ppm
from sharding.codecs.rows import encode_rows
from sharding.config import IndexConfig, ShardDiodeConfig, ShardMegadepthConfig
from sharding.errors import DataError
from sharding.making.create import shard_diode, shard_megadepth
from sharding.making.index_tars import run as index_tars
from sharding.reading.shard_set import ShardSet
from sharding.reading.webdataset_decoder import webdataset_decoder

DOC = Path(__file__).parents[3] / "docs/format.md"
PRESETS = [("exact", "zstd"), ("exact", "none"), ("compact", "zstd"), ("compact", "none")]


@pytest.fixture(params=["diode", "megadepth"])
def source(request, diode_source, megadepth_source):
    return request.param, diode_source if request.param == "diode" else megadepth_source


@pytest.fixture(params=PRESETS, ids="-".join)
def opened(request, source, tmp_path):
    preset, compression = request.param
    dataset, root = source
    options = {"preset": preset, "compression": compression, "shard_size": 9000, "workers": 1}
    options |= {"source": str(root), "set": str(tmp_path / "set")}
    if dataset == "diode":
        shard_diode(ShardDiodeConfig(split="train", **options))
    else:
        shard_megadepth(ShardMegadepthConfig(with_depth=True, **options))
    return ShardSet(tmp_path / "set")


def encode_png(image):
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


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


def reference_reader():
    """The function `read_shard` of the document."""
    code = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[0]
    assert len(code.splitlines()) <= 90
    names = {}
    exec(code, names)
    return names["read_shard"]


def test_the_reference_reader_of_the_document_gives_the_same_arrays(opened):
    read_shard = reference_reader()
    assert_same(dict(sample for path in paths(opened) for sample in read_shard(path)), opened)


def test_the_document_tells_which_encodings_a_preset_has(opened):
    table = DOC.read_text().partition("### Presets")[2]
    preset, kinds = opened.manifest.made["preset"], opened.index["kind"]
    coded = kinds.isin(["metric", "up_to_scale"]) & (preset == "compact")
    assert set(opened.index["depth_ext"][coded]) <= {"log16.npy"}
    packed = opened.manifest.shards[0].compression == "zstd"
    assert set(opened.index["depth_ext"][~coded]) <= {"planes.npy" if packed else "npy"}
    assert set(opened.index["valid_ext"][~coded]) <= {"pbm"}
    assert set(opened.index["valid_ext"][coded]) <= {""}
    pixels = "rows.npy" if packed else "ppm"
    images = {"diode": {"exact": {pixels}, "compact": {"jpg"}}}
    images["megadepth"] = {"exact": {"jpg", pixels, "png"}, "compact": {"jpg"}}
    assert set(opened.index["image_ext"]) == images[opened.manifest.dataset][opened.manifest.made["preset"]]
    for ext in ("rows.npy", "ppm", "planes.npy", "npy", "log16.npy", "valid.pbm"):
        assert f"`{ext}`" in table


def test_sets_made_earlier_are_read_alike_by_all(tmp_path):
    """Depth as plain .npy and as log16.png, valid as PNG, image as PNG: no preset has them any more."""
    depth = np.linspace(0, 300, 12, dtype=np.float32).reshape(3, 4)
    pictures = {"png": np.full((3, 4, 3), 7, np.uint8), "valid.png": depth > 0}
    members = {name: encode_png(Image.fromarray(array)) for name, array in pictures.items()}
    encoded = {"a": {"depth.npy": encode_npy(depth)}, "b": {"depth.log16.png": encode_log16(depth, depth > 0)}}
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/old.tar", "w") as tar:
        for key, parts in encoded.items():
            for name, data in (members | parts).items():
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    index_tars(IndexConfig(tars=str(tmp_path / "tars"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    np.testing.assert_array_equal(opened[0].depth, depth)
    np.testing.assert_allclose(opened[1].depth, depth, rtol=1e-4)
    assert_same(dict(reference_reader()(paths(opened)[0])), opened)
    for key, parts in encoded.items():
        row = list(opened.index["key"]).index(key)
        for name, data in (members | parts).items():
            ours = getattr(opened[row], name.partition(".")[0] if "." in name else "image")
            np.testing.assert_array_equal(webdataset_decoder(f".{name}", data), ours)


def test_every_encoding_is_read_alike_by_all(tmp_path):
    rng = np.random.default_rng(0)
    image, depth = rng.integers(0, 256, (5, 67, 3), np.uint8), rng.uniform(0.4, 90, (5, 67)).astype(np.float32)
    valid = rng.random(depth.shape) < 0.6
    members = {
        "a": {"rows.npy": encode_rows(image), "depth.planes.npy": encode_planes(depth), "valid.pbm": encode_pbm(valid)},
        "b": {"ppm": encode_ppm(image), "depth.log16.npy": encode_log16_planes(depth, valid)},
    }
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars/any.tar", "w") as tar:
        for key, parts in members.items():
            for name, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    index_tars(IndexConfig(tars=str(tmp_path / "tars"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    assert_same(dict(reference_reader()(paths(opened)[0])), opened)
    for sample, parts in zip(opened.read([0, 1]), members.values(), strict=True):
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.valid, valid)
        np.testing.assert_allclose(sample.depth[valid], depth[valid], rtol=1e-4)
        for name, data in parts.items():
            ours = getattr(sample, name.partition(".")[0] if name.startswith(("depth", "valid")) else "image")
            np.testing.assert_array_equal(webdataset_decoder(f".{name}", data), ours)


def test_webdataset_gives_the_same_arrays(opened):
    webdataset = pytest.importorskip("webdataset")
    if shutil.which("zstd") is None and opened.manifest.shards[0].compression == "zstd":
        pytest.skip("the zstd program is not installed")
    prefix = "pipe:zstd -dc " if opened.manifest.shards[0].compression == "zstd" else ""
    urls = [prefix + str(path) for path in paths(opened)]
    found = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False).decode(webdataset_decoder, pre=[], post=[]):
        (image,) = (sample[ext] for ext in ("jpg", "png", "rows.npy", "ppm") if ext in sample)
        (depth,) = (sample[ext] for ext in ("depth.planes.npy", "depth.npy", "depth.log16.npy") if ext in sample)
        found[sample["__key__"]] = {"image": image, "depth": depth, "valid": sample.get("valid.pbm", depth > 0)}
    assert_same(found, opened)


def test_our_decoder_alone_decodes_every_member_and_no_other(opened):
    parts = ("image", "depth", "valid", "meta")
    for row in range(len(opened)):
        members = opened.reader.read_encoded([row], parts)[0]
        for part, data in members.items():
            ext = opened.reader.ext(row, part)
            found = webdataset_decoder(f".{part}.{ext}" if part in ("depth", "valid") else f".{ext}", data)
            ours = opened.meta(row) if part == "meta" else getattr(opened[row], part)
            np.testing.assert_array_equal(found, ours)
    assert webdataset_decoder(".cls", b"1") is None
    for broken in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(DataError, match=r"member \.json: expected JSON, found \d+ bytes that are none"):
            webdataset_decoder(".json", broken)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd program is not installed")
def test_zstd_and_tar_accept_the_shards(opened):
    for path in paths(opened):
        if path.suffix == ".zst":
            subprocess.run(["zstd", "-tq", path], check=True)
            listing = subprocess.run(["tar", "--zstd", "-tvf", path], capture_output=True, check=True, text=True).stdout
        else:
            listing = subprocess.run(["tar", "-tvf", path], capture_output=True, check=True, text=True).stdout
        rows = opened.index[opened.index["shard"] == path.name]
        assert len(listing.splitlines()) == 4 * len(rows) - (rows["valid_ext"] == "").sum()


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
        assert between[index[f"{after}_offset"] >= 0].between(0, gap).all()
