"""Pixels of any type to 8-bit RGB, by a rule for each type that does not depend on what is in the image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_rgb8(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert an image to 8-bit RGB.

    Args:
        levels: (H, W) grey, (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB with alpha, which is dropped. uint8: 0 to 255;
            uint16: 0 to 65535, divided by 257 and rounded; floating point: 0 to 1, times 255 and rounded.

    Returns:
        uint8 (H, W, 3); a view of `levels` if it is such.

    Raises:
        ValueError: It has another shape or type, or floating point levels outside [0, 1].
    """
    if levels.ndim == 2:
        levels = levels[..., None]  # (H, W, 1)
    if levels.ndim != 3 or levels.shape[2] not in (1, 3, 4) or levels.size == 0:
        raise ValueError(f"expected an image (H, W), (H, W, 3) or (H, W, 4), found shape {levels.shape}")
    pixels = _to_8_bits(levels[..., :3])
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _to_8_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return levels
    if levels.dtype == np.uint16:
        # 65535 = 257 * 255; 128 rounds.
        return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not np.issubdtype(levels.dtype, np.floating):
        raise ValueError(f"expected levels of type uint8, uint16 or floating point, found {levels.dtype}")
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and high <= 1):  # NaN fails, too
        raise ValueError(
            f"expected floating point levels from 0 (black) to 1 (white), found {low:g} to {high:g}; "
            "divide them by the level of white"
        )
    pixels: NDArray[np.uint8] = np.rint(levels * 255).astype(np.uint8)
    return pixels
