"""The stages of loading, each timed alone on what the one before it made, and the whole chain timed as it is used.

The stages call the functions that the reader and the data sets call, batch by batch in the order of an epoch. What the
times mean is found in `training.profiling.bottleneck`, and reported by `training.profiling.profile`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from sharding.format.sample import Sample
from sharding.progress import track
from sharding.reading.reader import SampleReader
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from training.loading.augment import PairedAugment
from training.loading.bad_samples import Seed
from training.loading.dataset import DiodeDepthDataset, Position
from training.loading.decode import decode_known, decode_rgb
from training.loading.images import ImageDataset, ImageDraw
from training.loading.loader import Loading, build_loader
from training.loading.order import epoch_order, weighted_order
from training.loading.read_ahead import ReadAhead
from training.loading.sampler import EvalSampler
from training.loading.view import ViewArrays
from training.loading.view_batch import ViewBatch, Written
from training.profiling.stopwatch import Stopwatch, Timing, time_once

Held = Literal["stored", "payload", "decoded"]
"""Which bytes are counted: as stored in a shard, as the files of a sample (inflated), or as arrays."""

CHAIN = "chain"
STAGES: dict[str, Held] = {
    "fetch": "stored",
    "check": "stored",
    "inflate": "payload",
    "decode_image": "decoded",
    "decode_depth": "decoded",
    "warp": "decoded",
    "to_tensors": "decoded",
    "collate": "decoded",
}
"""Stages in their order, and the bytes that each one is counted in: those of its result.

Views with depth are written into the batch: `to_tensors` and `collate` are stages of images alone.
"""

LARGEST_BATCH = 8
BATCHES_PER_WORKER = 4
"""Minimum per worker, if there are enough samples: with fewer, the last batch of a worker dominates its rate."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The samples that are measured, and how they are read.

    Attributes:
        opened: The set.
        paired: Whether depth is read as well, as in fine-tuning; else only images, as in pretraining.
        samples: Number of samples, the first ones of an epoch's order.
        batch_size: Samples that are read and collated together.
        view: The warp of every sample.
    """

    opened: ShardSet
    paired: bool
    samples: int
    batch_size: int
    view: PairedAugment

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that are read."""
        return DEPTH_PARTS if self.paired else ("image",)

    @property
    def stored_bytes(self) -> int:
        """Bytes stored in shards for these parts of these samples."""
        columns = [f"{part}_bytes" for part in self.parts]
        return int(self.opened.index.iloc[self.rows()][columns].to_numpy().sum())

    def rows(self) -> NDArray[np.int64]:
        """Return the rows, int64 (samples,), that `dataset` reads for the first positions of epoch 0."""
        if self.paired:
            return epoch_order(self.opened.shard_sizes, 0, 0)[: self.samples]
        return weighted_order([len(self.opened)], None, 0, 0)[0][: self.samples]

    def batches(self) -> list[range]:
        """Return the places of each batch, in [0, samples)."""
        begins = range(0, self.samples, self.batch_size)
        return [range(begin, min(begin + self.batch_size, self.samples)) for begin in begins]

    def dataset(self) -> "DiodeDepthDataset | ImageViews":
        """Return the data set whose items the whole chain makes."""
        if self.paired:
            return DiodeDepthDataset(self.opened, augment=self.view, shuffle=True)
        return ImageViews(ImageDataset([self.opened]), self.view)


def plan_work(opened: ShardSet, samples: int, num_workers: int) -> Work:
    """Decide what is measured: depth if every sample has it, views of the size that most samples have."""
    samples = min(samples, len(opened))
    sizes = Counter(zip(opened.index["height"].tolist(), opened.index["width"].tolist(), strict=True))
    height, width = sizes.most_common(1)[0][0]
    return Work(
        opened=opened,
        paired=bool((opened.index["depth_ext"] != "").all()),
        samples=samples,
        batch_size=max(1, min(LARGEST_BATCH, samples // (BATCHES_PER_WORKER * max(num_workers, 1)))),
        view=PairedAugment(height=height, width=width),
    )


class ImageViews(Dataset[dict[str, Any]]):
    """Images alone through the warp: uint8 (3, H, W) tensors with their keys, by (epoch, position)."""

    def __init__(self, images: ImageDataset, view: PairedAugment) -> None:
        self._images, self._view = images, view

    @property
    def remote(self) -> bool:
        """Whether images are read over a network."""
        return self._images.remote

    def reading_ahead(self, read_ahead: ReadAhead) -> "ImageViews":
        """Return the same views, of images that `read_ahead` fetches before they are needed."""
        return ImageViews(self._images.reading_ahead(read_ahead), self._view)

    def __getitems__(self, positions: Sequence[Position]) -> list[dict[str, Any]]:
        """Return the items of a batch, read at once."""
        return [self._item(draw) for draw in self._images.__getitems__(positions)]

    def _item(self, draw: ImageDraw) -> dict[str, Any]:
        sample = Sample(key=draw.key, image=draw.image)
        return to_tensors(self._view(sample, np.random.default_rng(draw.seed)))


def to_tensors(sample: Sample) -> dict[str, Any]:
    """Convert an image to the tensors of an item."""
    image: Tensor = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))  # uint8 (3, h, w)
    return {"image": image, "key": sample.key}


