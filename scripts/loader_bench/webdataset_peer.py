"""webdataset, as its README has it: shards by ShardWriter, a pipeline that shuffles, decodes, maps and batches."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import webdataset as wds
from torch.utils.data import default_collate

from loader_bench.peer import Batching, Form, Make, Samples

SHARDS = 8
"""Shards are dealt out to workers whole: 1, 2, 4 and 8 workers have equally many."""

SHUFFLED = 100
"""Samples among which the next one is drawn, before they are decoded."""


class WebDatasetPeer:
    """The loader."""

    def write(self, folder: Path, form: Form, samples: Samples) -> None:
        """Write the samples to a new folder."""
        folder.mkdir(parents=True)
        each = -(-len(samples) // SHARDS)  # rounded up
        with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=each, maxsize=1 << 62, verbose=0) as writer:
            for number in range(len(samples)):
                writer.write({"__key__": f"{number:06d}"} | _MEMBERS[form](samples[number]))

    def load(self, folder: Path, form: Form, make: Make, batching: Batching) -> Iterable[Mapping[str, Any]]:
        """Return the loader."""
        shards = sorted(map(str, folder.glob("*.tar")))
        dataset = wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(SHUFFLED)
        if form == "views":
            dataset = dataset.decode("pil").rename(image="png", depth="npy").map(make)
        else:
            dataset = dataset.map(partial(_make_of_members, make))
        dataset = dataset.batched(batching.batch_size, collation_fn=default_collate)
        workers = batching.num_workers
        loader: Iterable[Mapping[str, Any]] = wds.WebLoader(
            dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0
        )
        return loader


def _of_view(sample: dict[str, Any]) -> dict[str, Any]:
    return {"png": sample["png"], "npy": sample["depth"]}


def _of_parts(sample: dict[str, Any]) -> dict[str, Any]:
    return {"row.id": str(sample.pop("row")).encode(), **{f"{name}.bin": data for name, data in sample.items()}}


_MEMBERS = {"views": _of_view, "parts": _of_parts}


def _make_of_members(make: Make, sample: dict[str, Any]) -> dict[str, Any]:
    parts = {name.removesuffix(".bin"): data for name, data in sample.items() if name.endswith(".bin")}
    return make({"row": int(sample["row.id"]), **parts})
