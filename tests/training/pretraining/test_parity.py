"""Runs from a set against LightlyTrain's own from the JPEG files the set was made of, with order and seeds pinned.

Stock LightlyTrain draws its order and its augmentations otherwise, and never alike twice; so its runs here get our
order of the files, its transform is seeded for each file, and the global generators for each micro-batch. All else is
its own: data set, decoder, transform, collation, loader, method, optimizer.
"""

import hashlib

import lightly_train
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from sharding.codecs.image import decode_image
from sharding.reading.pictures import encode_png
from training.loading.images import ImageDataset
from training.loading.sampler import TrainSampler
from training.pretraining.augmentations import get_transform_args
from training.pretraining.reseed import Reseed
from training.pretraining.strategy import StreamSingleDevice

SEED, BATCH, EPOCHS = 3, 8, 2


class Noting(StreamSingleDevice):
    """Trains on one device and keeps the name and the views of every sample."""

    def __init__(self, images):
        super().__init__(images, torch.device("cpu"))
        self.names, self.views = [], []

    def batch_to_device(self, batch, device=None, dataloader_idx=0):
        self.names += [name.rpartition("/")[2].partition(".")[0] for name in batch["filename"]]
        self.views += [hashlib.md5(view.numpy().tobytes()).hexdigest() for view in batch["views"]]
        return super().batch_to_device(batch, device, dataloader_idx)


class Pinned(Dataset):
    """LightlyTrain's data set of files, in our order, each item made under the seed that ours has."""

    def __init__(self, theirs, images):
        self.theirs, self.images, self.reseed = theirs, images, Reseed(theirs.transform)

    def __len__(self):
        return len(self.theirs)

    def __getitem__(self, position):
        _, row, _ = self.images._draw(position)
        with self.reseed((SEED, position[0], row, 0)):
            return self.theirs[row]


class Stock(Noting):
    """Trains from files, by LightlyTrain's own loader but for the order."""

    def process_dataloader(self, dataloader):
        sampler = TrainSampler(len(self.images), dataloader.batch_size, self.images.prepare)
        self.counter.attach(sampler)
        return DataLoader(
            Pinned(dataloader.dataset, self.images),
            batch_size=dataloader.batch_size,
            sampler=sampler,
            num_workers=dataloader.num_workers,
            collate_fn=dataloader.collate_fn,
            drop_last=True,
        )


@pytest.fixture(scope="module")
def files(megadepth_set, tmp_path_factory):
    """The files that the set was made of, in the order of its rows; nearly all are JPEG, byte for byte."""
    folder, rows, reader = tmp_path_factory.mktemp("files"), range(len(megadepth_set)), megadepth_set.reader
    contents = [parts["image"] for parts in reader.read_encoded(rows, ("image",))]
    exts = [reader.ext(row, "image") for row in rows]
    for number, ext in enumerate(exts):
        if ext == "rows.npy":  # nobody else's file: the source had a PNG
            contents[number], exts[number] = encode_png(decode_image(contents[number])), "png"
    paths = [folder / f"{reader.key(row)}.{ext}" for row, ext in zip(rows, exts, strict=True)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert sum(content.startswith(b"\xff\xd8") for content in contents) > 20
    return [str(path) for path in paths]


def run(strategy, data, out, method, model, augmentation, workers):
    lightly_train.pretrain(
        out=out,
        data=data,
        strategy=strategy,
        model=model,
        method=method,
        transform_args=get_transform_args(augmentation) | {"image_size": (56, 56)},
        epochs=EPOCHS,
        batch_size=BATCH,
        num_workers=workers,
        seed=SEED,
        accelerator="cpu",
        devices=1,
        loggers={"tensorboard": None},
    )
    return torch.load(out / "exported_models" / "exported_last.pt", weights_only=True)


def tensors(exported):
    """The tensors of a state dict, or of what a model of LightlyTrain is exported as."""
    found = exported.get("train_model", exported) if isinstance(exported, dict) else exported.state_dict()
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


RESNET, VIT = "torchvision/resnet18", "dinov2/_vittest14"
RUNS = [
    ("simclr", RESNET, "conservative", 0),
    *(
        pytest.param(*one, marks=pytest.mark.slow)
        for one in [
            ("simclr", RESNET, "aggressive", 2),
            ("dino", RESNET, "conservative", 2),
            ("dino", RESNET, "aggressive", 0),
            ("densecl", RESNET, "conservative", 0),
            ("densecl", RESNET, "aggressive", 2),
            ("dinov2", VIT, "conservative", 2),
            ("dinov2", VIT, "aggressive", 0),
        ]
    ),
]


@pytest.mark.parametrize(("method", "model", "augmentation", "workers"), RUNS)
def test_a_run_from_a_set_is_lightly_trains_own_from_the_files(
    megadepth_set, files, tmp_path, method, model, augmentation, workers, monkeypatch
):
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))
    options = (method, model, augmentation, workers)
    images = ImageDataset([megadepth_set], seed=SEED)
    ours, stock = Noting(images), Stock(images)
    names = [f"{key}.jpg" for key in megadepth_set.index["key"]]
    weights = tensors(run(ours, names, tmp_path / "ours", *options))
    theirs = tensors(run(stock, files, tmp_path / "stock", *options))
    steps = len(images) // BATCH
    assert len(ours.names) == EPOCHS * steps * BATCH
    assert ours.names == stock.names
    assert ours.views == stock.views
    assert len(set(ours.views)) == len(ours.views)
    assert len(weights) > 40
    assert weights.keys() == theirs.keys()
    assert [name for name, value in weights.items() if not torch.equal(value, theirs[name])] == []


def test_the_tail_of_an_epoch_waits_where_stock_ddp_repeats_samples():
    shares = [list(DistributedSampler(range(13), num_replicas=2, rank=rank, shuffle=False)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [7, 7]
    assert len({*shares[0], *shares[1]}) == 13  # one of the 14 is there twice
    sampler = TrainSampler(13, 4)
    assert sampler.num_steps == 3
    assert len(list(sampler)) == 12