def time_stages(work: Work, repeats: int) -> dict[str, Timing]:
    """Time each stage alone, then the whole chain (`CHAIN`, counted in stored bytes), in this process.

    One batch goes through everything before the next, so that memory holds one batch, and other load of the machine
    affects all stages alike.
    """
    watch, rows, dataset = Stopwatch(repeats), work.rows().tolist(), work.dataset()
    batches = work.batches()
    for places in track(batches, total=len(batches), unit="batches", label="stages"):
        make_in_stages(work, [rows[place] for place in places], watch)
        watch(CHAIN, partial(make_at_once, dataset, places))
    timings = watch.timings()
    return timings | {CHAIN: replace(timings[CHAIN], bytes=work.stored_bytes)}


def make_at_once(dataset: "DiodeDepthDataset | ImageViews", places: Sequence[int]) -> dict[str, Any]:
    """Make the batch of some places of epoch 0, as a DataLoader without workers does."""
    read = dataset.making_batches() if isinstance(dataset, DiodeDepthDataset) else dataset
    made = read.__getitems__([(0, place) for place in places])
    batch: dict[str, Any] = made.fill() if isinstance(made, ViewBatch) else default_collate(made)
    return batch


def make_in_stages(work: Work, rows: Sequence[int], watch: Stopwatch) -> dict[str, Any]:
    """Make the batch of some rows, each stage timed by the watch: bit for bit the batch of `make_at_once`.

    Raises:
        DataError: A sample is damaged; the message names shard, key and part.
    """
    samples = _read(work.opened.reader, work.parts, rows, watch)
    # (seed, epoch, sample id, replica), as in `training.loading.dataset`, so that the warps are the same.
    seeds = [(0, 0, int(work.opened.ids[row]), 0) for row in rows]
    drawn = list(zip(samples, seeds, strict=True))
    if work.paired:
        return watch("warp", lambda: _make_views(work.view, drawn))
    views = watch("warp", lambda: [work.view(sample, np.random.default_rng(seed)) for sample, seed in drawn])
    items = watch("to_tensors", lambda: [to_tensors(view) for view in views])
    batch: dict[str, Any] = watch("collate", lambda: default_collate(items))
    return batch


def _make_views(view: PairedAugment, drawn: Sequence[tuple[Sample, Seed]]) -> dict[str, Any]:
    """Write the views of samples into a batch, as `DiodeDepthDataset` does."""

    def write(sample: Sample, seed: Seed, into: ViewArrays) -> Written:
        return Written(key=sample.key, weight=1.0, colour=view.fill(sample, np.random.default_rng(seed), into))

    return ViewBatch(len(drawn), view.size, [partial(write, *one) for one in drawn]).fill()


def _read(reader: SampleReader, parts: Sequence[str], rows: Sequence[int], watch: Stopwatch) -> list[Sample]:
    """Read rows and decode them, in the steps of `SampleReader.read`."""
    # `watch` does each piece of work several times; its first result is the input of the next stage.
    stored = watch("fetch", lambda: reader.read_stored(rows, parts))
    watch("check", lambda: [reader.check(row, one) for row, one in zip(rows, stored, strict=True)])
    files = watch("inflate", lambda: [reader.unpack(row, one) for row, one in zip(rows, stored, strict=True)])
    images = watch("decode_image", lambda: [decode_rgb(one["image"]) for one in files])
    keys = [reader.key(row) for row in rows]
    if "depth" not in parts:
        return [Sample(key=key, image=image) for key, image in zip(keys, images, strict=True)]
    encoded = [(one["depth"], reader.ext(row, "depth"), one.get("valid")) for row, one in zip(rows, files, strict=True)]
    depths = watch("decode_depth", lambda: [decode_known(*one) for one in encoded])
    made = zip(keys, images, depths, strict=True)
    return [Sample(key=key, image=image, depth=depth, valid=valid) for key, image, (depth, valid) in made]


def time_loaders(work: Work, repeats: int, num_workers: int) -> tuple[Timing, Timing]:
    """Time a DataLoader in this process, and one with worker processes; both counted in stored bytes.

    They take turns, so that other load of the machine affects both. A first turn, not timed, starts the workers.
    """
    loaders = [_build(work, count) for count in (0, num_workers)]
    counts = [_exhaust(loader) for loader in loaders]  # the turn that is not timed
    seconds: list[list[float]] = [[], []]
    for _ in track(range(repeats), total=repeats, unit="turns", label="loaders"):
        for taken, loader in zip(seconds, loaders, strict=True):
            # Wall clock only: the CPU time of this process does not include that of its workers.
            taken.append(time_once(partial(_exhaust, loader))[0])
    alone, workers = (
        Timing(samples=count, bytes=work.stored_bytes, seconds=tuple(taken))
        for count, taken in zip(counts, seconds, strict=True)
    )
    return alone, workers


def _build(work: Work, num_workers: int) -> "DataLoader[Any]":
    loading = Loading(batch_size=work.batch_size, num_workers=num_workers)
    # Positions (0, 0), (0, 1), ...: the first ones of the order of epoch 0, as in the stages.
    return build_loader(work.dataset(), EvalSampler(work.samples, work.batch_size), loading)


def _exhaust(loader: "DataLoader[Any]") -> int:
    """Take every batch; return the number of samples."""
    return sum(len(batch["key"]) for batch in loader)
