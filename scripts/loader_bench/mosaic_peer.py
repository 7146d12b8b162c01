"""MosaicML streaming, as its README has it: shards by MDSWriter, StreamingDataset in torch's DataLoader.

Shards are not compressed: one that is gets inflated to a file beside it when it is first read, and read from there.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from loader_bench.peer import Batching, Form, Make, Samples


class MosaicPeer:
    """The loader."""

    def write(self, folder: Path, form: Form, samples: Samples) -> None:
        """Write the samples to a new folder."""
        columns = {"png": "png", "depth": "ndarray"}
        if form == "parts":
            columns = dict.fromkeys(samples[0], "bytes") | {"row": "int"}
        with MDSWriter(out=str(folder), columns=columns) as writer:
            for number in range(len(samples)):
                writer.write(samples[number])

    def load(self, folder: Path, form: Form, make: Make, batching: Batching) -> Iterable[Mapping[str, Any]]:
        """Return the loader."""
        clean_stale_shared_memory()  # of a process that was killed: the next one would refuse to start
        return DataLoader(
            Made(folder, make, batching.batch_size),
            batch_size=batching.batch_size,
            num_workers=batching.num_workers,
            persistent_workers=batching.num_workers > 0,
        )


class Made(StreamingDataset):  # type: ignore[misc]  # it is Any to mypy
    """Samples that are made into items: a transform is a `__getitem__` of one's own there."""

    def __init__(self, folder: Path, make: Make, batch_size: int) -> None:
        super().__init__(local=str(folder), shuffle=True, batch_size=batch_size)
        self._make_item = make

    def __getitem__(self, at: int) -> dict[str, Any]:
        sample = super().__getitem__(at)
        if "png" in sample:
            sample["image"] = sample.pop("png")
        return self._make_item(sample)
