"""A picture of the first views of a run, as the network gets them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sharding.machine.files import write_through_links
from sharding.progress import say
from sharding.reading.pictures import encode_png

_IMAGES = 4
_GAP = 4  # pixels of white around each view


class ViewPreview(Callback):
    """Writes a picture when the first batch is trained on: a row for each of its first images, of all its views.

    Only rank 0 writes one.

    Args:
        path: The PNG file.
        mean: What was subtracted from each channel, of levels in 0..1.
        std: What each channel was divided by then.
    """

    def __init__(self, path: Path, mean: Sequence[float], std: Sequence[float]) -> None:
        self._path, self._mean, self._std = path, tuple(mean), tuple(std)
        self._written = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write the picture, once."""
        if self._written or not trainer.is_global_zero:
            return
        self._written = True
        pixels = [to_pixels(views[:_IMAGES], self._mean, self._std) for views in batch["views"]]
        write_through_links(self._path, encode_png(lay_out(pixels)))
        say(f"views of the first {len(pixels[0])} images: {self._path}")


def to_pixels(views: Tensor, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.uint8]:
    """Undo the normalisation of views.

    Args:
        views: float (B, 3, h, w), normalised, on any device.
        mean: Of the three channels, in 0..1.
        std: Of the three channels.

    Returns:
        uint8 (B, h, w, 3), RGB.
    """
    columns = [torch.tensor(list(values), dtype=torch.float32).view(1, 3, 1, 1) for values in (mean, std)]
    levels = views.detach().float().cpu() * columns[1] + columns[0]
    pixels: NDArray[np.uint8] = (levels * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def lay_out(columns: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Arrange views in rows of an image each: uint8 (H, W, 3) of one uint8 (B, h, w, 3) a column, of any size."""
    height = max(column.shape[1] for column in columns)
    padded = [np.pad(column, _padding(height - column.shape[1]), constant_values=255) for column in columns]
    rows = np.concatenate(padded, axis=2)  # (B, height + gap, W, 3)
    return rows.reshape(-1, *rows.shape[2:])


def _padding(lacking: int) -> list[tuple[int, int]]:
    return [(0, 0), (0, lacking + _GAP), (0, _GAP), (0, 0)]
