"""The loaders of `bench_pretrain_loader.py`, as LightlyTrain makes them for a run, and its transform."""

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.utils.data import DataLoader

from pretrain_bench.clocks import Stamped
from training.config import ViewsOn
from training.launch.devices import place
from training.pretraining.augmentations import get_transform_args
from training.pretraining.environment import environment_of_run
from training.pretraining.lightly import pretrain, stream_arguments


class _Captured(Exception):
    """Ends LightlyTrain's run before it trains."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__()
        self.loader = loader


class CapturingStrategy(SingleDeviceStrategy):
    """Ends the run as soon as it has LightlyTrain's loader, and keeps its list of file names, which goes with the run.

    Args:
        folder: Where the list is kept.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(device=torch.device("cpu"))
        self._folder = folder
        self._lists: list[Path] = []

    def process_dataloader(self, dataloader: object) -> object:
        """End the run with this loader."""
        assert isinstance(dataloader, DataLoader)
        self._lists = list(Path(os.environ["LIGHTLY_TRAIN_DATA_CACHE_DIR"]).glob("*.mmap"))
        for names in self._lists:
            (self._folder / names.name).hardlink_to(names)
        raise _Captured(dataloader)

    def put_back(self) -> None:
        """Put the list of file names where the loader expects it."""
        for names in self._lists:
            names.parent.mkdir(parents=True, exist_ok=True)
            (self._folder / names.name).rename(names)


def folder_loader(folder: Path, out: Path, method: str, batch_size: int, workers: int) -> DataLoader[Any]:
    """Return the loader that LightlyTrain trains with from a folder of files, stamped; it needs `out`, a new folder."""
    out.mkdir()
    strategy = CapturingStrategy(out)
    loader = capture({"data": str(folder), "strategy": strategy}, out, method, batch_size, workers)
    strategy.put_back()
    return loader


def set_loader(target: Path, views: ViewsOn, out: Path, method: str, batch_size: int, workers: int) -> DataLoader[Any]:
    """Return the loader that LightlyTrain trains with from a set, stamped; `out` is a new folder."""
    out.mkdir()
    arguments = stream_arguments(str(target), views=views, devices="1", accelerator="cpu")
    strategy = arguments["strategy"]
    make = strategy.process_dataloader

    def end_with(dataloader: object) -> None:
        raise _Captured(make(dataloader))

    strategy.process_dataloader = end_with
    return capture(arguments, out, method, batch_size, workers)


def capture(arguments: dict[str, Any], out: Path, method: str, batch_size: int, workers: int) -> DataLoader[Any]:
    """Begin a run of LightlyTrain in the folder `out`, and return the loader that a strategy of ours captures, stamped.

    Args:
        arguments: For `lightly_train.pretrain`; they win over those for a small run.
        out: The folder.
        method: Of LightlyTrain.
        batch_size: Images of a batch.
        workers: Loader workers.
    """
    options = {
        "out": str(out / "run"),
        "model": "torchvision/resnet18",
        "method": method,
        "transform_args": get_transform_args("conservative") if method == "dino" else None,
        "epochs": 1,
        "batch_size": batch_size,
        "num_workers": workers,
        "devices": 1,
        "accelerator": "cpu",
    }
    try:
        with environment_of_run(out, place("cpu", "1")):
            pretrain(**options | arguments)
    except _Captured as captured:
        loader = captured.loader
        loader.collate_fn = Stamped(loader.collate_fn)
        return loader
    raise AssertionError("LightlyTrain has made no loader")
