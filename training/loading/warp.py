"""The geometry of a view: rotation, zoom, flip, crop and scale as ONE matrix from output to source; no pixels here.

Coordinates are continuous pixels: pixel (row i, column j) covers the square [j, j + 1) x [i, i + 1) and has its centre
at (x, y) = (j + 0.5, i + 0.5); an image of H x W pixels covers [0, W) x [0, H).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOX_RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width / height of the boxes that torchvision's `RandomResizedCrop` draws."""

MAX_SIDE_PX = 32766
"""Longest side of a source: cv2 has coordinates of pixels in int16."""


def shift(x: float, y: float) -> NDArray[np.float64]:
    """Return the float64 (3, 3) matrix that moves a point by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def stretch(x: float, y: float) -> NDArray[np.float64]:
    """Return the float64 (3, 3) matrix that multiplies the coordinates of a point by (x, y)."""
    return np.diag([x, y, 1.0])


def _turn(angle_deg: float) -> NDArray[np.float64]:
    # y points down: from output to source this turns clockwise as seen, so the content turns counter-clockwise.
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Rotation, zoom, flip and crop of a view, independent of the source's size.

    Attributes:
        angle_deg: Rotation of the content about the image centre, degrees, positive is counter-clockwise as seen.
        zoom: Magnification, > 0; above 1 things look larger.
        flip: Mirror left and right.
        across: Position of the crop within the view's spare width, 0 (left) to 1 (right).
        down: The same within the spare height, 0 (top) to 1 (bottom).
        boxes: (share of the source's area, width / height) of boxes. If there are some, the crop is the first of them
            that fits into the unzoomed view, stretched to the output; else it has the size of the output.
    """

    angle_deg: float = 0.0
    zoom: float = 1.0
    flip: bool = False
    across: float = 0.5
    down: float = 0.5
    boxes: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """A pose applied to one source size.

    Attributes:
        matrix: float64 (3, 3), maps (x, y, 1) of the output to (x, y, 1) of the source, continuous pixels.
        zoom: Divisor of the depth.
        magnification: Output pixels per source pixel, down and across: zoom times scale, unless a box is stretched.
        height: Of the output, pixels.
        width: Of the output, pixels.
    """

    matrix: NDArray[np.float64]
    zoom: float
    magnification: tuple[float, float]
    height: int
    width: int


def compose_warp(pose: Pose, source: tuple[int, int], size: tuple[int, int], scale: float = 1.0) -> Warp:
    """Multiply crop, scale, zoom, rotation and flip into one matrix.

    The source is mirrored (if `flip`), turned about its centre, and enlarged by `zoom * scale`: that is the view, of
    (H * zoom * scale) x (W * zoom * scale) pixels. The crop is cut from it at whole pixels, so that no rotation and no
    zoom means no resampling. A view smaller than the crop is centred in it.

    With boxes, the crop is a box of the turned source at whole pixels, stretched to the output; zoom and scale do not
    change it.

    Args:
        pose: Rotation, zoom, flip and crop.
        source: (H, W) of the source, pixels.
        size: (height, width) of the output, pixels.
        scale: Resolution of the view relative to the source; depth does not change with it.

    Returns:
        The warp from `source` to `size`.
    """
    matrix, magnification = _stretch_box(pose, source, size) if pose.boxes else _cut_crop(pose, source, size, scale)
    middle_x, middle_y = source[1] / 2, source[0] / 2
    # Each product reads from right to left, from output to source: crop -> view -> unscaled -> unrotated -> unmirrored.
    matrix = shift(middle_x, middle_y) @ _turn(pose.angle_deg) @ shift(-middle_x, -middle_y) @ matrix
    if pose.flip:
        matrix = shift(source[1], 0.0) @ stretch(-1.0, 1.0) @ matrix
    return Warp(matrix=matrix, zoom=pose.zoom, magnification=magnification, height=size[0], width=size[1])


_Cut = tuple[NDArray[np.float64], tuple[float, float]]
"""Matrix from the output to the turned source, and output pixels per source pixel, down and across."""


def _cut_crop(pose: Pose, source: tuple[int, int], size: tuple[int, int], scale: float) -> _Cut:
    magnification = pose.zoom * scale
    top = _crop_offset(source[0] * magnification, size[0], pose.down)
    left = _crop_offset(source[1] * magnification, size[1], pose.across)
    return stretch(1 / magnification, 1 / magnification) @ shift(left, top), (magnification, magnification)


def _stretch_box(pose: Pose, source: tuple[int, int], size: tuple[int, int]) -> _Cut:
    top, left, height, width = place_box(pose, source)
    along_y, along_x = size[0] / height, size[1] / width
    return shift(left, top) @ stretch(1 / along_x, 1 / along_y), (along_y, along_x)


def place_box(pose: Pose, source: tuple[int, int]) -> tuple[int, int, int, int]:
    """Choose the first box of a pose that fits, and place it, as torchvision's `RandomResizedCrop.get_params` does.

    Args:
        pose: With boxes.
        source: (H, W), pixels.

    Returns:
        Top, left, height and width in whole pixels. If none fits, the largest box in the middle whose width / height is
        within `BOX_RATIOS`.
    """
    for share, ratio in pose.boxes:
        area = source[0] * source[1] * share
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= source[1] and 0 < height <= source[0]:
            top, left = _crop_offset(source[0], height, pose.down), _crop_offset(source[1], width, pose.across)
            return top, left, height, width
    ratio = min(max(source[1] / source[0], BOX_RATIOS[0]), BOX_RATIOS[1])
    width, height = min(source[1], round(source[0] * ratio)), min(source[0], round(source[1] / ratio))
    return (source[0] - height) // 2, (source[1] - width) // 2, max(height, 1), max(width, 1)


def _crop_offset(view_px: float, crop_px: int, place: float) -> int:
    spare = view_px - crop_px
    if spare < 0:
        return round(spare / 2)  # negative: the same margin on both sides of the view
    # A `place` uniform in [0, 1) makes each of the floor(spare) + 1 whole offsets equally likely.
    return min(math.floor(place * (math.floor(spare) + 1)), math.floor(spare))
