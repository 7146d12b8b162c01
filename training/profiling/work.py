"""What a profile measures: samples, the views that are made of them, and their batches; decided without torch.

Of a set with depth these are the views and batches of `finetune`, from the same options. Images alone are taken at the
size that most of them have: the views of `pretrain` are LightlyTrain's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sharding.errors import UsageError
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.stores.address import is_remote
from training.config import ProfileConfig
from training.depth_options import AugmentOptions
from training.depth_sets.views import make_augment
from training.loading.augment import PairedAugment
from training.loading.order import epoch_order
from training.loading.shared_need import VIEW_PIXEL_BYTES, SharedNeed, check_shared_memory, index_bytes

IMAGE_PIXEL_BYTES = 3
"""Bytes of a pixel of an image alone: RGB as uint8."""

BATCHES_PER_WORKER = 4
"""Least number of a turn: with fewer, the last batch of a worker dominates its rate."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a loader with workers makes at a time: whole batches, of several epochs if one has too few.

    Attributes:
        batch_size: Samples of a batch.
        batches: Number of batches of each epoch, its first ones.
        epochs: Number of epochs, from 0.
    """

    batch_size: int
    batches: int
    epochs: int

    @property
    def epoch_samples(self) -> int:
        """Samples of each epoch."""
        return self.batches * self.batch_size


@dataclass(frozen=True, kw_only=True)
class Work:
    """The samples that are measured, and how they are read.

    Attributes:
        opened: The set.
        paired: Whether depth is read as well, as in fine-tuning; else only images, as in pretraining.
        samples: Number of samples, the first ones of an epoch's order.
        batch_size: Samples of a batch, at most `samples`.
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

    def rows(self) -> NDArray[np.int64]:
        """Return the rows, int64 (samples,), of the first positions of epoch 0."""
        return self._order(0)[: self.samples]

    def batches(self) -> list[range]:
        """Return the places of each batch, in [0, samples)."""
        begins = range(0, self.samples, self.batch_size)
        return [range(begin, min(begin + self.batch_size, self.samples)) for begin in begins]

    def read_together(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Cut the rows of a batch into those that the data sets read together."""
        together = 1 if self.paired and not is_remote(self.opened.url) else len(rows)
        return [rows[first : first + together] for first in range(0, len(rows), together)]

    @property
    def stored_bytes(self) -> int:
        """Bytes stored in shards for these parts of these samples."""
        return self._stored_bytes(self.rows())

    def turn(self, num_workers: int) -> Turn:
        """Return what a loader with workers makes at a time."""
        wanted = max(self.samples // self.batch_size, BATCHES_PER_WORKER * num_workers)
        batches = min(wanted, len(self.opened) // self.batch_size)
        return Turn(batch_size=self.batch_size, batches=batches, epochs=-(-wanted // batches))  # rounded up

    def turn_bytes(self, turn: Turn) -> int:
        """Return the bytes stored in shards for the samples of a turn."""
        return sum(self._stored_bytes(self._order(epoch)[: turn.epoch_samples]) for epoch in range(turn.epochs))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self.opened.shard_sizes, 0, epoch)

    def _stored_bytes(self, rows: NDArray[np.int64]) -> int:
        columns = [f"{part}_bytes" for part in self.parts]
        return int(self.opened.rows[columns].iloc[rows].to_numpy().sum())


def plan_work(opened: ShardSet, config: ProfileConfig) -> Work:
    """Decide what is measured: depth if every sample has it.

    Raises:
        UsageError: The options of the views are wrong, or the set lacks the depth that they are for.
    """
    augment = make_augment(config)
    samples = min(config.samples, len(opened))
    deep = int((opened.rows["depth_ext"] != "").sum())
    paired = deep == len(opened)
    if not paired and (given := _given_views(config)):
        some = ", or select those that have it with --where \"depth_ext != ''\"" if deep else ""
        raise UsageError(
            f"{', '.join(given)}: for views of samples with depth, as of `finetune`; {len(opened) - deep} of "
            f"{len(opened)} samples of {opened.url} have none, so images alone are measured, at the size that most of "
            f"them have: leave {'it' if len(given) == 1 else 'them'} out{some}"
        )
    return Work(
        opened=opened,
        paired=paired,
        samples=samples,
        batch_size=min(config.batch_size, samples),
        view=augment if paired else _whole_images(opened),
    )


def check_room(work: Work, num_workers: int) -> None:
    """Check that the batches of the workers have room in shared memory.

    Raises:
        UsageError: They have not.
    """
    turn, pixel_bytes = work.turn(num_workers), VIEW_PIXEL_BYTES if work.paired else IMAGE_PIXEL_BYTES
    need = SharedNeed(
        purpose="the whole chain",
        batch_bytes=work.batch_size * work.view.height * work.view.width * pixel_bytes,
        batches=turn.batches * turn.epochs,
        workers=num_workers,
        index_bytes=index_bytes(work.opened),
    )
    check_shared_memory([need], smaller="--batch-size")


def _given_views(config: ProfileConfig) -> list[str]:
    """List the options of views that are not at their defaults, as on the command line."""
    return [f"--{one.name}" for one in fields(AugmentOptions) if getattr(config, one.name) != one.default]


def _whole_images(opened: ShardSet) -> PairedAugment:
    sizes = Counter(zip(opened.rows["height"].tolist(), opened.rows["width"].tolist(), strict=True))
    height, width = sizes.most_common(1)[0][0]
    return PairedAugment(height=height, width=width)
