"""What depth and mask of a data set can be: values that contradict its unit are refused, not stored as metres.

MegaDepth has no unit: its depth is known up to a factor of each scene, or it is ordinal.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError
from sharding.format.sample import DepthFacts

FARTHEST_M = 400.0
"""DIODE's sensor, a FARO Focus S350, measures up to 350 m; the largest valid value that is published is 299 m."""

LEAST_FARTHEST_M = 0.3
"""It measures from 0.6 m on: a map that is nowhere deeper than half of that is in another unit."""


def check_dtype(dtype: np.dtype[Any], dataset: str) -> None:
    """Refuse integers as DIODE's depth: its files hold metres in floating point, so they are of another unit.

    Raises:
        DataError: They are integers.
    """
    if dataset == "diode" and dtype.kind != "f":
        raise DataError(
            f"expected depth in metres as floating point, as in DIODE, found {dtype}: integers are of another unit, "
            "such as millimetres; convert them to float32 metres"
        )


def check_unit(facts: DepthFacts, dataset: str) -> None:
    """Refuse valid depth that DIODE's sensor cannot have measured.

    Raises:
        DataError: It lies beyond the range of the sensor.
    """
    if dataset == "diode" and not (facts.kind == "none" or LEAST_FARTHEST_M <= facts.depth_max <= FARTHEST_M):
        raise DataError(
            f"expected depth in metres whose largest valid value is from {LEAST_FARTHEST_M:g} to {FARTHEST_M:g}, as "
            f"DIODE's sensor measures, found {facts.depth_max:.9g}: is it in another unit? convert it to metres"
        )


def as_mask(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return DIODE's mask as bool (H, W): True where the sensor had a return.

    Raises:
        DataError: It has other values than 0 and 1.
    """
    if values.dtype == np.bool_:
        return np.asarray(values.view(np.uint8) != 0)  # a bool read from a file may be any byte
    mask: NDArray[np.bool_] = values == 1
    other = values[~mask & (values != 0)]
    if other.size:
        raise DataError(f"expected a mask of 0 and 1, found {other[0]:g} in {other.size} pixels")
    return mask
