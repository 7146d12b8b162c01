"""Views of images alone, through the warp of fine-tuning, in place of LightlyTrain's."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sharding.format.sample import Sample
from training.loading.augment import PairedAugment
from training.loading.images import ImageDataset
from training.loading.read_ahead import ReadAhead
from training.loading.shared_batch import Unmade
from training.loading.upcoming import Position


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

    def __getitems__(self, positions: Sequence[Position]) -> Unmade:
        """Return the items of a batch, whose images are read at once; each is made when it is asked for."""
        return Unmade(len(positions), self._make_items(positions))

    def _make_items(self, positions: Sequence[Position]) -> Iterator[dict[str, Any]]:
        for draw in self._images.iterate(positions):
            sample = Sample(key=draw.key, image=draw.image)
            yield to_tensors(self._view(sample, np.random.default_rng(draw.seed)))


def to_tensors(sample: Sample) -> dict[str, Any]:
    """Convert an image to the tensors of an item."""
    image: Tensor = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))  # uint8 (3, h, w)
    return {"image": image, "key": sample.key}
