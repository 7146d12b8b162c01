"""Large images in overlapping tiles, of which each is predicted alone: memory is that of a tile, not of the image.

    weights    image's border                          | border | ramp | border |
    of tile A  1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1        1 > 0  0      0
    of tile B                                          0      0 0 > 1  1        1 1 1 1 1 1 1 1 1 1 1 1
                                                       |------ overlap ---------|

Near its border a tile lacks what is beyond: in the outer quarter of an overlap its weight is 0. In the inner half the
weights change smoothly. They are normalised: in every pixel they add up to 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from training.photo_options import MIN_TILE_PIXELS

GRID_PX = 32
"""Tiles begin at multiples of this: an encoder that halves its input five times gives the same features for them."""

_OVERLAP = 4
"""A tile overlaps its neighbours by its side divided by this, and at most by `_MAX_OVERLAP_PX`."""

_MAX_OVERLAP_PX = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """The part of a tile along one side of the image.

    Attributes:
        start: First pixel; a multiple of `GRID_PX`.
        end: After the last pixel.
        weight: float32 (end - start,); those of all spans of a side add up to 1 in every pixel.
    """

    start: int
    end: int
    weight: NDArray[np.float32]

    @property
    def pixels(self) -> slice:
        """Return its place in the image."""
        return slice(self.start, self.end)


def tile_size(height: int, width: int, most_pixels: int) -> tuple[int, int]:
    """Choose (height, width) of tiles: square, or longer where the image is narrower than a square.

    Args:
        height: Of the image, pixels.
        width: Of the image, pixels.
        most_pixels: Most pixels of a tile, at least `MIN_TILE_PIXELS`.

    Returns:
        The image's own size if it has no more pixels; otherwise sides that are multiples of `GRID_PX`, or the image's.
    """
    if most_pixels < MIN_TILE_PIXELS:
        raise ValueError(f"expected tiles of at least {MIN_TILE_PIXELS} pixels, found {most_pixels}")
    if height * width <= most_pixels:
        return height, width
    side = _on_grid(math.isqrt(most_pixels))
    if height <= width:
        down = min(height, side)
        return down, min(width, _on_grid(most_pixels // down))
    across = min(width, side)
    return min(height, _on_grid(most_pixels // across)), across


def _on_grid(length: int) -> int:
    return length // GRID_PX * GRID_PX


def plan_spans(length: int, tile: int) -> list[Span]:
    """Cover a side of an image with overlapping spans of at most `tile` pixels.

    Args:
        length: Of the side, pixels.
        tile: Of a span, pixels; a multiple of `GRID_PX`, unless it is `length`.
    """
    if tile >= length:
        return [Span(start=0, end=length, weight=np.ones(length, np.float32))]
    overlap = min(_MAX_OVERLAP_PX, _on_grid(tile // _OVERLAP))
    last = math.ceil((length - tile) / GRID_PX) * GRID_PX  # start of the last span
    steps = math.ceil(last / (tile - overlap))
    starts = [_on_grid(last * step // steps) for step in range(steps + 1)]
    weights = np.zeros((len(starts), length))  # (spans, pixels of the side)
    ends = [min(start + tile, length) for start in starts]
    for row, start, end in zip(weights, starts, ends, strict=True):
        row[start:end] = _raw_weight(end - start, overlap, first=start == 0, last=end == length)
    weights /= weights.sum(axis=0)
    return [
        Span(start=start, end=end, weight=row[start:end].astype(np.float32))
        for row, start, end in zip(weights, starts, ends, strict=True)
    ]


def _raw_weight(length: int, overlap: int, *, first: bool, last: bool) -> NDArray[np.float64]:
    """Return the weights of a span before they are normalised: 0 to 1, 1 towards the border of the image."""
    border = overlap // 4
    place = (np.arange(length) + 0.5 - border) / (overlap - 2 * border)
    ramp = place.clip(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)  # smooth at both ends
    ones = np.ones(length)
    return np.minimum(ones if first else ramp, ones if last else ramp[::-1])


def predict_tiled(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], image: NDArray[np.uint8], most_pixels: int
) -> NDArray[np.float32]:
    """Predict an image as a whole, or in tiles if it has more than `most_pixels` pixels.

    A network whose outputs depend on no more than a quarter of an overlap around them predicts the same either way.
    Others, such as a U-Net, which sees more, differ where the rest of the image would have told more.

    Args:
        predict: From uint8 (h, w, 3) to float32 (h, w).
        image: uint8 (H, W, 3).
        most_pixels: Most pixels that `predict` is given, at least `MIN_TILE_PIXELS`.

    Returns:
        float32 (H, W).
    """
    height, width = image.shape[:2]
    down, across = tile_size(height, width, most_pixels)
    if (down, across) == (height, width):
        return predict(image)
    blended = np.zeros((height, width), np.float32)
    for rows, columns in product(plan_spans(height, down), plan_spans(width, across)):
        weight = rows.weight[:, None] * columns.weight  # (h, w)
        blended[rows.pixels, columns.pixels] += weight * predict(image[rows.pixels, columns.pixels])
    return blended
