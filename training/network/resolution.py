"""The resolution a network works at: images are shrunk to it, and what it predicts is enlarged to their size.

    image (H, W) -> area average -> (h, w) -> network -> z (h, w) -> bilinear -> z (H, W)

Training shrinks its views by OpenCV (`training.loading.augment`), before they are cut. Here it is done in torch, on the
network's device and for a whole batch.

All sums are of numbers that float32 holds exactly, as in `training.views.area`: so levels depend neither on the device,
nor on the batch, nor on what computes them (`depthstream export`).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.network.float32 import full_float32, without_autocast

_ACROSS = 1 << 16  # weights along a row are multiples of its inverse: 255 * 2**16 < 2**24, which float32 holds
_DOWN = 1 << 12  # those along a column, of sums that are rounded to 1/16 of a level: 255 * 16 * 2**12 < 2**24
_STEPS = 16


def size_at(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the (height, width) of an image at a scale: rounded, at least 1 x 1, as `resize_image` has it."""
    return max(round(height * scale), 1), max(round(width * scale), 1)


def shrink(image: Tensor, height: int, width: int) -> Tensor:
    """Average the pixels that each pixel of a smaller image covers, whole or in part.

    Args:
        image: uint8 (B, C, H, W).
        height: Of the result, at most H.
        width: Of the result, at most W.

    Returns:
        uint8 (B, C, height, width), rounded half up; `image` itself if that is its size. Levels are within 1 of those
        of OpenCV's `resize` with INTER_AREA, and the same where both sides are halved.
    """
    rows, columns = image.shape[-2:]
    if (rows, columns) == (height, width):
        return image
    across = _cover(columns, width, _ACROSS).T.to(image.device)
    down = _cover(rows, height, _DOWN).to(image.device)
    with without_autocast(image), full_float32():
        lines = (image.float() @ across * _STEPS).round() / _STEPS  # (B, C, H, width)
        levels = down @ lines
    return (levels + 0.5).floor().to(torch.uint8)


def _cover(length: int, count: int, unit: int) -> Tensor:
    """Return what each of `count` pixels takes of each of `length` in its place: float32 (count, length).

    Multiples of 1 / unit, of which each row adds up to 1: differences of what is covered up to each pixel, rounded.
    Computed on the CPU, because not every device has float64.
    """
    ends = torch.arange(length + 1, dtype=torch.float64) * count / length  # of the pixels, in those of the result
    covered = ((ends - torch.arange(count)[:, None]).clamp(0, 1) * unit).round()  # (count, length + 1)
    return (covered[:, 1:] - covered[:, :-1]).float() / unit


def enlarge(z: Tensor, height: int, width: int) -> Tensor:
    """Interpolate between pixel centres, bilinear: float32 (B, 1, h, w) to (B, 1, height, width)."""
    if z.shape[-2:] == (height, width):
        return z
    return F.interpolate(z, (height, width), mode="bilinear", align_corners=False)
