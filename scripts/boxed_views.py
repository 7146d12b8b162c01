"""Views of 224 x 224 px: a box of a shrunk image as LightlyTrain cuts it, and the same box of its original."""

import numpy as np
from numpy.typing import NDArray

from sharding.making.encode import target_size

VIEW = 224
"""Side of a view, px."""

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Share of the image that a box covers, and its width over its height, as LightlyTrain draws them for simclr."""

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Top, left, height and width in px of the shrunk image."""


def draw_boxes(rng: np.random.Generator, size: tuple[int, int], side: int, count: int) -> list[Box]:
    """Draw boxes of a shrunk image, again if a view of the original would be an enlargement of its box.

    Args:
        rng: Source of the draws.
        size: (height, width) of the original, px; both at least 224.
        side: Longer side of the shrunk image, px.
        count: Number of boxes.
    """
    height, width = target_size(size, side)
    boxes: list[Box] = []
    while len(boxes) < count:
        area, ratio = rng.uniform(*SCALE) * height * width, np.exp(rng.uniform(*np.log(RATIO)))
        tall, wide = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
        least = VIEW * side // max(size)
        if least <= tall <= height and least <= wide <= width:
            boxes.append((int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide))
    return boxes


def cut_view(image: Image, box: Box) -> Image:
    """Cut a box and resize it as LightlyTrain does: uint8 (224, 224, 3)."""
    import cv2

    top, left, height, width = box
    view = cv2.resize(image[top : top + height, left : left + width], (VIEW, VIEW), interpolation=cv2.INTER_AREA)
    return np.asarray(view, dtype=np.uint8)


def cut_original_view(original: Image, box: Box, size: tuple[int, int]) -> Image:
    """Cut from an original what `box` covers of it after shrinking to `size`: uint8 (224, 224, 3).

    The box begins and ends within pixels of the original, which cv2 cannot: each pixel of the view is the mean over the
    area that it covers, which is what INTER_AREA computes for whole boxes that are not enlarged.
    """
    down, across = original.shape[0] / size[0], original.shape[1] / size[1]
    rows = _area_weights(box[0] * down, box[2] * down, original.shape[0])
    columns = _area_weights(box[1] * across, box[3] * across, original.shape[1])
    # (224, H) x (H, W * 3), then (224, W) with (224, W, 3) over W.
    across_rows = (rows @ original.reshape(len(original), -1).astype(np.float32)).reshape(VIEW, -1, 3)
    view = np.einsum("xw,ywc->yxc", columns, across_rows, optimize=True)
    return np.asarray(np.rint(view).clip(0, 255), dtype=np.uint8)


def _area_weights(begin: float, length: float, size: int) -> NDArray[np.float32]:
    """Return the share of each of `size` pixels in each pixel of a view of `length` px from `begin`: (224, size)."""
    edges = begin + length * np.arange(VIEW + 1)[:, None] / VIEW
    pixels = np.arange(size)
    covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.asarray(covered.clip(0) * VIEW / length, dtype=np.float32)
