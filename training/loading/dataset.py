"""Map-style datasets over shard sets: a position of an epoch in, a sample out.

`training.loading.order` turns a position into a row; all randomness of a sample comes from
`default_rng((seed, epoch, sample_id, replica))`. So a batch is the same, bit for bit, in whatever worker it is made.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sharding.errors import DataError, UsageError
from sharding.reading.reader import Found
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.stores.address import is_remote
from training.launch.whereabouts import note
from training.loading.augment import PairedAugment
from training.loading.bad_samples import MARK, BadSample
from training.loading.decode import decode_rgb
from training.loading.item import blank_item, to_item
from training.loading.read_ahead import Piece, ReadAhead, cut_batch
from training.loading.shared_columns import share
from training.loading.shared_order import share_epoch_order
from training.loading.upcoming import Batch
from training.loading.upcoming import Position as Position


class DiodeDepthDataset(Dataset[dict[str, Any]]):
    """Images with depth, one item per sample.

    An index is a row (`ds[3]`), or a `(epoch, position)` as the samplers of `training.loading.sampler` yield it. With
    `shuffle`, position p of an epoch is the p-th sample of that epoch's order; without, it is row p, and positions
    beyond the last row are padding: a sample that another position has too, with weight 0.

    With `shuffle`, give `prepare` to the sampler: an epoch's order is then stored once, not by every loader worker.

    An item is a dict:
        image: uint8 (3, H, W), RGB.
        depth: float32 (1, H, W), metres; 0 where not valid.
        valid: bool (1, H, W).
        weight: float32 (), 1, or 0 for padding.
        key: str.

    Args:
        set: A shard set, open, or its folder or URL.
        where: A condition that selects a subset; not with an open set.
        augment: Applied to each sample with its own generator; None for the unchanged sample.
        seed: Of order and augmentation.
        shuffle: Whether a position counts through the epoch's order or through the rows.
        tolerant: Whether a damaged sample becomes an item of zeros with weight 0 and a mark
            (`training.loading.bad_samples`), instead of an error; needs `augment`, which gives it its size.
        under_mask: Whether every pixel whose stored depth is above 0 is valid, whatever the mask says.

    Raises:
        DataError: The set has no depth.
        UsageError: `where` is given with an open set, or selects nothing; or `tolerant` without `augment`.
    """

    def __init__(
        self,
        set: ShardSet | str | os.PathLike[str],
        where: str | None = None,
        *,
        augment: PairedAugment | None = None,
        seed: int = 0,
        shuffle: bool = False,
        tolerant: bool = False,
        under_mask: bool = False,
    ) -> None:
        if tolerant and augment is None:
            raise UsageError("tolerant: expected an augmentation, which gives items their size, found None")
        opened = _open(set, where)
        if (lacking := int((opened.index["depth_ext"] == "").sum())) > 0:
            raise DataError(
                f"{opened.url}: {lacking} of {len(opened)} samples have no depth; shard the source with its depth, "
                "or select with --where \"kind == 'metric'\""
            )
        self.augment, self.seed, self.shuffle = augment, seed, shuffle
        self._under_mask = under_mask
        self._blank_size = (augment.height, augment.width) if augment and tolerant else None
        self._reader = share(opened.reader.with_image_decoder(decode_rgb))
        sizes = tuple(int(size) for size in opened.shard_sizes)
        self._order = share_epoch_order(sizes, seed) if shuffle else None
        self._ids = torch.from_numpy(opened.ids.copy()).share_memory_()  # int64 (N,), mapped by the workers
        self._read_ahead: ReadAhead | None = None

    def reading_ahead(self, read_ahead: ReadAhead) -> "DiodeDepthDataset":
        """Return the same dataset for a loader whose batches `read_ahead` predicts; rows are still read directly."""
        changed = copy.copy(self)  # shallow: both share reader, order and ids
        changed._read_ahead = read_ahead
        return changed

    def __len__(self) -> int:
        return len(self._reader)

    def prepare(self, epoch: int) -> None:
        """Compute the order of an epoch where all loader workers see it (`TrainSampler` calls it)."""
        if self._order is not None:
            self._order.prepare(epoch)

    def __getitem__(self, index: int | Position) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int | Position]) -> list[dict[str, Any]]:
        """Read the samples of a batch together; torch's fetcher calls it instead of one `__getitem__` per sample."""
        # A row belongs to no epoch: it is augmented as position `row` of epoch 0.
        positions = [index if isinstance(index, tuple) else (0, self._checked(index)) for index in indices]
        rows = [
            self._row(index) if isinstance(index, tuple) else position
            for index, (_, position) in zip(indices, positions, strict=True)
        ]
        if rows:
            note(f"reading {self._reader.describe(rows[0], more=len(rows) - 1)}")
        if self._read_ahead is None or positions != list(indices):  # rows are not part of a loader's batch
            found = self._reader.read_each(rows, DEPTH_PARTS)
        else:
            found = self._read_ahead.take(positions, self._cut)
        return [self._item_or_blank(*one) for one in zip(found, rows, positions, strict=True)]

    def _cut(self, batch: Batch) -> Iterator[Piece]:
        return cut_batch([self._reader], [(0, self._row(position)) for position in batch], DEPTH_PARTS)

    def _checked(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} samples")
        return row % len(self)

    @property
    def remote(self) -> bool:
        """Whether the set is read over a network."""
        return is_remote(self._reader.url)

    def _row(self, position: Position) -> int:
        epoch, place = position
        return place % len(self) if self._order is None else self._order.at(epoch, place)[0]

    def _item_or_blank(self, found: Found, row: int, position: Position) -> dict[str, Any]:
        try:
            return self._item(found, row, *position)
        except DataError as error:  # of this sample: its bytes are here
            if self._blank_size is None:
                raise
            key = self._reader.key(row)
            return blank_item(key, *self._blank_size) | {MARK: BadSample(int(self._ids[row]), key, str(error))}

    def _item(self, found: Found, row: int, epoch: int, place: int) -> dict[str, Any]:
        note(f"decoding {self._reader.describe(row)}")
        sample = self._reader.decode(row, found)
        if self._under_mask and sample.depth is not None:
            sample = replace(sample, valid=sample.depth > 0)
        if self.augment is not None:
            sample = self.augment(sample, np.random.default_rng((self.seed, epoch, int(self._ids[row]), 0)))
        return to_item(sample, weight=float(self.shuffle or place < len(self)))


def _open(set: ShardSet | str | os.PathLike[str], where: str | None) -> ShardSet:
    if not isinstance(set, ShardSet):
        return ShardSet(set, where)
    if where is not None:
        raise UsageError("where: the set is already open; give it to ShardSet(url, where)")
    return set
