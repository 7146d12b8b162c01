"""Batches of sets with damaged bytes: what takes the place of a damaged sample, and what is no damage."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from sharding.errors import DamagedSample, DataError, UsageError
from tests.damage import damaged_copy
from training.launch.worker_errors import plain_message
from training.loading.augment import PairedAugment
from training.loading.bad_samples import MARK, BadSample, fill_places, take_marks
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import EncodedDraw, ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.sampler import TrainSampler

AUGMENT = PairedAugment(height=32, width=48)
POSITIONS = (1, 2, 3, 9)  # of the first epoch's order: three of the first batch of 4, the first two neighbours


@pytest.fixture(scope="module")
def order(diode_sets):
    return epoch_order(diode_sets[0].shard_sizes, seed=0, epoch=0)


@pytest.fixture(scope="module")
def damaged(diode_sets, order, tmp_path_factory):
    """A copy of a set, damaged at `POSITIONS`."""
    folder = tmp_path_factory.mktemp("damaged") / "set"
    return damaged_copy(folder, diode_sets[0], [order[position] for position in POSITIONS])


def batch_of(first):
    return [(0, position) for position in range(first, first + 4)]


def test_an_image_of_the_batch_takes_the_place_of_a_damaged_one(damaged, diode_sets, order):
    whole = ImageDataset([diode_sets[0]])
    for first, donors in ((0, [0, 0, 0, 0]), (4, [4, 5, 6, 7]), (8, [8, 10, 10, 11])):
        drawn = ImageDataset([damaged], tolerant=True).__getitems__(batch_of(first))
        for draw, own, donor in zip(drawn, whole.__getitems__(batch_of(first)), donors, strict=True):
            there = whole[0, donor]
            np.testing.assert_array_equal(draw.image, there.image)
            assert (draw.key, draw.seed) == (there.key, own.seed)
            assert (draw.bad and (draw.bad.number, draw.bad.key)) == (None if own.key == there.key else bad_of(own))
    row = diode_sets[0].index.iloc[order[9]]
    reason = ImageDataset([damaged], tolerant=True).__getitems__(batch_of(8))[1].bad.reason
    assert re.match(rf"shard shards/{row['shard']}, key {row['key']}: member .*: expected crc32c .*verify", reason)


def bad_of(draw):
    return draw.seed[2], draw.key


def test_a_sample_drawn_several_times_is_one_sample(damaged):
    drawn = ImageDataset([damaged, damaged], [1, 3], tolerant=True, seed=2)
    draws = drawn.__getitems__([(0, position) for position in range(len(drawn))])
    numbers = [draw.bad.number for draw in draws if draw.bad]
    assert len(set(numbers)) < len(numbers)
    keys = {draw.bad.number: draw.bad.key for draw in draws if draw.bad}
    assert len(keys) > len(POSITIONS)  # of both sets: a key may be in each
    assert set(keys.values()) == {damaged.index["key"].iloc[number % len(damaged)] for number in keys}
    assert {draw.seed[3] for draw in draws} > {0}


def test_an_item_with_depth_becomes_zeros_without_weight(damaged, diode_sets, order):
    found = DiodeDepthDataset(damaged, augment=AUGMENT, shuffle=True, tolerant=True).__getitems__(batch_of(0))
    whole = DiodeDepthDataset(diode_sets[0], augment=AUGMENT, shuffle=True).__getitems__(batch_of(0))
    assert list(found[0]) == list(whole[0])
    assert torch.equal(found[0]["image"], whole[0]["image"])
    for position in (1, 2, 3):
        blank, wanted = found[position], whole[position]
        assert not any(blank[part].any() for part in ("image", "depth", "valid", "weight"))
        assert wanted["weight"] == 1
        assert all((blank[part].dtype, blank[part].shape) == (wanted[part].dtype, wanted[part].shape) for part in AS_IS)
        assert blank["key"] == wanted["key"] == diode_sets[0].index["key"].iloc[order[position]]
        assert blank[MARK][:2] == (order[position], blank["key"])


AS_IS = ("image", "depth", "valid", "weight")


class AsItems(Dataset):
    """Images as the items of a batch, which fall into one shape."""

    def __init__(self, images):
        self.images = images

    def __getitems__(self, positions):
        return [item_of(draw) for draw in self.images.__getitems__(positions)]


def item_of(draw):
    item = {"filename": draw.key, "image": torch.tensor(draw.image[:8, :8])}
    return item | ({MARK: draw.bad} if draw.bad else {})


def epoch(dataset, prepare, workers, method):
    loading = Loading(batch_size=4, num_workers=workers, start_method=method, ahead_bytes=100_000)
    return list(build_loader(dataset, TrainSampler(40, 4, prepare), loading))


@pytest.mark.parametrize(
    ("workers", "method"), [(0, "auto"), (2, "fork"), pytest.param(2, "forkserver", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", ["images", "depth"])
def test_batches_and_their_marks_are_the_same_for_any_workers(damaged, order, kind, workers, method):
    images = ImageDataset([damaged], tolerant=True)
    depth = DiodeDepthDataset(damaged, augment=AUGMENT, shuffle=True, tolerant=True)
    dataset, prepare = (AsItems(images), images.prepare) if kind == "images" else (depth, depth.prepare)
    for number, batch in enumerate(epoch(dataset, prepare, workers, method)):
        expected = dataset.__getitems__(batch_of(4 * number))
        marks = take_marks(batch)
        assert marks == [item[MARK] for item in expected if MARK in item]
        assert all(isinstance(mark, BadSample) for mark in marks)
        assert [mark.number for mark in marks] == [order[at] for at in POSITIONS if at // 4 == number]
        assert MARK not in batch
        for name, value in batch.items():
            wanted = [item[name] for item in expected]
            assert torch.equal(value, torch.stack(wanted)) if isinstance(value, torch.Tensor) else value == wanted


@pytest.mark.parametrize("workers", [0, 1])
def test_without_tolerance_the_batch_of_a_damaged_sample_is_an_error(damaged, diode_sets, order, workers):
    dataset = DiodeDepthDataset(damaged, augment=AUGMENT, shuffle=True)
    row = diode_sets[0].index.iloc[order[1]]
    with pytest.raises(DamagedSample) as caught:
        epoch(dataset, dataset.prepare, workers, "fork")
    text = plain_message(caught.value).removeprefix("loader worker 0: ")
    assert re.match(rf"shard shards/{row['shard']}, key {row['key']}: member [^\n]*: expected crc32c [^\n]*$", text)


def test_a_batch_without_a_whole_image_is_an_error(damaged, diode_sets, order):
    key = diode_sets[0].index["key"].iloc[order[2]]
    with pytest.raises(DataError, match=f"all 2 samples of a batch are damaged, the first is shard .*, key {key}: "):
        ImageDataset([damaged], tolerant=True).__getitems__([(0, 2), (0, 3)])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["depth", "valid"])
def test_damaged_depth_is_damage_and_no_concern_of_pretraining(diode_sets, part, tmp_path):
    opened = damaged_copy(tmp_path / "set", diode_sets[0], [5], part)
    depth = DiodeDepthDataset(opened, augment=AUGMENT, tolerant=True)
    assert depth[5][MARK].key == opened.index["key"].iloc[5]
    draws = ImageDataset([opened], tolerant=True).__getitems__([(0, place) for place in range(40)])
    assert not any(draw.bad for draw in draws)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["missing", "truncated"])
def test_a_shard_that_is_not_there_stops_in_any_case(diode_sets, fault, tmp_path):
    opened = damaged_copy(tmp_path / "set", diode_sets[0], [])
    shard = Path(opened.url, "shards", opened.index["shard"].iloc[-1])
    shard.unlink() if fault == "missing" else shard.write_bytes(shard.read_bytes()[:2000])
    last = len(opened) - 1
    for dataset, place in (
        (DiodeDepthDataset(opened, augment=AUGMENT, tolerant=True), last),
        (ImageDataset([opened], tolerant=True), (0, list(epoch_order(opened.shard_sizes, 0, 0)).index(last))),
    ):
        with pytest.raises(DataError, match=f"key {opened.index['key'].iloc[-1]}.*expected") as caught:
            dataset[place]
        assert not isinstance(caught.value, DamagedSample)


def test_an_item_needs_a_size_to_be_blank(diode_sets):
    with pytest.raises(UsageError, match="tolerant: expected an augmentation"):
        DiodeDepthDataset(diode_sets[0], tolerant=True)


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any))
def test_the_donor_of_a_place_is_the_next_whole_one(whole):
    bad = [None if ok else BadSample(place, "key", "damaged") for place, ok in enumerate(whole)]
    seeds = [(0, 1, place, 2) for place in range(len(whole))]
    draws = [EncodedDraw(key=f"{place}", data=b"", seed=seeds[place], origin="") for place in range(len(whole))]
    filled = list(fill_places([one or draws[place] for place, one in enumerate(bad)], seeds))
    assert [(draw.seed, draw.bad) for draw in filled] == list(zip(seeds, bad, strict=True))
    for place, draw in enumerate(filled):
        expected = place
        while not whole[expected]:
            expected = (expected + 1) % len(whole)
        assert draw.key == f"{expected}"
