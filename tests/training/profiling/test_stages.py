import shutil
from functools import partial

import numpy as np
import pytest
import torch

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.config import FinetuneConfig
from training.depth_sets.subsets import choose_subsets
from training.finetuning.batches import split_batch
from training.finetuning.depth_data import make_data
from training.loading.shared_batch import SharedBatch
from training.loading.shared_blocks import as_worker
from training.profiling.stages import CHAIN, STAGES, free, make_at_once, make_in_stages, open_dataset, time_stages
from training.profiling.stopwatch import Stopwatch

OF_IMAGES, OF_DEPTH = {"to_tensors", "collate"}, {"decode_depth", "warp_depth", "batch"}
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def timings(diode_sets, plan):
    return time_stages(plan(diode_sets[1], 100, batch_size=3), repeats=2)


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert one["key"] == other["key"]
    for part in one.keys() - {"key"}:
        assert (one[part].dtype, one[part].shape) == (other[part].dtype, other[part].shape)
        assert torch.equal(one[part], other[part])


def test_every_stage_is_timed_on_the_same_samples(timings, diode_sets):
    assert set(timings) == {*STAGES, CHAIN} - OF_IMAGES
    assert {timing.samples for timing in timings.values()} == {len(diode_sets[1])}
    for timing in timings.values():
        assert len(timing.seconds) == len(timing.cpu_seconds) == 2
        assert min(timing.seconds) > 0
        assert timing.bytes > 0


def test_bytes_are_those_that_each_stage_makes(timings, diode_sets):
    index = diode_sets[1].index
    stored = int(sum(index[f"{part}_bytes"].sum() for part in ("image", "depth", "valid")))
    pixels = int((index["height"] * index["width"]).sum())
    view_pixels = HEIGHT * WIDTH * len(index)
    found = {stage: timing.bytes for stage, timing in timings.items()}
    payload = sum(
        len(data)
        for files in diode_sets[1].reader.read_encoded(range(len(index)), ("image", "depth", "valid"))
        for data in files.values()
    )
    assert found == {
        "fetch": stored, "check": stored, "inflate": payload,
        "decode_image": 3 * pixels, "decode_depth": (4 + 1) * pixels,
        "warp_image": 3 * view_pixels, "warp_depth": (4 + 1) * view_pixels,
        "batch": 8 * view_pixels + (12 + 4) * len(index),  # with colour and weight
        CHAIN: stored,
    }  # fmt: skip


VIEWS = [{}, {"augment": "tutorial", "rotation": 20.0}, {"scale": 0.5, "zoom": "0.5,2", "flip": 1.0, "jitter": "0"}]


@pytest.mark.parametrize("options", VIEWS)
def test_the_batch_is_the_first_one_that_finetune_trains_on(options, diode_sets, plan):
    """Bit for bit, in the stages and at once, from the loader that a run has."""
    train, val = diode_sets
    views = {"height": HEIGHT, "width": WIDTH} | options
    config = FinetuneConfig(set=train.url, val=val.url, out="", batch_size=6, num_workers=0, **views)
    split = split_batch(config.batch_size, 1, "auto", fitting=10**9)
    trained_on = next(iter(make_data(config, choose_subsets(config), split, pin_memory=False).train_loader))
    work = plan(train, 6, **views)
    with as_worker():
        assert_same(make_in_stages(work, work.rows().tolist(), Stopwatch()), trained_on)
        assert_same(make_at_once(open_dataset(work), range(6)), trained_on)


@pytest.mark.parametrize("kind", ["paired", "images"])
def test_the_stages_together_make_the_very_batch_that_the_loader_makes(kind, diode_sets, image_set, plan):
    work = plan(diode_sets[0] if kind == "paired" else image_set, 6)
    assert work.paired == (kind == "paired")
    assert_same(make_in_stages(work, work.rows().tolist(), Stopwatch()), make_at_once(open_dataset(work), range(6)))


@pytest.mark.parametrize("kind", ["paired", "images"])
def test_batches_are_made_in_the_same_memory_as_those_of_a_worker(kind, diode_sets, image_set, plan):
    work = plan(diode_sets[0] if kind == "paired" else image_set, 3)
    dataset, rows, places = open_dataset(work), work.rows().tolist(), set()
    with as_worker():
        for _ in range(3):
            for make in (partial(make_in_stages, work, rows, Stopwatch()), partial(make_at_once, dataset, range(3))):
                batch = make()
                assert isinstance(batch, SharedBatch)
                assert batch["image"].is_shared()
                places.add(batch["image"].data_ptr())
                free(batch)
    assert len(places) == 1


def test_a_set_of_images_has_no_stage_of_depth(image_set, plan):
    timings = time_stages(plan(image_set, 100), repeats=1)
    assert set(timings) == {*STAGES, CHAIN} - OF_DEPTH
    assert timings["fetch"].bytes == image_set.index["image_bytes"].sum()
    assert timings["collate"].bytes == timings["to_tensors"].bytes
    assert {timing.samples for timing in timings.values()} == {len(image_set)}


def test_each_batch_goes_through_stages_and_chain_for_each_repeat_and_once_to_warm_up(diode_sets, plan, monkeypatch):
    made = []
    monkeypatch.setattr("training.profiling.stages.free", lambda batch: made.append(len(batch["key"])))
    timings = time_stages(plan(diode_sets[0], 5, batch_size=3), repeats=2)
    assert made == [3] * 6 + [2] * 6
    assert {timing.samples for timing in timings.values()} == {5}


def test_valid_comes_from_depth_where_a_set_stores_none(make_foreign, plan):
    work = plan(make_foreign(range(3), deep=range(3)), 3)
    batch = make_in_stages(work, work.rows().tolist(), Stopwatch())
    assert torch.equal(batch["valid"], make_at_once(open_dataset(work), range(3))["valid"])
    assert 0 < batch["valid"].float().mean() < 1


def test_a_damaged_sample_is_named_not_timed(diode_sets, tmp_path, plan):
    shutil.copytree(diode_sets[1].url, tmp_path / "set")
    row = diode_sets[1].index.iloc[2]
    path = tmp_path / "set/shards" / row["shard"]
    data = np.fromfile(path, np.uint8)
    data[row["depth_offset"] + 40] ^= 1
    data.tofile(path)
    with pytest.raises(DataError, match=rf"{row['shard']}, key {row['key']}.*crc32c"):
        time_stages(plan(ShardSet(tmp_path / "set"), 100), repeats=1)
