"""The resolution a network works at: images are shrunk to it, and what it predicts is enlarged to their size.

    image (H, W) -> area average -> (h, w) -> network -> z (h, w) -> bilinear -> z (H, W)

Training shrinks its views by OpenCV (`training.loading.augment`), before they are cut. Here it is done in torch, on the
network's device and for a whole batch, to the same levels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.model.float32 import full_float32, without_autocast


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
    # Mixed precision and TF32 would round levels.
    with without_autocast(image), full_float32():
        levels = _cover(rows, height).to(image.device) @ image.float() @ _cover(columns, width).to(image.device).mT
    return (levels + 0.5).floor().to(torch.uint8)


def _cover(length: int, count: int) -> Tensor:
    """Return what each of `count` pixels takes of each of `length` in its place: float32 (count, length).

    Each row adds up to 1. Computed on the CPU, because not every device has float64.
    """
    ends = torch.arange(length + 1, dtype=torch.float64) * count / length  # of the pixels, in those of the result
    return (ends - torch.arange(count)[:, None]).clamp(0, 1).diff(dim=1).float()


def enlarge(z: Tensor, height: int, width: int) -> Tensor:
    """Interpolate between pixel centres, bilinear: float32 (B, 1, h, w) to (B, 1, height, width)."""
    if z.shape[-2:] == (height, width):
        return z
    return F.interpolate(z, (height, width), mode="bilinear", align_corners=False)
