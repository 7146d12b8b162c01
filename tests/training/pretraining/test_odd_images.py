"""Images of unusual kinds in foreign tars, indexed: pixels as LightlyTrain reads them, and items with depth."""

import numpy as np
import pytest
import torch
from lightly_train import pretrain

from sharding.config import IndexConfig
from sharding.making import index_tars
from sharding.reading.shard_set import ShardSet
from tests.odd_images import odd_images, sixteen_bits, write_tar
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.images import ImageDataset
from training.pretraining.strategy import StreamSingleDevice


@pytest.fixture(scope="module")
def files():
    return odd_images(np.random.default_rng(0))


@pytest.fixture(scope="module")
def opened(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "tars").mkdir()
    write_tar(folder / "tars" / "a.tar", files)
    index_tars.run(IndexConfig(tars=str(folder / "tars"), set=str(folder / "set")))
    return ShardSet(folder / "set")


class Taken(Exception):
    pass


class Taker(StreamSingleDevice):
    def process_dataloader(self, dataloader):
        self.taken = dataloader
        raise Taken


@pytest.mark.slow
def test_pixels_are_those_lightly_reads_of_the_files(files, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    images = ImageDataset([opened])
    strategy = Taker(images, torch.device("cpu"))
    small = {"model": "torchvision/resnet18", "accelerator": "cpu", "devices": 1, "loggers": {"tensorboard": None}}
    with pytest.raises(Taken):
        pretrain(
            out=tmp_path / "run",
            data=[str(tmp_path / name) for name in files],
            strategy=strategy,
            method="simclr",
            epochs=1,
            batch_size=len(files),
            num_workers=0,
            **small,
        )
    theirs = strategy.taken.dataset
    theirs.transform = lambda item: [item]  # the pixels as they are read
    wanted = {name.partition(".")[0]: theirs[at]["views"][0] for at, name in enumerate(files)}
    draws = [images[0, position] for position in range(len(images))]
    assert {draw.key for draw in draws} == set(wanted)
    for draw in draws:
        assert draw.image.dtype == wanted[draw.key].dtype == np.uint8
        np.testing.assert_array_equal(draw.image, wanted[draw.key])


def test_each_becomes_an_item_of_fine_tuning(opened):
    items = DiodeDepthDataset(opened, augment=PairedAugment(height=33, width=40))
    for row in range(len(opened)):
        item = items[row]
        assert (item["image"].shape, item["weight"]) == ((3, 33, 40), 1)
        assert item["valid"].any()
        assert torch.isfinite(item["depth"]).all()


def test_levels_of_16_bits_are_those_of_the_file_and_rounded_for_fine_tuning(tmp_path):
    data, levels = sixteen_bits(np.random.default_rng(1))
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "a.tar", {"deep.png": data})
    index_tars.run(IndexConfig(tars=str(tmp_path / "tars"), set=str(tmp_path / "set")))
    opened = ShardSet(tmp_path / "set")
    image = ImageDataset([opened])[0, 0].image
    assert image.dtype == np.float32
    np.testing.assert_array_equal(np.rint(image * 65535.0), np.broadcast_to(levels[..., None], image.shape))
    assert np.abs(opened[0].image.astype(float) - levels[..., None] / 257).max() <= 0.5
