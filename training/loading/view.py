"""A view of a sample under an affine map (training/loading/warp.py): image, depth and valid, written where they belong.

Every output pixel is sampled once, from the original arrays. The image is bilinear, and mirrored beyond its border (no
black wedges to learn from). Depth takes the pixel whose square contains the point: it is never interpolated, and is
invalid outside the source. It is divided by the zoom: an object that looks `zoom` times larger is `zoom` times nearer.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.format.sample import Sample
from training.loading.warp import MAX_SIDE_PX, Warp, shift, stretch

TILE_PX = 1024
"""OpenCV computes coordinates in float32, within 1e-4 pixels up to this number: a view of more is taken in tiles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewArrays:
    """Where a view is written: contiguous arrays, such as those of one sample in a batch.

    Attributes:
        image: uint8 (3, height, width), RGB.
        depth: float32 (height, width), metres; 0 where not valid.
        valid: bool (height, width).
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def blank(self) -> None:
        """Write 0 everywhere: no pixel is valid."""
        for array in (self.image, self.depth, self.valid):
            array.fill(0)

    @classmethod
    def empty(cls, height: int, width: int) -> "ViewArrays":
        """Make arrays to be filled."""
        return cls(
            image=np.empty((3, height, width), np.uint8),
            depth=np.empty((height, width), np.float32),
            valid=np.empty((height, width), np.bool_),
        )


def fill_view(sample: Sample, warp: Warp, into: ViewArrays) -> None:
    """Write the view of a sample under a warp.

    Args:
        sample: Image uint8 (H, W, 3), depth float32 (H, W), 0 where it is not valid; of the size the warp was composed
            for.
        warp: From `compose_warp`.
        into: Of the warp's height and width; all of it is written.

    Raises:
        DataError: A part is missing, image, depth and valid differ in size, or a side is longer than `MAX_SIDE_PX`.
    """
    depth = check_depth(sample)
    fill_image(sample.image, warp, into)
    fill_depth(depth, warp, into)


def check_depth(sample: Sample) -> NDArray[np.float32]:
    """Return the depth of a sample of which a view can be made.

    Raises:
        DataError: As of `fill_view`.
    """
    if sample.depth is None or sample.valid is None:
        raise DataError(f"key {sample.key}: expected depth and valid, found none")
    _check_sizes(sample)
    return sample.depth


def fill_image(image: NDArray[np.uint8], warp: Warp, into: ViewArrays) -> None:
    """Write the image of a view: the first part of `fill_view`.

    Args:
        image: uint8 (H, W, 3), RGB; of the size the warp was composed for.
        warp: From `compose_warp`.
        into: Of the warp's height and width; all of `image` is written.
    """
    warped = _warp_rgba(image, warp)
    cv2.split(warped, [*into.image, np.empty(warped.shape[:2], np.uint8)])  # the fourth plane is of no use


def fill_depth(known: NDArray[np.float32], warp: Warp, into: ViewArrays) -> None:
    """Write depth and valid of a view: the other part of `fill_view`.

    Args:
        known: float32 (H, W), metres, 0 where it is not valid; of the size the warp was composed for.
        warp: From `compose_warp`.
        into: Of the warp's height and width; all of `depth` and `valid` is written.
    """
    _take_nearest(known, warp, into.depth)
    np.greater(into.depth, 0, out=into.valid)
    np.divide(into.depth, np.float32(warp.zoom), out=into.depth)


def apply_warp(sample: Sample, warp: Warp) -> Sample:
    """Apply one warp to image, depth and valid of a sample.

    Args:
        sample: Image uint8 (H, W, 3); depth float32 (H, W) and valid bool (H, W), or None; of the size the warp was
            composed for.
        warp: From `compose_warp`.

    Returns:
        The sample at (height, width). Depth is source depth / zoom; valid is False, and depth 0, where the pixel is
        outside the source or has no valid depth there.

    Raises:
        DataError: Image, depth and valid differ in size, or a side is longer than `MAX_SIDE_PX`.
    """
    _check_sizes(sample)
    image = warp_image(sample.image, warp)
    if sample.depth is None or sample.valid is None:
        return replace(sample, image=image)
    into = ViewArrays.empty(warp.height, warp.width)
    valid = sample.valid & (sample.depth > 0) & (sample.depth < np.inf)
    fill_depth(np.where(valid, sample.depth, np.float32(0)), warp, into)
    return replace(sample, image=image, depth=into.depth, valid=into.valid)


def _check_sizes(sample: Sample) -> None:
    height, width = sample.image.shape[:2]
    for name, array in (("depth", sample.depth), ("valid", sample.valid)):
        if array is not None and array.shape != (height, width):
            raise DataError(
                f"sample {sample.key}: the image is {height} x {width} pixels, so {name} must have shape "
                f"({height}, {width}), but it has {array.shape}; make the shards again from matching files"
            )
    if max(height, width) > MAX_SIDE_PX:
        raise DataError(f"sample {sample.key}: {height} x {width} pixels; the warp takes up to {MAX_SIDE_PX} a side")


def warp_image(image: NDArray[np.uint8], warp: Warp) -> NDArray[np.uint8]:
    """Apply a warp to an image: bilinear, mirrored beyond the border, area-averaged first where it shrinks.

    Args:
        image: uint8 (H, W, 3).
        warp: From `compose_warp`.

    Returns:
        uint8 (height, width, 3).
    """
    return np.asarray(cv2.cvtColor(_warp_rgba(image, warp), cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _warp_rgba(image: NDArray[np.uint8], warp: Warp) -> NDArray[np.uint8]:
    """Warp an image with a fourth channel, in half the time of three: uint8 (height, width, 4)."""
    # Bilinear sampling looks at 4 pixels and would alias: the area average shrinks, the warp then has about scale 1.
    source = _shrink(image, *warp.magnification)
    resized = stretch(source.shape[1] / image.shape[1], source.shape[0] / image.shape[0])  # sides were rounded
    warped = cv2.warpAffine(
        cv2.cvtColor(source, cv2.COLOR_RGB2RGBA),
        _of_centres(resized @ warp.matrix),
        (warp.width, warp.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,  # the matrix maps output to source
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, dtype=np.uint8)


def _of_centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move the origin to the centre of the first pixel, where cv2 has it; `Warp` has it at its corner."""
    moved: NDArray[np.float64] = (shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5))[:2]
    return moved


