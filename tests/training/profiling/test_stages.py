import io
import shutil
import tarfile

import numpy as np
import pytest
import torch

from sharding.config import IndexConfig, ShardMegadepthConfig
from sharding.errors import DataError
from sharding.making.create import shard_megadepth
from sharding.making.index_tars import run as index_tars
from sharding.reading.shard_set import ShardSet
from training.profiling.stages import CHAIN, STAGES, make_at_once, make_in_stages, plan_work, time_loaders, time_stages
from training.profiling.stopwatch import Stopwatch

DEPTH_STAGES = {"decode_depth"}
COPYING_STAGES = {"to_tensors", "collate"}  # views with depth are written into the batch


@pytest.fixture(scope="module")
def image_set(megadepth_tree, tmp_path_factory):
    """The images of the MegaDepth tree: portrait and landscape, no depth."""
    target = tmp_path_factory.mktemp("images") / "set"
    shard_megadepth(ShardMegadepthConfig(source=str(megadepth_tree), set=str(target), workers=1))
    return ShardSet(target)


@pytest.fixture(scope="module")
def timings(diode_sets):
    return time_stages(plan_work(diode_sets[1], 100, 0), repeats=2)


def test_every_stage_is_timed_on_the_same_samples(timings, diode_sets):
    assert list(timings) == [*(stage for stage in STAGES if stage not in COPYING_STAGES), CHAIN]
    assert {timing.samples for timing in timings.values()} == {len(diode_sets[1])}
    for timing in timings.values():
        assert len(timing.seconds) == len(timing.cpu_seconds) == 2
        assert min(timing.seconds) > 0
        assert timing.bytes > 0


def test_bytes_are_those_that_each_stage_makes(timings, diode_sets):
    index = diode_sets[1].index
    stored = int(sum(index[f"{part}_bytes"].sum() for part in ("image", "depth", "valid")))
    pixels = int((index["height"] * index["width"]).sum())
    arrays = pixels * (3 + 4 + 1)
    views = arrays + (12 + 4) * len(index)  # with colour and weight
    found = {stage: timing.bytes for stage, timing in timings.items()}
    payload = sum(
        len(data)
        for files in diode_sets[1].reader.read_encoded(range(len(index)), ("image", "depth", "valid"))
        for data in files.values()
    )
    assert found == {
        "fetch": stored, "check": stored, "inflate": payload,
        "decode_image": 3 * pixels, "decode_depth": (4 + 1) * pixels,
        "warp": views, CHAIN: stored,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["paired", "images"])
def test_the_stages_together_make_the_very_batch_that_the_loader_makes(kind, diode_sets, image_set):
    work = plan_work(diode_sets[0] if kind == "paired" else image_set, 6, 0)
    assert work.paired == (kind == "paired")
    in_stages = make_in_stages(work, work.rows().tolist(), Stopwatch(1))
    at_once = make_at_once(work.dataset(), range(6))
    assert in_stages.keys() == at_once.keys()
    assert in_stages.pop("key") == at_once.pop("key")
    for part, tensor in in_stages.items():
        assert torch.equal(tensor, at_once[part])


def test_a_set_of_images_has_no_stage_of_depth(image_set):
    timings = time_stages(plan_work(image_set, 100, 0), repeats=1)
    assert set(timings) == {*STAGES, CHAIN} - DEPTH_STAGES
    assert timings["fetch"].bytes == image_set.index["image_bytes"].sum()
    assert {timing.samples for timing in timings.values()} == {len(image_set)}


def test_views_have_the_size_that_most_samples_have(image_set):
    work = plan_work(image_set, 4, 0)
    sizes = image_set.index.groupby(["height", "width"]).size()
    assert len(sizes) > 1
    assert sizes[work.view.height, work.view.width] == sizes.max()


@pytest.mark.parametrize(("samples", "workers", "batch"), [(100, 0, 8), (40, 2, 5), (6, 2, 1), (20, 1, 5)])
def test_every_worker_gets_several_batches(diode_sets, samples, workers, batch):
    assert plan_work(diode_sets[0], samples, workers).batch_size == batch


def test_both_loaders_give_every_sample_once(diode_sets):
    work = plan_work(diode_sets[1], 7, 2)
    alone, workers = time_loaders(work, repeats=2, num_workers=2)
    assert alone.samples == workers.samples == 7
    assert len(alone.seconds) == len(workers.seconds) == 2
    assert workers.bytes == work.stored_bytes > 0
    assert workers.cpu_share is None


@pytest.fixture
def make_foreign(diode_sets, tmp_path):
    """A function from rows, and those of them that keep their depth, to a set made elsewhere, without valid parts."""

    def make(rows, deep):
        with tarfile.open(tmp_path / "tars.tar", "w") as tar:
            for row in rows:
                files = diode_sets[1].reader.read_encoded([row], ("image", "depth"))[0]
                members = {"ppm": files["image"]} | ({"depth.planes.npy": files["depth"]} if row in deep else {})
                for ext, data in members.items():
                    info = tarfile.TarInfo(f"view{row}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        index_tars(IndexConfig(tars=str(tmp_path / "tars.tar"), set=str(tmp_path / "set")))
        return ShardSet(tmp_path / "set")

    return make


def test_valid_comes_from_depth_where_a_set_stores_none(make_foreign):
    work = plan_work(make_foreign(range(3), deep=range(3)), 3, 0)
    batch = make_in_stages(work, work.rows().tolist(), Stopwatch(1))
    assert torch.equal(batch["valid"], make_at_once(work.dataset(), range(3))["valid"])
    assert 0 < batch["valid"].float().mean() < 1


def test_a_set_that_lacks_depth_here_and_there_is_measured_by_its_images(make_foreign):
    opened = make_foreign(range(3), deep=[1])
    assert not plan_work(opened, 3, 0).paired
    assert plan_work(ShardSet(opened.url, "depth_ext != ''"), 3, 0).paired


def test_a_damaged_sample_is_named_not_timed(diode_sets, tmp_path):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    row = diode_sets[1].index.iloc[2]
    path = tmp_path / "set/shards" / row["shard"]
    data = np.fromfile(path, np.uint8)
    data[row["depth_offset"] + 40] ^= 1
    data.tofile(path)
    with pytest.raises(DataError, match=rf"{row['shard']}, key {row['key']}.*crc32c"):
        time_stages(plan_work(ShardSet(tmp_path / "set"), 100, 0), repeats=1)
