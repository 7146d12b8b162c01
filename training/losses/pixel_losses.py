"""Losses over valid pixels, as sums that add up over micro-batches and ranks.

All but `mse` compare natural logarithms: e = log_prediction - ln(depth). Invalid pixels are replaced before any
logarithm or division, so their content (0, NaN, inf) reaches neither the value nor the gradient. Everything is computed
in float32, outside autocast. A sample that must not count (weight 0) is passed with `valid` all False.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from training.launch.world import World
from training.network.float32 import without_autocast

EPS = 1e-6
"""Added under silog's square root, whose gradient at 0 is infinite (so a perfect prediction costs 0.001, not 0)."""

FARTHEST_M = 1000.0
"""mse takes exp(log_prediction) up to here, and its tangent beyond: that cannot overflow, and still has a gradient."""


@dataclass(frozen=True)
class LossSum:
    """A loss before division: add totals and counts of parts (micro-batches, ranks), then divide.

    Attributes:
        total: float32 scalar (float64 once `detached`), the sum over valid pixels; 0, with a zero gradient, without
            valid pixels.
        count: int64 scalar, the number of valid pixels.
    """

    total: Tensor
    count: Tensor

    @classmethod
    def zero(cls) -> "LossSum":
        """Return the sum of no parts."""
        return cls(torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64))

    def __add__(self, other: "LossSum") -> "LossSum":
        """Add two parts."""
        return LossSum(self.total + other.total, self.count + other.count)

    def mean(self) -> Tensor:
        """Return the total per valid pixel, a scalar; 0 without valid pixels."""
        return self.total / self.count.clamp(min=1)

    def detached(self) -> "LossSum":
        """Return the same without its graph, in float64: exact enough to be summed over an epoch.

        It stays on its device, except on mps, which has no float64: there it moves to the CPU.
        """
        total, count = self.total.detach(), self.count
        if total.device.type == "mps":
            total, count = total.cpu(), count.cpu()
        return LossSum(total.double(), count)

    def over_ranks(self) -> "LossSum":
        """Sum the parts of all ranks, detached, the same on each; one collective operation if there are several ranks.

        The tensors must be on a device that the process group's backend supports: on the GPU with NCCL.
        """
        own = self.detached()
        if World.current().size == 1:
            return own
        sums = torch.stack([own.total, own.count.double()])  # float64 is exact for counts up to 2^53
        dist.all_reduce(sums)
        return LossSum(sums[0], sums[1].long())


Loss = Callable[[Tensor, Tensor, Tensor], LossSum]
"""(log_prediction (B, 1, H, W) natural log of metres, depth float32 (B, 1, H, W) metres, valid bool (B, 1, H, W))."""


