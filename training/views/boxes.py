"""Where the crops of a batch lie in its buffer of pixels, and which of them are rendered together."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.views.device import send
from training.views.draws import Array, Draws

WINDOW_PIXELS = 1 << 25
"""Pixels of the windows that are rendered together, which bounds the memory: 0.8 GB, with their places."""


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Boxes of n views; float64 (n,) each, but for `first` and `stride`.

    Attributes:
        first: int64; first pixel of the image's part in the buffer.
        stride: int64; width of the part, pixels.
        left, top, width, height: Box, pixels of the part; fractions where it was decoded at a fraction of its size.
        horizontal, vertical: Whether the view is flipped: 1 or 0.
    """

    first: NDArray[np.int64]
    stride: NDArray[np.int64]
    left: Array
    top: Array
    width: Array
    height: Array
    horizontal: Array
    vertical: Array

    @classmethod
    def locate(cls, images: NDArray[np.int64], draws: Draws) -> "Boxes":
        """Locate the boxes of draws in the parts of the images that `training.views.batch` describes.

        Args:
            images: (B, 5).
            draws: (V * B,), view by view.
        """
        first, stride, left, top, divisor = np.tile(images, (len(draws.left) // len(images), 1)).T
        return cls(
            first=first,
            stride=stride,
            left=draws.left / divisor - left,
            top=draws.top / divisor - top,
            width=draws.width / divisor,
            height=draws.height / divisor,
            horizontal=draws.horizontal,
            vertical=draws.vertical,
        )

    def take(self, index: NDArray[np.int64]) -> "Boxes":
        """Return some of them."""
        return Boxes(**{one.name: getattr(self, one.name)[index] for one in fields(self)})

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Height of the smallest window of whole pixels around each box."""
        return (np.ceil(self.top + self.height) - np.floor(self.top)).astype(np.int64)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Width of that window."""
        return (np.ceil(self.left + self.width) - np.floor(self.left)).astype(np.int64)

    def enlarged(self, height: int, width: int) -> NDArray[np.bool_]:
        """Tell which boxes have less pixels than a view, in height or in width."""
        return (self.height < height) | (self.width < width)

    def gather(self, pixels: Tensor) -> Tensor:
        """Return the windows around the boxes, uint8 (n, rows, columns, 3); what is beyond a window is unspecified.

        Args:
            pixels: uint8 (P, 3).
        """
        starts = self.first + np.floor(self.top).astype(np.int64) * self.stride + np.floor(self.left).astype(np.int64)
        down = torch.arange(int(self.rows.max()), device=pixels.device)[:, None]
        across = torch.arange(int(self.columns.max()), device=pixels.device)
        start, stride, rows, columns = (
            send(one, pixels.device)[:, None, None] for one in (starts, self.stride, self.rows, self.columns)
        )
        # (n, rows, columns); a window that is smaller than the largest repeats its last row and column.
        index = start + torch.minimum(down, rows - 1) * stride + torch.minimum(across, columns - 1)
        return pixels[index]


def chunk(boxes: Boxes) -> Iterator[NDArray[np.int64]]:
    """Yield the places of boxes that are rendered together: of similar size, as windows are padded to the largest."""
    order = np.lexsort((boxes.columns, boxes.rows))
    begin = 0
    while begin < len(order):
        rows, columns = boxes.rows[order[begin:]], boxes.columns[order[begin:]]
        padded = np.maximum.accumulate(rows) * np.maximum.accumulate(columns) * np.arange(1, len(rows) + 1)
        count = max(1, int(np.searchsorted(padded, WINDOW_PIXELS, side="right")))
        yield order[begin : begin + count]
        begin += count
