"""Our decode and warp of the stored parts of a sample, wherever they come from; and the reference's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loader_bench.reference import reference_view
from sharding.format.sample import Sample
from sharding.reading.decoders import Decoders
from sharding.reading.reader import StoredParts
from sharding.reading.shard_set import DEPTH_PARTS, ShardSet
from training.loading.augment import Colour, PairedAugment
from training.loading.decode import decode_known, decode_rgb
from training.loading.view import ViewArrays
from training.loading.view_batch import Written, make_item


class Engine:
    """Decodes and warps samples of a set; picklable.

    Args:
        target: Folder of the set.
        side: Height and width of the views, pixels.
    """

    def __init__(self, target: Path, side: int) -> None:
        self._reader = ShardSet(str(target)).reader.with_decoders(self._decoders())
        self._augment = PairedAugment(height=side, width=side)

    def _decoders(self) -> Decoders:
        return Decoders(decode_rgb, decode_known)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return the parts of a sample as they are stored in its shard, and `row`."""
        stored = self._reader.read_stored_checked([row], DEPTH_PARTS)[0]
        return {"row": row, **{name: bytes(data) for name, data in stored.items()}}

    def __call__(self, view: Mapping[str, Any]) -> dict[str, Any]:
        """Make the item of a sample: image uint8 (3, h, w), depth float32 (1, h, w), valid bool (1, h, w), and more."""

        def write(into: ViewArrays) -> Written:
            return Written(key=self._reader.key(view["row"]), weight=1.0, colour=self.fill(view, into))

        return make_item(self._augment.size, write)

    def fill(self, view: Mapping[str, Any], into: ViewArrays) -> Colour:
        """Write the view of a sample to its place in a batch."""
        row = view["row"]
        return self._warp(self._decode(view), np.random.default_rng((0, 0, row, 0)), into)

    def _decode(self, view: Mapping[str, Any]) -> Sample:
        stored: StoredParts = {name: data for name, data in view.items() if name != "row"}
        return self._reader.decode(view["row"], stored)

    def _warp(self, sample: Sample, random: np.random.Generator, into: ViewArrays) -> Colour:
        return self._augment.fill(sample, random, into)


class ReferenceEngine(Engine):
    """Decodes with the format's plain decoders, and warps with the functions of `loader_bench.reference`."""

    def _decoders(self) -> Decoders:
        return Decoders()

    def _warp(self, sample: Sample, random: np.random.Generator, into: ViewArrays) -> Colour:
        warp, colour = self._augment.draw(sample.image.shape[:2], random)
        view = reference_view(sample, warp)
        into.image[:] = view.image.transpose(2, 0, 1)
        into.depth[:], into.valid[:] = view.depth, view.valid
        return colour
