"""The memory of pretraining's loader workers, from the kernel."""

import multiprocessing
from pathlib import Path

import lightly_train
import pytest
import torch

from sharding.config import ShardMegadepthConfig
from sharding.making.create import shard_megadepth
from sharding.reading.shard_set import ShardSet
from sharding.toyworld import make_megadepth
from training.loading.images import ImageDataset
from training.pretraining.strategy import StreamSingleDevice

WARM_UP, EPOCHS = 2, 5  # epochs of four batches a worker: the first fill caches and the heap


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A set of 64 images of 480 x 640 pixels."""
    folder = tmp_path_factory.mktemp("photographs")
    make_megadepth(str(folder / "tree"), images=64, height=480, width=640, seed=0)
    shard_megadepth(ShardMegadepthConfig(source=str(folder / "tree"), set=str(folder / "set"), workers=1))
    return ShardSet(folder / "set")


class Taken(Exception):
    """The loader has been taken; nothing is to be trained."""


class Taker(StreamSingleDevice):
    """Keeps the loader that a run would have."""

    def process_dataloader(self, dataloader):
        self.loader = super().process_dataloader(dataloader)
        raise Taken


def memory_bytes(pid):
    """Return the proportional set size of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_workers_do_not_grow_over_five_epochs(method, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTLY_TRAIN_EVENTS_DISABLED", "1")
    monkeypatch.setenv("LIGHTLY_TRAIN_CACHE_DIR", str(tmp_path / "cache"))
    images = ImageDataset([photographs], seed=0)
    taker = Taker(images, torch.device("cpu"))
    with pytest.raises(Taken):
        lightly_train.pretrain(
            out=tmp_path / "out",
            data=[f"{position}.jpg" for position in range(len(images))],
            strategy=taker,
            model="torchvision/resnet18",
            method=method,
            batch_size=8,
            num_workers=2,
            accelerator="cpu",
            devices=1,
            loggers={"tensorboard": None},
        )
    others = {child.pid for child in multiprocessing.active_children()}
    used = []
    for epoch in range(WARM_UP + EPOCHS):
        taker.loader.sampler.set_epoch(epoch)
        for _ in taker.loader:
            pass
        workers = {child.pid for child in multiprocessing.active_children()} - others
        assert len(workers) == 2
        used.append(sum(memory_bytes(pid) for pid in workers))
    assert used[-1] <= 1.05 * used[WARM_UP - 1], [round(one / 1e6, 1) for one in used]