def log_error(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> Tensor:
    """Compute e = log_prediction - ln(depth); value and gradient are exactly 0 where invalid.

    Args:
        log_prediction: (B, 1, H, W), natural log of metres.
        depth: (B, 1, H, W), metres.
        valid: bool (B, 1, H, W).

    Returns:
        float32 (B, P) with P = H * W.

    Raises:
        ValueError: The shapes differ (they would broadcast), or valid is not bool.
    """
    z, depth = _masked(log_prediction, depth, valid)
    return (z - depth.log()).flatten(1)


def _masked(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float32, where invalid 0 and its exponential, 1; raises as `log_error`."""
    if not (log_prediction.ndim == 4 and log_prediction.shape == depth.shape == valid.shape):
        raise ValueError(
            "log_prediction, depth and valid must have the same shape (B, 1, H, W), found "
            f"{tuple(log_prediction.shape)}, {tuple(depth.shape)} and {tuple(valid.shape)}"
        )
    if valid.dtype != torch.bool:
        raise ValueError(f"valid must be bool, found {valid.dtype}; compare the mask with 0.5 first")
    # Replaced before any arithmetic: masked afterwards, an inf of an invalid pixel gives the gradient 0 * inf = NaN.
    return torch.where(valid, log_prediction.float(), 0.0), torch.where(valid, depth.float(), 1.0)


def _image_sum(value: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, value, 0.0).sum(1)  # (B,)


def silog(log_prediction: Tensor, depth: Tensor, valid: Tensor, variance_focus: float = 0.85) -> LossSum:
    """Sum the scale-invariant log loss of each image, weighted by the image's valid pixels.

    n * sqrt(mean(e^2) - lambda * mean(e)^2 + EPS) for an image with n valid pixels, summed over images. With lambda 1
    a wrong scale costs nothing, with 0 it is the root mean square of e. Computed as var(e) + (1 - lambda) * mean(e)^2,
    which is the same without cancellation.

    Source: Eigen et al. 2014 (lambda 0.5); with the root and lambda 0.85 BTS, AdaBins and NeWCRFs, whose factor 10 is
    left out, because it only scales the loss.

    Args:
        log_prediction: (B, 1, H, W), natural log of metres.
        depth: (B, 1, H, W), metres.
        valid: bool (B, 1, H, W).
        variance_focus: The lambda above, in [0, 1].

    Returns:
        The sum, and the number of valid pixels.
    """
    with without_autocast(log_prediction):
        error, valid = log_error(log_prediction, depth, valid), valid.flatten(1)  # (B, P)
        count = valid.sum(1)  # (B,)
        mean = _image_sum(error, valid) / count.clamp(min=1)
        variance = _image_sum((error - mean[:, None]).square(), valid) / count.clamp(min=1)
        root = (variance + (1 - variance_focus) * mean.square() + EPS).sqrt()
        # count * root: after division by the count of all parts, an image weighs by its valid pixels.
        return LossSum((count * root).sum(), count.sum())


def si_log(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Sum the standard deviation of the log error, `silog` with lambda 1: a wrong scale of an image costs nothing.

    For depth up to scale; of metric depth it learns no scale.
    """
    return silog(log_prediction, depth, valid, variance_focus=1.0)


def l1_log(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Sum the absolute log error |e| over valid pixels; arguments as in `Loss`."""
    with without_autocast(log_prediction):
        return LossSum(log_error(log_prediction, depth, valid).abs().sum(), valid.sum())


def mse_log(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Sum the squared log error e^2 over valid pixels; arguments as in `Loss`.

    Without invalid pixels, such as sky.
    """
    with without_autocast(log_prediction):
        return LossSum(log_error(log_prediction, depth, valid).square().sum(), valid.sum())


def berhu_log(log_prediction: Tensor, depth: Tensor, valid: Tensor) -> LossSum:
    """Sum the reverse Huber loss of the log error over valid pixels; arguments as in `Loss`.

    |e| if |e| <= c, else (e^2 + c^2) / (2 c), with c = 0.2 * max|e|, through which no gradient flows.

    Source: Laina et al. 2016, who take the maximum over the batch; here it is that of each image, so that the loss
    does not depend on how a batch is split into micro-batches.
    """
    with without_autocast(log_prediction):
        size = log_error(log_prediction, depth, valid).abs()  # (B, P)
        threshold = (0.2 * size.detach().amax(1, keepdim=True)).clamp(min=EPS)  # (B, 1), divisor below
        far = (size.square() + threshold.square()) / (2 * threshold)
        total = _image_sum(torch.where(size <= threshold, size, far), valid.flatten(1)).sum()
        return LossSum(total, valid.sum())


def mse(log_prediction: Tensor, depth: Tensor, valid: Tensor, typical_m: float = 1.0) -> LossSum:
    """Sum the squared error of depth, divided by a typical one: ((exp(log_prediction) - depth) / typical_m)^2.

    The tutorial's loss, over valid pixels and of a number around 1. Beyond `FARTHEST_M` exp is continued by its
    tangent. Far pixels rule it: an error of 10 % costs 10^4 times more at 100 m than at 1 m.

    Args:
        log_prediction: (B, 1, H, W), natural log of metres.
        depth: (B, 1, H, W), metres.
        valid: bool (B, 1, H, W).
        typical_m: Metres.

    Returns:
        The sum, and the number of valid pixels.
    """
    with without_autocast(log_prediction):
        z, depth = _masked(log_prediction, depth, valid)
        bound = z.clamp(max=math.log(FARTHEST_M))
        error = (bound.exp() * (1 + (z - bound)) - depth) / typical_m  # (B, 1, H, W), 0 where invalid
        return LossSum(error.square().sum(), valid.sum())


LOSSES: dict[str, Loss] = {
    "silog": silog,
    "si_log": si_log,
    "l1_log": l1_log,
    "mse_log": mse_log,
    "berhu_log": berhu_log,
    "mse": mse,
}
"""By name; silog is the default for metric depth. `training.model.criterion` adds the parameters of a run."""
