"""Datasets over streams of whole shards, with the interface of those of `training.loading.dataset`.

Positions must be requested in the sampler's order, by the loader that the plan describes.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from sharding.format.sample import Sample
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from training.loading.augment import PairedAugment
from training.loading.images import IMAGE_PARTS, EncodedDraw, ImageDraw
from training.loading.upcoming import Plan, Position, Upcoming
from training.loading.view import ViewArrays
from training.loading.view_batch import ViewBatch, Writer, Written, make_item
from training.streaming.options import Streaming
from training.streaming.pipeline import SampleStreams, ShardRing, StreamedSet


class StreamedDepth(Dataset[dict[str, Any]]):
    """Images with depth, streamed: the items of `DiodeDepthDataset`, with the same augmentation for a sample.

    Args:
        opened: The set.
        streaming: Shuffle buffer and pipe.
        plan: Returns this rank's part of an epoch.
        augment: Applied to each sample with its own generator.
        seed: Of order and augmentation.
    """

    def __init__(
        self, opened: ShardSet, streaming: Streaming, plan: Plan, *, augment: PairedAugment, seed: int = 0
    ) -> None:
        streamed = StreamedSet(opened, DEPTH_PARTS, streaming.pipe)
        self._streams = SampleStreams(ShardRing([streamed], streaming.shuffle_buffer, seed), plan)
        self._augment, self._seed = augment, seed
        self._makes_batches = False

    def __len__(self) -> int:
        return len(self._streams.ring)

    @property
    def remote(self) -> bool:
        """Whether the set is read over a network."""
        return self._streams.ring.remote

    def making_batches(self) -> "StreamedDepth":
        """Return the same samples for a loader that takes batches as they are (`ViewBatch`)."""
        changed = copy.copy(self)
        changed._makes_batches = True
        return changed

    def __getitem__(self, position: Position) -> dict[str, Any]:
        return make_item(self._augment.size, next(self._writers([position])))

    def __getitems__(self, positions: Sequence[Position]) -> list[dict[str, Any]] | ViewBatch:
        """Read the next samples of this worker's stream."""
        writers = self._writers(positions)
        if self._makes_batches:
            return ViewBatch(len(positions), self._augment.size, writers)
        return [make_item(self._augment.size, write) for write in writers]

    def _writers(self, positions: Sequence[Position]) -> Iterator[Writer]:
        taken = zip(positions, self._streams.take(positions), strict=True)
        return (partial(self._write, sample, epoch, number) for (epoch, _), (sample, number) in taken)

    def _write(self, sample: Sample, epoch: int, number: int, into: ViewArrays) -> Written:
        # The seed of the indexed reader, so the same augmentation; replica 0, because a stream has each sample once.
        random = np.random.default_rng((self._seed, epoch, number, 0))
        if sample.depth is not None and sample.valid is not None:
            sample = replace(sample, depth=np.where(sample.valid, sample.depth, np.float32(0)))
        return Written(key=sample.key, weight=1.0, colour=self._augment.fill(sample, random, into))


class StreamedImages(Dataset[ImageDraw]):
    """Images alone, streamed from one or more sets: the draws of `ImageDataset` without weights.

    Args:
        sets: Open sets.
        streaming: Shuffle buffer and pipe.
        seed: Of the order and of the draws' random numbers.
    """

    def __init__(self, sets: Sequence[ShardSet], streaming: Streaming, *, seed: int = 0) -> None:
        # A sample's id counts through all samples of all sets, as in `ImageDataset`.
        ids = np.cumsum([0] + [opened.manifest.samples for opened in sets]).tolist()
        streamed = [
            StreamedSet(opened, IMAGE_PARTS, streaming.pipe, first_id)
            for opened, first_id in zip(sets, ids[:-1], strict=True)
        ]
        self.seed = seed
        self._streams = SampleStreams(ShardRing(streamed, streaming.shuffle_buffer, seed), _not_planned)

    def seeded(self, seed: int) -> "StreamedImages":
        """Return the same images in the order, and with the draws, of another seed; before `planned`."""
        changed, ring = copy.copy(self), self._streams.ring
        changed.seed = seed
        changed._streams = SampleStreams(ring.seeded(seed), _not_planned)
        return changed

    def planned(self, plan: Plan, *, encoded: bool = False) -> "StreamedImages":
        """Return the same images for a loader.

        Args:
            plan: Returns this rank's part of an epoch.
            encoded: Whether they are taken by `read_encoded`, and by that alone.
        """
        changed, ring = copy.copy(self), copy.copy(self._streams.ring)
        ring.encoded = encoded
        changed._streams = SampleStreams(ring, plan)
        return changed

    def __len__(self) -> int:
        return len(self._streams.ring)

    @property
    def remote(self) -> bool:
        """Whether any of the sets is read over a network."""
        return self._streams.ring.remote

    def __getitem__(self, position: Position) -> ImageDraw:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[Position]) -> list[ImageDraw]:
        """Read the next images of this worker's stream."""
        return list(self.iterate(positions))

    def iterate(self, positions: Sequence[Position]) -> Iterator[ImageDraw]:
        """Read the next images of this worker's stream, one after the other."""
        for (epoch, _), (sample, number) in zip(positions, self._streams.take(positions), strict=True):
            yield ImageDraw(key=sample.key, image=sample.image, seed=(self.seed, epoch, number, 0))

    def read_encoded(self, positions: Sequence[Position]) -> list[EncodedDraw]:
        """Read the next images of this worker's stream, and leave them as the files they are.

        Raises:
            DataError: A shard is damaged or cannot be read; names the shard.
        """
        taken = zip(positions, self._streams.take_encoded(positions), strict=True)
        return [
            EncodedDraw(key=one.key, data=one.image, seed=(self.seed, epoch, number, 0), origin=one.origin)
            for (epoch, _), (one, number) in taken
        ]


def _not_planned() -> Upcoming:
    raise RuntimeError("which images this process streams is known once there is a loader: call planned() first")
