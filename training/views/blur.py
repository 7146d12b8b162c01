"""Gaussian blur with albumentations' kernel, mirrored beyond the borders (cv2's BORDER_REFLECT_101)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from training.views.device import send
from training.views.draws import Array


def blur(levels: Tensor, sigma: Array, side: Array) -> Tensor:
    """Blur views, rows first, and round.

    Tap by tap, in a fixed order: taps beyond a view's own kernel weigh 0, so that a wider one in the batch changes
    nothing.

    Args:
        levels: float32 (n, 3, h, w), whole numbers of 0 to 255.
        sigma: (n,), pixels.
        side: (n,) sides of the kernels, pixels, odd.

    Returns:
        Levels, of the same shape.
    """
    weights = send(make_kernels(sigma, side), levels.device)  # (n, radius + 1)
    rows = _convolve(levels, weights, -1)
    return torch.round(_convolve(rows, weights, -2)).clamp(0, 255)


def make_kernels(sigma: Array, side: Array) -> NDArray[np.float32]:
    """Compute the right half of each kernel, float32 (n, radius + 1), from its middle to the widest one's end."""
    reach = side[:, None] // 2
    at = np.arange(int(reach.max()) + 1)
    # Sides that follow from a tiny sigma are 1: the kernel is 1, whatever the sigma.
    weights = np.where(at <= reach, np.exp(-0.5 * (at / np.maximum(sigma[:, None], 1e-6)) ** 2), 0.0)
    total = weights[:, :1] + 2 * weights[:, 1:].sum(axis=1, keepdims=True)
    kernels: NDArray[np.float32] = (weights / total).astype(np.float32)
    return kernels


def _convolve(levels: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Convolve along one dimension by symmetric kernels."""
    radius, count = weights.shape[1] - 1, levels.shape[dim]
    margins = (radius, radius, 0, 0) if dim == -1 else (0, 0, radius, radius)
    padded = pad(levels, margins, mode="reflect")
    each = weights[:, :, None, None, None]  # (n, radius + 1, 1, 1, 1)
    total = levels * each[:, 0]
    for tap in range(1, radius + 1):
        both = padded.narrow(dim, radius - tap, count) + padded.narrow(dim, radius + tap, count)
        total = total + both * each[:, tap]
    return total
