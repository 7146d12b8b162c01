"""Refuse a map that is too large, before memory is allocated for it, and values that float32 cannot hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.limits import MAX_PIXELS, over


def check_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map that is too large.

    Args:
        size: Its two sides in pixels, in the order in which the message names them.

    Raises:
        ValueError: It has more than `MAX_PIXELS` pixels.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(over(f"{size[0]} x {size[1]} pixels", MAX_PIXELS))


def refuse_pixels(size: Sequence[int]) -> None:
    """Refuse an image or a map as `check_pixels` does.

    Raises:
        DataError: It has more than `MAX_PIXELS` pixels.
    """
    try:
        check_pixels(size)
    except ValueError as error:
        raise DataError(f"expected a map of numbers, found {error}") from error


def to_float32(depth: NDArray[Any], counts: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Convert depth to float32; infinity stays.

    Args:
        depth: Numbers of any type.
        counts: bool, of its shape: where values matter; None: everywhere.

    Raises:
        DataError: A finite value that counts would become infinite.
    """
    if depth.dtype == np.float32:
        return depth
    with np.errstate(over="ignore"):
        converted = depth.astype(np.float32)
    if depth.dtype.itemsize > converted.itemsize:
        lost = np.isinf(converted) & np.isfinite(depth)
        if (found := depth[lost if counts is None else lost & counts]).size:
            raise DataError(f"expected depth that float32 can hold, found {found[0]:.9g} in {found.size} pixels")
    return converted
