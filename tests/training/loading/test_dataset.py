import pickle

import numpy as np
import pytest
import torch

import training.loading.dataset
from sharding.errors import UsageError
from sharding.format.sample import Sample
from sharding.reading.shard_set import ShardSet
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.decode import decode_rgb
from training.loading.images import ImageDataset
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order
from training.loading.sampler import EvalSampler, TrainSampler
from training.profiling.image_views import to_tensors

AUGMENT = PairedAugment(height=48, width=64)


def batches(dataset, sampler, num_workers, start_method="auto", batch_size=4):
    loader = build_loader(
        dataset, sampler, Loading(batch_size=batch_size, num_workers=num_workers, start_method=start_method)
    )
    return list(loader)


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["key"] == other["key"]
        for part in ("image", "depth", "valid", "weight"):
            assert torch.equal(one[part], other[part])


def test_an_item_has_the_stated_shapes_and_types(diode_sets):
    item = DiodeDepthDataset(diode_sets[0])[3]
    assert {key: (value.dtype, tuple(value.shape)) for key, value in item.items() if key != "key"} == {
        "image": (torch.uint8, (3, 64, 96)),
        "depth": (torch.float32, (1, 64, 96)),
        "valid": (torch.bool, (1, 64, 96)),
        "weight": (torch.float32, ()),
    }
    assert item["key"] == diode_sets[0].index["key"].iloc[3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("augment", [None, PairedAugment(height=48, width=64), PairedAugment(height=64, width=96)])
def test_pixels_that_cannot_be_written_are_copied_without_a_warning(diode_sets, augment, monkeypatch):
    def decode_plain(data):  # of a set made earlier, whose pixels are those of its shard
        pixels = decode_rgb(data)
        pixels.flags.writeable = False
        return pixels

    monkeypatch.setattr(training.loading.dataset, "decode_rgb", decode_plain)
    samples = diode_sets[0]
    dataset = DiodeDepthDataset(samples, augment=augment)
    before = dataset[0]
    for tensor in (before[part] for part in ("image", "depth", "valid")):
        kept = tensor.clone()
        tensor.zero_()
        tensor.copy_(kept)
    assert_equal([before], [dataset[0]])


@pytest.mark.filterwarnings("error")
def test_images_of_plain_pixels_go_into_views_without_a_warning(diode_sets):
    draw = ImageDataset([diode_sets[0]])[0, 0]
    pixels = draw.image.copy()
    off = {"max_rotation_deg": 0, "zoom": (1, 1), "flip_prob": 0, "brightness": 0, "contrast": 0, "saturation": 0}
    still = PairedAugment(height=pixels.shape[0], width=pixels.shape[1], **off)  # hands the image on as it is
    for view in (still, PairedAugment(height=48, width=64)):
        image = to_tensors(view(Sample(key=draw.key, image=draw.image), np.random.default_rng(0)))["image"]
        image.zero_()
    np.testing.assert_array_equal(draw.image, pixels)


def test_depth_is_zero_where_it_is_not_valid_and_the_set_says_so(diode_sets):
    for row in range(len(diode_sets[0])):
        item, sample = DiodeDepthDataset(diode_sets[0])[row], diode_sets[0][row]
        assert (item["depth"][~item["valid"]] == 0).all()
        np.testing.assert_array_equal(item["valid"][0].numpy(), sample.valid)
        np.testing.assert_array_equal(item["depth"][0].numpy()[sample.valid], sample.depth[sample.valid])


def test_positions_follow_the_order_of_the_epoch(diode_sets):
    dataset = DiodeDepthDataset(diode_sets[0], seed=7, shuffle=True)
    keys = diode_sets[0].index["key"]
    for epoch in (0, 1, 5):
        expected = keys.iloc[epoch_order(diode_sets[0].shard_sizes, 7, epoch)].tolist()
        assert [dataset[epoch, place]["key"] for place in range(len(dataset))] == expected


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_batches_are_bit_identical_for_0_and_2_workers(diode_sets, start_method):
    dataset = DiodeDepthDataset(diode_sets[0], augment=AUGMENT, seed=1, shuffle=True)
    sampler = TrainSampler(len(dataset), 4)
    sampler.set_epoch(2)
    assert_equal(batches(dataset, sampler, 0), batches(dataset, sampler, 2, start_method))


def test_augmentation_differs_between_epochs_and_repeats_within_one(diode_sets):
    dataset = DiodeDepthDataset(diode_sets[0], augment=AUGMENT, seed=1)
    first, again, later = dataset[0, 5], dataset[0, 5], dataset[1, 5]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], later["image"])
    assert first["key"] == later["key"]


