"""A view of a sample the plain way: an index map in float64, and one pass a step. Tests and the benchmark compare."""

from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sharding.format.sample import Sample
from training.loading.warp import MAX_SIDE_PX, Warp, shift, stretch

_Pixel = TypeVar("_Pixel", np.float32, np.uint8)


def reference_view(sample: Sample, warp: Warp) -> Sample:
    """Apply one warp to image, depth and valid of a sample that has all three; other depth is 0."""
    assert sample.depth is not None
    assert sample.valid is not None
    index = nearest_source(warp)  # one map for depth and valid, so that they stay aligned
    depth = take(sample.depth, index) / np.float32(warp.zoom)
    valid = take(sample.valid.view(np.uint8), index).view(np.bool_)
    return replace(
        sample,
        image=reference_image(sample.image, warp),
        depth=np.where(valid, depth, np.float32(0)),
        valid=valid,
    )


def nearest_source(warp: Warp) -> NDArray[np.int16]:
    """Compute which source pixel each output pixel shows.

    Args:
        warp: Of a source of up to 32766 pixels a side.

    Returns:
        int16 (height, width, 2), column and row of the source pixel whose square contains the centre of the output
        pixel; outside the source, an index that the source does not have, in [-1, 32766].
    """
    x = np.arange(warp.width) + 0.5  # (width,)
    y = np.arange(warp.height) + 0.5  # (height,)
    index = np.empty((warp.height, warp.width, 2), dtype=np.int16)
    for axis in (0, 1):
        # The map is affine: a term of the row plus a term of the column, with no (3, height * width) product.
        along_x, along_y, start = warp.matrix[axis]
        point = np.floor(np.add.outer(along_y * y + start, along_x * x))  # (height, width)
        index[..., axis] = np.clip(point, -1, MAX_SIDE_PX)
    return index


def take(source: NDArray[_Pixel], index: NDArray[np.int16]) -> NDArray[_Pixel]:
    """Copy the pixels that an index map names, which cv2.remap does with an integer map; 0 outside the source."""
    taken = cv2.remap(source, index, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)  # type: ignore[call-overload]
    return np.asarray(taken, dtype=source.dtype)


def reference_image(image: NDArray[np.uint8], warp: Warp) -> NDArray[np.uint8]:
    """Warp an image of three channels: bilinear, mirrored beyond the border, area-averaged first where it shrinks."""
    height, width = image.shape[:2]
    source = image
    if min(warp.magnification) < 1:
        down, across = (min(by, 1.0) for by in warp.magnification)
        size = max(round(width * across), 1), max(round(height * down), 1)
        source = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    resized = stretch(source.shape[1] / width, source.shape[0] / height)
    matrix = shift(-0.5, -0.5) @ resized @ warp.matrix @ shift(0.5, 0.5)
    warped = cv2.warpAffine(
        source,
        matrix[:2],
        (warp.width, warp.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, dtype=np.uint8)
