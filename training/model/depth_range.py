"""From log depth to depth."""

import math

from torch import Tensor

MIN_DEPTH_M, MAX_DEPTH_M = 0.05, 1000.0
"""Predictions are clamped to this range, wider than any sensor's; the loss uses unclamped values."""

MIDDLE_LOG_DEPTH = (math.log(MIN_DEPTH_M) + math.log(MAX_DEPTH_M)) / 2
"""Where depth up to scale is put: its unit means nothing, and here it can be 140 times nearer and farther."""


def depth_from_log(z: Tensor) -> Tensor:
    """Convert z to depth: float32 (B, 1, H, W), natural log of metres to metres in [`MIN_DEPTH_M`, `MAX_DEPTH_M`]."""
    return z.clamp(math.log(MIN_DEPTH_M), math.log(MAX_DEPTH_M)).exp()