def _take_nearest(source: NDArray[np.float32], warp: Warp, into: NDArray[np.float32]) -> None:
    """Write the source pixel whose square contains the centre of each output pixel; 0 outside the source.

    Of a view that turns, at most 1e-4 of the pixels get a neighbour, whose square ends within rounding of that centre;
    more only if the angle is so near to 0 or to half a right angle that whole rows lie between two pixels.
    """
    if warp.matrix[0, 1] == warp.matrix[1, 0] == 0:
        _take_rows_and_columns(source, warp, into)
        return
    # Pixels of the source by pixel of the output, along each axis of the source: a tile shows at most `TILE_PX`.
    spread = np.abs(warp.matrix[:2, :2]).sum(axis=1).max()
    side = max(int(TILE_PX / max(spread, 1.0)), 1)
    for top in range(0, warp.height, side):
        for left in range(0, warp.width, side):
            tile = into[top : top + side, left : left + side]
            _take_tile(source, warp.matrix @ shift(left, top), tile)


def _take_tile(source: NDArray[np.float32], matrix: NDArray[np.float64], into: NDArray[np.float32]) -> None:
    x, y = _box(source.shape, matrix, into.shape)
    if x.start >= x.stop or y.start >= y.stop:
        into[:] = 0
        return
    cv2.warpAffine(
        source[y, x],
        _of_centres(shift(-x.start, -y.start) @ matrix),  # of the part that is seen: coordinates stay small
        (into.shape[1], into.shape[0]),
        dst=into,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )


def _box(source: tuple[int, ...], matrix: NDArray[np.float64], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return columns and rows of the source that an output of `size` shows, with a pixel to spare if there is one."""
    height, width = size
    corners = matrix[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])  # (2, 4)
    low, high = np.floor(corners.min(axis=1)).astype(int) - 1, np.ceil(corners.max(axis=1)).astype(int) + 1
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    return slice(max(left, 0), min(right, source[1])), slice(max(top, 0), min(bottom, source[0]))


def _take_rows_and_columns(source: NDArray[np.float32], warp: Warp, into: NDArray[np.float32]) -> None:
    """Take the nearest pixels of a map that does not turn: exactly, also where a point is between two pixels."""
    columns, across = _places(warp.matrix[0, 0], warp.matrix[0, 2], warp.width, source.shape[1])
    rows, down = _places(warp.matrix[1, 1], warp.matrix[1, 2], warp.height, source.shape[0])
    into[:] = 0
    into[np.ix_(down, across)] = source[np.ix_(rows, columns)]


def _places(step: float, start: float, size: int, limit: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the pixels of an axis that are shown, and where: int64 (N,) each."""
    pixels = np.floor(step * (np.arange(size) + 0.5) + start).astype(np.int64)
    inside = np.flatnonzero((pixels >= 0) & (pixels < limit))
    return pixels[inside], inside


def resize_image(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize an image by a factor, as training does: area average to shrink, bilinear to enlarge.

    Evaluation makes the input of a network that was trained with `scale` this way; ground truth is never resized.

    Args:
        image: uint8 (H, W, 3).
        scale: > 0.

    Returns:
        uint8 (round(H * scale), round(W * scale), 3), at least 1 x 1; `image` itself if the size is the same.
    """
    return _resize(image, scale, scale)


def _shrink(image: NDArray[np.uint8], down: float, across: float) -> NDArray[np.uint8]:
    """Shrink an image by a factor along each axis; a factor above 1 leaves that axis as it is."""
    return _resize(image, min(down, 1.0), min(across, 1.0))


def _resize(image: NDArray[np.uint8], down: float, across: float) -> NDArray[np.uint8]:
    height, width = (max(round(side * by), 1) for side, by in zip(image.shape[:2], (down, across), strict=True))
    if (height, width) == image.shape[:2]:
        return image
    how = cv2.INTER_AREA if min(down, across) < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)
