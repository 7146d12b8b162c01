"""A sample in memory, and the one rule that decides which depth is valid."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sharding.errors import DataError

DepthKind = Literal["metric", "up_to_scale", "ordinal", "none"]
"""Meaning of the values of a depth map.

`metric`: metres. `up_to_scale`: metres times an unknown factor of the scene. `ordinal`: labels of closer and farther,
not distances (no pixel is valid). `none`: no pixel has depth.
"""

PARTS = ("image", "depth", "valid", "meta")
"""Parts of a sample in the order of their members in a shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A decoded sample.

    Attributes:
        key: Unique in its set; `[a-z0-9_-]` only, unless the set was made by `depthstream index`.
        image: uint8 (H, W, 3), RGB.
        depth: float32 (H, W), metres (or up-to-scale units); any value where `valid` is False. None if not read.
        valid: bool (H, W), True where depth was measured. None if not read.
    """

    key: str
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    valid: NDArray[np.bool_] | None = None


def valid_pixels(
    depth: NDArray[np.float32], mask: NDArray[np.floating] | NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Decide which pixels have depth: `mask > 0.5 & isfinite(depth) & depth > 0`.

    DIODE ships a mask, and masked pixels may carry depth > 0; MegaDepth ships none, 0 means no depth.

    Args:
        depth: float32 (H, W), any values.
        mask: (H, W), 1 where the sensor had a return, or the valid part of a set made elsewhere; None if there is none.

    Returns:
        bool (H, W).

    Raises:
        DataError: Their shapes differ.
    """
    if mask is not None:
        check_shape("depth", depth.shape, "valid", mask.shape)
    valid = np.isfinite(depth) & (depth > 0)
    return valid if mask is None else valid & (mask > 0.5)


def check_shape(one: str, expected: tuple[int, ...], other: str, found: tuple[int, ...]) -> None:
    """Compare the shapes of two parts of a sample: all parts are of the same pixels.

    Args:
        one: Name of a part.
        expected: Its shape, (H, W).
        other: Name of another part.
        found: Its shape.

    Raises:
        DataError: They differ.
    """
    if expected != found:
        sizes = [" x ".join(map(str, shape)) for shape in (expected, found)]
        raise DataError(f"{one} is {sizes[0]}, {other} is {sizes[1]} (height x width)")


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthFacts:
    """Statistics of a depth map that the index records; over valid pixels, NaN if there are none.

    Attributes:
        kind: Meaning of the values.
        valid_fraction: Share of valid pixels, 0..1.
        depth_min, depth_median, depth_max: Metres (or up-to-scale units).
    """

    kind: DepthKind = "none"
    valid_fraction: float = 0.0
    depth_min: float = float("nan")
    depth_median: float = float("nan")
    depth_max: float = float("nan")


def depth_facts(depth: NDArray[np.float32], valid: NDArray[np.bool_], kind: DepthKind) -> DepthFacts:
    """Compute the statistics of a depth map.

    Args:
        depth: float32 (H, W), metres (or up-to-scale units); ignored where not `valid`.
        valid: bool (H, W).
        kind: Meaning of the values.
    """
    values = depth[valid]
    if values.size == 0:
        return DepthFacts(kind=kind)
    with np.errstate(over="ignore"):
        median = float(np.median(values))
    if not np.isfinite(median):  # the mean of the two in the middle is taken of their sum
        median = float(np.median(values.astype(np.float64)))
    return DepthFacts(
        kind=kind,
        valid_fraction=values.size / valid.size,
        depth_min=float(values.min()),
        depth_median=median,
        depth_max=float(values.max()),
    )
