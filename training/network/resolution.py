"""The resolution a network works at: images are shrunk to it, and what it predicts is enlarged to their size.

    image (H, W) -> area average -> (h, w) -> network -> z (h, w) -> bilinear -> z (H, W)

Training shrinks its views by OpenCV (`training.loading.view`), before they are cut. Here it is done in torch, on the
network's device and for a whole batch.

`cover` and `average` are also what the views of a pretraining are made with (`training.views.area`). All their sums are
of integers that float32 holds exactly: so levels depend neither on the device, nor on the batch, nor on what computes
them (`depthstream export`).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.network.float32 import full_float32, without_autocast

ACROSS = 1 << 16
"""Weights along a row add up to this: 255 * 2**16 < 2**24, which float32 holds."""

DOWN = 1 << 12
"""Weights along a column, of sums that are rounded to 1/16 of a level: 255 * 16 * 2**12 < 2**24."""

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
    across = _cover_whole(columns, width, ACROSS).to(image.device)
    down = _cover_whole(rows, height, DOWN).to(image.device)
    with without_autocast(image):
        levels = average(image.permute(0, 2, 1, 3), down, across).permute(0, 2, 1, 3)
    return (levels + 0.5).floor().to(torch.uint8)


def _cover_whole(length: int, count: int, unit: int) -> Tensor:
    """Return what each of `count` pixels takes of each of `length` in its place: `cover` of a whole side.

    Computed on the CPU, because not every device has float64.
    """
    ends = torch.arange(length + 1, dtype=torch.float64) * count / length
    return cover(ends, torch.arange(count)[:, None], unit)


def cover(ends: Tensor, place: Tensor, unit: int) -> Tensor:
    """Return how much each pixel of a result takes of each pixel of its source.

    Args:
        ends: float64 (..., pixels + 1), where the pixels of the source begin and end, in pixels of the result.
        place: (..., count, 1), where each pixel of the result begins, in the same measure; it is 1 long.
        unit: `ACROSS` or `DOWN`.

    Returns:
        float32 (..., count, pixels), whole numbers whose sum is `unit` where the source covers the pixel: differences
        of what is covered up to each pixel, rounded.
    """
    covered = ((ends - place).clamp(0, 1) * unit).round()  # (..., count, pixels + 1)
    return (covered[..., 1:] - covered[..., :-1]).float()


def average(pixels: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Average the pixels that each pixel of a result covers, exactly but for sums along a row: rounded to 1/16 level.

    Args:
        pixels: uint8 (n, rows, channels, columns).
        down: (height, rows), or one for each image (n, height, rows): `cover` with `DOWN`.
        across: (width, columns), or (n, width, columns): `cover` with `ACROSS`.

    Returns:
        Levels, float32 (n, height, channels, width), multiples of 2**-16.
    """
    count, rows, channels, columns = pixels.shape
    height, width = down.shape[-2], across.shape[-2]
    lines = pixels.to(torch.float32, memory_format=torch.contiguous_format).view(count, rows * channels, columns)
    with full_float32():
        summed = torch.round((lines @ across.transpose(-1, -2)) * (_STEPS / ACROSS))  # (n, rows * channels, width)
        levels = down @ summed.view(count, rows, channels * width)  # (n, height, channels * width)
    return levels.view(count, height, channels, width) * (1 / (_STEPS * DOWN))


def enlarge(z: Tensor, height: int, width: int) -> Tensor:
    """Interpolate between pixel centres, bilinear: float32 (B, 1, h, w) to (B, 1, height, width)."""
    if z.shape[-2:] == (height, width):
        return z
    return F.interpolate(z, (height, width), mode="bilinear", align_corners=False)
