"""The gradient term: how much the error of log depth changes from a pixel to the next.

A loss per pixel does not see whether errors are smooth or jump; this term prices jumps, such as edges that are blurred
or displaced.
"""

import torch
from torch import Tensor

from training.losses.pixel_losses import Loss, LossSum, log_error
from training.network.float32 import without_autocast


def gradient_l1(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Sum the mean absolute difference of e between neighbours of each image, weighted by the image's valid pixels.

    e is the error of log depth, see `training.losses.pixel_losses`. Each pixel is compared with the one to its right
    and the one below it, if both are valid. An image without such a pair costs nothing. A wrong scale costs nothing,
    either.

    Source: the gradient matching term of Li and Snavely 2018 (MegaDepth) at its finest scale, with the mask of both
    neighbours, as in ZoeDepth; theirs is divided by the pixels, this one by the pairs, so that speckled masks, which
    have few pairs, do not weaken it.

    Args:
        log_prediction: (B, 1, H, W), natural log of metres.
        depth: (B, 1, H, W), metres.
        valid: bool (B, 1, H, W).

    Returns:
        The sum, and the number of valid pixels.
    """
    with without_autocast(log_prediction):
        error = log_error(log_prediction, depth, valid).view(valid.shape)  # 0 where invalid
        (down, rows), (across, columns) = (_neighbours(error, valid, dim) for dim in (2, 3))
        count = valid.flatten(1).sum(1)  # (B,)
        mean = (down + across) / (rows + columns).clamp(min=1)
        return LossSum((count * mean).sum(), count.sum())


def _neighbours(error: Tensor, valid: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the sum of |differences| between valid neighbours along a dimension, and their number, (B,) each."""
    pairs = valid.shape[dim] - 1
    both = valid.narrow(dim, 1, pairs) & valid.narrow(dim, 0, pairs)
    change = error.narrow(dim, 1, pairs) - error.narrow(dim, 0, pairs)
    return torch.where(both, change.abs(), 0.0).flatten(1).sum(1), both.flatten(1).sum(1)


def with_gradient(loss: Loss, weight: float, log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Add a multiple of `gradient_l1` to a loss; further arguments as in `Loss`."""
    main, jumps = loss(log_prediction, depth, valid), gradient_l1(log_prediction, depth, valid)
    return LossSum(main.total + weight * jumps.total, main.count)
