"""Images alone, from one or more sets: a position of an epoch in, an image and the seed of its views out."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from sharding.errors import DataError, UsageError
from sharding.reading.decoders import Decoders
from sharding.reading.reader import Found, SampleReader
from sharding.reading.shard_set import ShardSet
from sharding.stores.address import is_remote
from training.launch.whereabouts import note
from training.loading.bad_samples import BadSample, Seed, fill_places
from training.loading.decode import decode_as_lightly_train
from training.loading.read_ahead import Piece, ReadAhead, cut_batch
from training.loading.shared_columns import share, share_column
from training.loading.shared_order import SharedOrder, share_epoch_order, share_weighted_order
from training.loading.upcoming import Batch, Position

IMAGE_PARTS = ("image",)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageDraw:
    """One draw of an image.

    Attributes:
        key: Of the sample.
        image: uint8 (H, W, 3), RGB; float32 in 0..1 if it was a PNG of 16 bits.
        seed: (seed, epoch, sample id, replica), from which every random number of this draw follows.
        bad: The damaged sample that was drawn, if this is the image of another one in its place, with its seed.
    """

    key: str
    image: NDArray[Any]
    seed: Seed
    bad: BadSample | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedDraw:
    """One draw of an image that is not decoded.

    Attributes:
        key: Of the sample.
        data: The image file.
        seed: As of `ImageDraw`.
        origin: Shard and key, for messages.
        bad: As of `ImageDraw`.
    """

    key: str
    data: bytes
    seed: Seed
    origin: str
    bad: BadSample | None = None


class ImageDataset(Dataset[ImageDraw]):
    """Images alone, from one or more sets: of a set with depth only the image bytes are read.

    An index is a `(epoch, position)`. An epoch has as many draws as there are samples; with `weights` some samples are
    drawn several times in it and others not at all. Give `prepare` to the sampler: an epoch's order is then stored
    once, not by every loader worker.

    Args:
        sets: Open sets.
        weights: How often each set is drawn from, relative to the others; None: each sample exactly once.
        seed: Of the order and of the draws' random numbers.
        tolerant: Whether another image of the same batch takes the place of a damaged one, instead of an error; its
            draw tells so.

    Raises:
        UsageError: Weights and sets differ in number.
    """

    def __init__(
        self,
        sets: Sequence[ShardSet],
        weights: Sequence[float] | None = None,
        *,
        seed: int = 0,
        tolerant: bool = False,
    ) -> None:
        if weights is not None and len(weights) != len(sets):
            raise UsageError(f"--weights: expected {len(sets)} numbers, one a set, found {len(weights)}")
        self.seed, self._tolerant = seed, tolerant
        self._readers = [share(opened.reader.with_decoders(Decoders(image=decode_as_lightly_train))) for opened in sets]
        self._sizes = tuple(len(opened) for opened in sets)
        self._weights = None if weights is None else tuple(weights)
        self._order = self._share_order()
        # A sample's id counts through all samples of all sets, also those that --where leaves out.
        offsets = np.cumsum([0] + [opened.manifest.samples for opened in sets])[:-1]
        ids = np.concatenate([opened.ids + offset for opened, offset in zip(sets, offsets, strict=True)])
        self._ids = share_column(ids)  # int64, of the rows of all sets
        self._ends = np.cumsum(self._sizes)  # (S,) one past each set's last row, counted through all sets
        self._read_ahead: ReadAhead | None = None

    def seeded(self, seed: int) -> "ImageDataset":
        """Return the same images in the order, and with the draws, of another seed."""
        changed = copy.copy(self)
        changed.seed = seed
        changed._order = changed._share_order()
        return changed

    def _share_order(self) -> SharedOrder:
        if self._weights is None:
            return share_epoch_order(self._sizes, self.seed)
        return share_weighted_order(self._sizes, self._weights, self.seed)

    def reading_ahead(self, read_ahead: ReadAhead) -> "ImageDataset":
        """Return the same dataset for a loader whose batches `read_ahead` predicts."""
        changed = copy.copy(self)  # shallow: both share readers, order and ids
        changed._read_ahead = read_ahead
        return changed

    def __len__(self) -> int:
        return int(self._ends[-1])

    def prepare(self, epoch: int) -> None:
        """Compute the order of an epoch where all loader workers see it (`TrainSampler` calls it)."""
        self._order.prepare(epoch)

    def __getitem__(self, position: Position) -> ImageDraw:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[Position]) -> list[ImageDraw]:
        """Read the images of a batch together, set by set."""
        return list(self.iterate(positions))

    def iterate(self, positions: Sequence[Position]) -> Iterator[ImageDraw]:
        """Read the images of a batch together, and decode each when it is asked for.

        So a worker holds one decoded image, not the 128 of 6 MB that a batch may have.
        """
        found = self._find(positions)
        return fill_places((self._decode(*one) for one in found), [seed for *_, seed in found])

    def read_encoded(self, positions: Sequence[Position]) -> list[EncodedDraw]:
        """Read a batch as `iterate` does, and leave the images as the files they are.

        Raises:
            DataError: A sample is damaged or cannot be read; names shard and key.
        """
        found = self._find(positions)
        return list(fill_places((self._unpack(*one) for one in found), [seed for *_, seed in found]))

    def _find(self, positions: Sequence[Position]) -> list[tuple[tuple[int, int], Found, Seed]]:
        """Return for each draw its set and row, what was read of it, and its seed."""
        drawn = [self._draw(position) for position in positions]
        located = [self._locate(row) for _, row, _ in drawn]
        found = self._read(located) if self._read_ahead is None else self._read_ahead.take(list(positions), self._cut)
        seeds = [(self.seed, epoch, int(self._ids[row]), replica) for epoch, row, replica in drawn]
        return list(zip(located, found, seeds, strict=True))

    def _read(self, located: Sequence[tuple[int, int]]) -> list[Found]:
        found: dict[int, Found] = {}  # by place in the batch
        for number, reader in enumerate(self._readers):
            places = [place for place, (wanted, _) in enumerate(located) if wanted == number]
            if rows := [located[place][1] for place in places]:
                note(f"reading {reader.describe(rows[0], more=len(rows) - 1)}")
                found |= dict(zip(places, reader.read_each(rows, IMAGE_PARTS), strict=True))
        return [found[place] for place in range(len(located))]

    def _cut(self, batch: Batch) -> Iterator[Piece]:
        return cut_batch(self._readers, [self._locate(self._draw(position)[1]) for position in batch], IMAGE_PARTS)

    def _decode(self, located: tuple[int, int], found: Found, seed: Seed) -> ImageDraw | BadSample:
        number, row = located
        reader = self._readers[number]
        note(f"decoding {reader.describe(row)}")
        try:
            sample = reader.decode(row, found)
        except DataError as error:
            return self._bad(reader, row, seed, error)
        return ImageDraw(key=sample.key, image=sample.image, seed=seed)

    def _unpack(self, located: tuple[int, int], found: Found, seed: Seed) -> EncodedDraw | BadSample:
        number, row = located
        reader = self._readers[number]
        try:
            data = bytes(reader.unpack(row, found)["image"])
        except DataError as error:
            return self._bad(reader, row, seed, error)
        return EncodedDraw(key=reader.key(row), data=data, seed=seed, origin=reader.describe(row))

    def _bad(self, reader: SampleReader, row: int, seed: Seed, error: DataError) -> BadSample:
        """Return the damaged sample, whose bytes are here, if the run goes on without it."""
        if not self._tolerant:
            raise error
        return BadSample(seed[2], reader.key(row), str(error))

    def _draw(self, position: Position) -> tuple[int, int, int]:
        """Look up epoch, row counted through all sets, and replica of a position."""
        epoch, place = position
        row, *replica = self._order.at(epoch, place)  # without weights there is no replica
        return epoch, row, replica[0] if replica else 0

    def _locate(self, row: int) -> tuple[int, int]:
        """Find the number of the set, and the row within it, of a row counted through all sets."""
        number = int(np.searchsorted(self._ends, row, side="right"))  # an end is the next set's first row
        return number, row - int(self._ends[number] - self._sizes[number])

    @property
    def remote(self) -> bool:
        """Whether any of the sets is read over a network."""
        return any(is_remote(reader.url) for reader in self._readers)