def test_a_samples_augmentation_does_not_depend_on_the_subset(diode_sets):
    where = "scene_type == 'outdoor'"
    whole = DiodeDepthDataset(diode_sets[0], augment=AUGMENT)
    part = DiodeDepthDataset(diode_sets[0].url, where, augment=AUGMENT)
    ids = ShardSet(diode_sets[0].url, where).ids
    assert len(part) < len(whole)
    for row in range(3):
        assert torch.equal(part[row]["depth"], whole[int(ids[row])]["depth"])


def test_every_validation_sample_counts_once_and_padding_has_weight_0(diode_sets):
    dataset = DiodeDepthDataset(diode_sets[1])
    sampler = EvalSampler(len(dataset), 3)
    found = batches(dataset, sampler, 2, batch_size=3)
    keys = [key for batch in found for key, weight in zip(batch["key"], batch["weight"], strict=True) if weight == 1]
    assert keys == diode_sets[1].index["key"].tolist()
    assert dataset[0, len(dataset)]["weight"] == 0


def test_a_set_without_depth_is_refused_with_advice(tmp_path, megadepth_tree):
    from sharding.config import ShardMegadepthConfig
    from sharding.errors import DataError
    from sharding.making.create import shard_megadepth

    shard_megadepth(ShardMegadepthConfig(source=str(megadepth_tree), set=str(tmp_path / "set"), workers=1))
    with pytest.raises(DataError, match="no depth"):
        DiodeDepthDataset(tmp_path / "set")


def test_where_belongs_to_the_opening(diode_sets):
    with pytest.raises(UsageError, match="already open"):
        DiodeDepthDataset(diode_sets[0], where="scene == '00000'")


def test_datasets_survive_pickling(diode_sets, megadepth_set):
    depth = DiodeDepthDataset(diode_sets[0], augment=AUGMENT)
    assert torch.equal(pickle.loads(pickle.dumps(depth))[1]["depth"], depth[1]["depth"])
    images = ImageDataset([megadepth_set])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[0, 1].image, images[0, 1].image)


def test_an_epoch_of_images_is_each_sample_of_each_set_once(diode_sets, megadepth_set):
    dataset = ImageDataset([megadepth_set, diode_sets[0]], seed=3)
    assert len(dataset) == len(megadepth_set) + len(diode_sets[0])
    draws = dataset.__getitems__([(1, place) for place in range(len(dataset))])
    expected = [*megadepth_set.index["key"], *diode_sets[0].index["key"]]
    assert sorted(draw.key for draw in draws) == sorted(expected)
    assert [draw.key for draw in draws] != expected
    assert len({draw.seed for draw in draws}) == len(draws)
    assert {draw.seed[:2] for draw in draws} == {(3, 1)}


def test_weights_draw_more_often_with_another_replica(diode_sets, megadepth_set):
    dataset = ImageDataset([megadepth_set, diode_sets[0]], weights=[3, 1])
    draws = dataset.__getitems__([(0, place) for place in range(len(dataset))])
    of_megadepth = [draw for draw in draws if draw.key in set(megadepth_set.index["key"])]
    assert len(of_megadepth) == round(len(dataset) * 3 / 4)
    assert max(draw.seed[3] for draw in of_megadepth) >= 1
    assert len({draw.seed for draw in draws}) == len(draws)
