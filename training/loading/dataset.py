"""Map-style datasets over shard sets: a position of an epoch in, a sample out.

`training.loading.order` turns a position into a row; all randomness of a sample comes from
`default_rng((seed, epoch, sample_id, replica))`. So a batch is the same, bit for bit, in whatever worker it is made.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from sharding.errors import DataError, UsageError
from sharding.format.sample import Sample
from sharding.reading.decoders import Decoders
from sharding.reading.reader import Found
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from sharding.stores.address import is_remote
from training.launch.whereabouts import note
from training.loading.augment import PairedAugment
from training.loading.bad_samples import BadSample
from training.loading.decode import decode_known, decode_rgb, decode_stored
from training.loading.item import to_item
from training.loading.read_ahead import Piece, ReadAhead, cut_batch
from training.loading.shared_columns import share, share_column
from training.loading.shared_order import share_epoch_order
from training.loading.upcoming import Batch
from training.loading.upcoming import Position as Position
from training.loading.view import ViewArrays
from training.loading.view_batch import ViewBatch, Writer, Written, make_item


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
        colour: float32 (3,), only with `augment`: factors of brightness, contrast and saturation, to be applied to
            `image` by `training.network.colour.change_colour` on the device.
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
        if (lacking := int((opened.rows.numbers("depth_offset") < 0).sum())) > 0:
            raise DataError(
                f"{opened.url}: {lacking} of {len(opened)} samples have no depth; shard the source with its depth, "
                "or select with --where \"kind == 'metric'\""
            )
        self.augment, self.seed, self.shuffle = augment, seed, shuffle
        self._tolerant = tolerant
        decoders = Decoders(decode_rgb, decode_stored if under_mask else decode_known)
        self._reader = share(opened.reader.with_decoders(decoders))
        sizes = tuple(int(size) for size in opened.shard_sizes)
        self._order = share_epoch_order(sizes, seed) if shuffle else None
        self._ids = share_column(opened.ids)  # int64 (N,), mapped by the workers
        self._read_ahead: ReadAhead | None = None
        self._makes_batches = False

    def making_batches(self) -> "DiodeDepthDataset":
        """Return the same dataset for a loader that takes batches as they are (`ViewBatch`)."""
        if self.augment is None:
            return self  # samples may differ in size
        changed = copy.copy(self)  # shallow: both share reader, order and ids
        changed._makes_batches = True
        return changed

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
        return self._items([index])[0]

    def __getitems__(self, indices: Sequence[int | Position]) -> list[dict[str, Any]] | ViewBatch:
        """Read the samples of a batch; torch's fetcher calls it instead of one `__getitem__` per sample."""
        if self.augment is None or not self._makes_batches:
            return self._items(indices)
        return ViewBatch(len(indices), self.augment.size, self._writers(self.augment, indices))

    def _items(self, indices: Sequence[int | Position]) -> list[dict[str, Any]]:
        if self.augment is None:
            return [self._item(*one) for one in self._read(indices)]
        return [make_item(self.augment.size, write) for write in self._writers(self.augment, indices)]

    def _writers(self, augment: PairedAugment, indices: Sequence[int | Position]) -> Iterator[Writer]:
        return (partial(self._write, augment, *one) for one in self._read(indices))

    def _read(self, indices: Sequence[int | Position]) -> Iterator[tuple[Found, int, Position]]:
        """Yield what was read of each sample, its row and its position."""
        # A row belongs to no epoch: it is augmented as position `row` of epoch 0.
        positions = [index if isinstance(index, tuple) else (0, self._checked(index)) for index in indices]
        rows = [
            self._row(index) if isinstance(index, tuple) else position
            for index, (_, position) in zip(indices, positions, strict=True)
        ]
        ahead = self._read_ahead if positions == list(indices) else None  # rows are not part of a loader's batch
        found = self._find(rows) if ahead is None else ahead.take(positions, self._cut)
        return zip(found, rows, positions, strict=True)

    def _find(self, rows: Sequence[int]) -> Iterator[Found]:
        """Read the samples of a remote set together, those of a local one each when its turn comes.

        So a worker's memory does not grow with the batch.
        """
        together = max(len(rows), 1) if self.remote else 1
        for first in range(0, len(rows), together):
            part = rows[first : first + together]
            note(f"reading {self._reader.describe(part[0], more=len(part) - 1)}")
            yield from self._reader.read_each(part, DEPTH_PARTS)

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

    def _item(self, found: Found, row: int, position: Position) -> dict[str, Any]:
        return to_item(self._decode(found, row), self._weight(position))

    def _write(self, augment: PairedAugment, found: Found, row: int, position: Position, into: ViewArrays) -> Written:
        """Write the view of a sample, or zeros if it is damaged and that is tolerated."""
        key, number = self._reader.key(row), int(self._ids[row])
        try:
            random = np.random.default_rng((self.seed, position[0], number, 0))
            colour = augment.fill(self._decode(found, row), random, into)
        except DataError as error:  # of this sample: its bytes are here
            if not self._tolerant:
                raise
            into.blank()
            return Written(key=key, weight=0.0, bad=BadSample(number, key, str(error)))
        return Written(key=key, weight=self._weight(position), colour=colour)

    def _decode(self, found: Found, row: int) -> Sample:
        note(f"decoding {self._reader.describe(row)}")
        return self._reader.decode(row, found)

    def _weight(self, position: Position) -> float:
        return float(self.shuffle or position[1] < len(self))


def _open(set: ShardSet | str | os.PathLike[str], where: str | None) -> ShardSet:
    if not isinstance(set, ShardSet):
        return ShardSet(set, where)
    if where is not None:
        raise UsageError("where: the set is already open; give it to ShardSet(url, where)")
    return set
