"""Each way of loading, opened: a function that runs an epoch of it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from loader_bench.engine import Engine, ReferenceEngine
from loader_bench.epochs import run_epoch
from loader_bench.limit import bare_loop
from loader_bench.peer import Batching, Form, Make, Peer, Samples, SourceViews
from loader_bench.task import LIMITS, SETS, Epoch, Task
from loader_bench.tutorial import TutorialItem, train_transform, tutorial_loader
from sharding.reading.shard_set import ShardSet
from training.loading.augment import PairedAugment
from training.loading.dataset import DiodeDepthDataset
from training.loading.loader import Loading, build_loader
from training.loading.sampler import TrainSampler


def open_way(task: Task) -> Callable[[], Epoch]:
    """Open a way."""
    if task.way in LIMITS:
        return _open_limit(task)
    if task.way in SETS:
        return partial(run_epoch, OurLoader(task))
    if task.way == "tutorial":
        loader = tutorial_loader(task.source, task.side, task.batch_size, task.num_workers)
        return partial(run_epoch, loader)
    batching = Batching(batch_size=task.batch_size, num_workers=task.num_workers)
    make: Make = engine_of(task) if _form(task) == "parts" else TutorialItem(train_transform(task.side))
    return partial(run_epoch, open_peer(task.way).load(task.folder, _form(task), make, batching))


def write_way(task: Task) -> None:
    """Write the files of a peer with its own writer."""
    samples: Samples = engine_of(task) if _form(task) == "parts" else SourceViews(task.source)
    open_peer(task.way).write(task.folder, _form(task), samples)


def _form(task: Task) -> Form:
    return "parts" if task.way.endswith("_engine") else "views"


def engine_of(task: Task) -> Engine:
    """Return our functions over the exact set with zstd."""
    return Engine(Path(task.root) / "exact", task.side)


def open_peer(way: str) -> Peer:
    """Import the peer of a way; torch's own loader is one."""
    match way.removesuffix("_engine"):
        case "webdataset":
            from loader_bench.webdataset_peer import WebDatasetPeer

            return WebDatasetPeer()
        case "litdata":
            from loader_bench.litdata_peer import LitDataPeer

            return LitDataPeer()
        case "mosaic":
            from loader_bench.mosaic_peer import MosaicPeer

            return MosaicPeer()
        case _:
            from loader_bench.loose_peer import LoosePeer

            return LoosePeer()


def _open_limit(task: Task) -> Callable[[], Epoch]:
    kind, _, none = task.way.partition("_")
    make = {"limit": Engine, "reference": ReferenceEngine}[kind]
    return bare_loop(make(Path(task.root) / ("exact_none" if none else "exact"), task.side), task.side, task.batch_size)


class OurLoader:
    """Our loader as fine-tuning has it; each iteration is the next epoch.

    Args:
        task: Its way names the set.
    """

    def __init__(self, task: Task) -> None:
        samples = ShardSet(str(Path(task.root) / task.way))
        dataset = DiodeDepthDataset(samples, augment=PairedAugment(height=task.side, width=task.side), shuffle=True)
        self._sampler = TrainSampler(len(samples), task.batch_size, dataset.prepare)
        loading = Loading(batch_size=task.batch_size, num_workers=task.num_workers)
        self._loader, self._epoch = build_loader(dataset, self._sampler, loading), 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._sampler.set_epoch(self._epoch)
        self._epoch += 1
        return iter(self._loader)
