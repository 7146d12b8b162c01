"""Views of the toy world in DIODE's form, and a sensor's noise on them: the generated input of the benchmarks."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding.toyworld.diode import lay_traps, place_view, plan_view
from sharding.toyworld.view import render

SEED = 0
IMAGE_NOISE, DEPTH_NOISE_M = 2.0, 0.001
"""Standard deviations of a sensor's noise: grey levels, and metres. Without noise views compress too well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ToyView:
    """A rendered view, with the speckle and the missing depth of a real scanner.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        depth: float32 (H, W), planar z in metres; 0 or NaN without depth, and any value where `mask` is 0.
        mask: float32 (H, W), 1 where the depth is to be used, else 0; a few such pixels have depth 0.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.float32]


def render_view(number: int, height: int, width: int) -> ToyView:
    """Render view `number` of the train split at `height` x `width` pixels; equal arguments give equal bytes."""
    view = plan_view("train", number)
    scene, camera, _ = place_view(view, SEED)
    seen = render(scene, camera, height, width)
    depth, mask = lay_traps(view, seen, SEED, Counter())
    return ToyView(image=seen.image, depth=depth, mask=mask.astype(np.float32))


def add_image_noise(image: NDArray[np.uint8], noise: NDArray[Any]) -> NDArray[np.uint8]:
    """Add noise in grey levels, of the shape of `image`; the sum is rounded and clipped to 0..255."""
    return np.asarray(np.rint(image + noise).clip(0, 255), dtype=np.uint8)


def add_depth_noise(
    depth: NDArray[np.float32], valid: NDArray[np.bool_], noise: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Add noise in metres where `valid`; other pixels keep their value. All arrays are (H, W)."""
    return np.where(valid, depth + noise, depth).astype(np.float32)
