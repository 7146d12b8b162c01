"""Crop and resize as `cv2.resize` with INTER_AREA does, for many boxes at once.

A view that has no more pixels than its box, in height and width, averages the pixels that each of its own covers
(`training.network.resolution.average`). Otherwise cv2 interpolates between two pixels along each axis, in integers.

The same box gives the same view whatever else is in the batch: all sums are of integers that their type holds exactly,
so that neither their order nor the padding of the windows changes them.
"""

import numpy as np
import torch
from torch import Tensor

from training.network.resolution import ACROSS, DOWN, average, cover
from training.views.boxes import Boxes
from training.views.device import send

_HALF_UP = 2.0**-12  # less than any weighted mean that is no half is from one
_UNIT_BITS = 11  # cv2's weights of two pixels are integers of 2**11


def shrink(windows: Tensor, boxes: Boxes, height: int, width: int) -> Tensor:
    """Average the pixels under each pixel of a view, as cv2 does where a view is not larger than its box.

    Args:
        windows: uint8 (n, rows, columns, 3), from `boxes.gather`.
        boxes: Their boxes; in neither direction smaller than a view.
        height: Of the views, pixels.
        width: Of the views, pixels.

    Returns:
        Levels, float32 (n, 3, height, width), whole numbers of 0 to 255; flipped as the boxes say.
    """
    device = windows.device
    across = _cover(boxes.left % 1, boxes.width, boxes.horizontal, width, windows.shape[2], ACROSS, device)
    down = _cover(boxes.top % 1, boxes.height, boxes.vertical, height, windows.shape[1], DOWN, device)
    levels = average(windows.permute(0, 1, 3, 2), down, across).permute(0, 2, 1, 3)
    # Four pixels are averaged by integers in cv2, which rounds a half up; otherwise a half is rounded to even.
    quarter = (boxes.width == 2 * width) & (boxes.height == 2 * height)
    return torch.round(levels + _column(quarter * np.float32(_HALF_UP), device))


def enlarge(windows: Tensor, boxes: Boxes, height: int, width: int) -> Tensor:
    """Interpolate between pixels, as cv2 does for INTER_AREA where a view is larger than its box.

    Args:
        windows: uint8 (n, rows, columns, 3), from `boxes.gather`.
        boxes: Their boxes, of whole pixels.
        height: Of the views, pixels.
        width: Of the views, pixels.

    Returns:
        Levels, as of `shrink`.
    """
    pixels, device = windows.permute(0, 3, 1, 2).int(), windows.device  # (n, 3, rows, columns)
    left, right, share = _neighbours(boxes.width, boxes.horizontal, width, device)  # (n, 1, width)
    unit = 1 << _UNIT_BITS
    across = (
        _pick(pixels, 3, left[:, None]) * (unit - share[:, None]) + _pick(pixels, 3, right[:, None]) * share[:, None]
    )
    above, below, share = (one.mT[:, None] for one in _neighbours(boxes.height, boxes.vertical, height, device))
    # cv2 keeps 16 bits of each product, less 4 of what was summed along the row, and rounds the sum.
    upper = (_pick(across, 2, above) >> 4) * (unit - share) >> 16
    lower = (_pick(across, 2, below) >> 4) * share >> 16
    return (upper + lower + 2 >> 2).clamp(0, 255).float()


def _cover(
    begin: np.ndarray, length: np.ndarray, flipped: np.ndarray, count: int, pixels: int, unit: int, device: torch.device
) -> Tensor:
    """Return how much each pixel of a view takes of each pixel of the window: `cover`, float32 (n, count, pixels)."""
    start, step = _column(begin, device, 3), _column(length / count, device, 3)
    place = torch.arange(count, device=device)[:, None]
    place = torch.where(_column(flipped, device, 3) > 0, count - 1 - place, place)  # (n, count, 1)
    ends = torch.arange(pixels + 1, device=device, dtype=torch.float64)
    return cover((ends - start) / step, place, unit)


def _neighbours(
    length: np.ndarray, flipped: np.ndarray, count: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two pixels of a box that each pixel of a view is interpolated from, and the share of the second.

    Returns:
        int64 (n, 1, count) twice, and int32 (n, 1, count) in units of 2**-11.
    """
    inverse = count / length[:, None]  # (n, 1)
    place = np.where(flipped[:, None] > 0, np.arange(count)[::-1], np.arange(count))  # (n, count)
    first = np.floor(place * (1 / inverse))
    share = (place + 1 - (first + 1) * inverse).astype(np.float32)
    share = np.where(share <= 0, np.float32(0), share - np.floor(share))
    last = length[:, None] - 1
    share = np.where(first >= last, np.float32(0), share)
    units = np.rint(share * np.float32(1 << _UNIT_BITS)).astype(np.int32)
    found = np.minimum(first, last).astype(np.int64), np.minimum(first + 1, last).astype(np.int64), units
    left, right, taken = (send(one, device)[:, None] for one in found)
    return left, right, taken


def _pick(values: Tensor, dim: int, index: Tensor) -> Tensor:
    """Take values along one dimension; `index` has size 1 in the others, but for the first."""
    shape = [*values.shape]
    shape[dim] = index.shape[dim]
    return values.gather(dim, index.expand(shape))


def _column(values: np.ndarray, device: torch.device, dims: int = 4) -> Tensor:
    """Return one number a view, (n, 1, ...), on the device."""
    return send(values, device).view(-1, *[1] * (dims - 1))
