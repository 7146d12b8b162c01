"""The formulas of the depth metrics, each of one image at a time."""

import math
from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor


class Pairs:
    """Prediction p and truth g of a batch, and what several metrics are made of.

    Both become 1 where not chosen: differences and logarithms are 0 there and add nothing to the sums.

    Args:
        p: Prediction (B, P), > 0 where chosen.
        g: Truth (B, P), > 0 where chosen.
        chosen: bool (B, P).
    """

    def __init__(self, p: Tensor, g: Tensor, chosen: Tensor) -> None:
        self.p, self.g = torch.where(chosen, p, 1.0), torch.where(chosen, g, 1.0)
        self.chosen = chosen
        self._count = chosen.sum(1).clamp(min=1).double()  # (B,)

    def mean(self, value: Tensor) -> Tensor:
        """Average (B, P), 0 where not chosen, over the chosen pixels: (B,)."""
        return value.sum(1) / self._count

    @cached_property
    def off(self) -> Tensor:
        """|p - g|, (B, P)."""
        return (self.p - self.g).abs()

    @cached_property
    def e(self) -> Tensor:
        """Natural log of p / g, (B, P)."""
        return (self.p / self.g).log()

    @cached_property
    def ratio(self) -> Tensor:
        """The larger of p / g and g / p, (B, P)."""
        return torch.maximum(self.p / self.g, self.g / self.p)


def _silog(pairs: Pairs) -> Tensor:
    # e minus its mean before squaring: mean e^2 - (mean e)^2 would cancel when the scale is far off.
    spread = torch.where(pairs.chosen, pairs.e - pairs.mean(pairs.e)[:, None], 0.0)
    return 100 * pairs.mean(spread.square()).sqrt()


def _delta(power: int, pairs: Pairs) -> Tensor:
    # The ratio is 1 where not chosen, which would count as correct without `& chosen`.
    return pairs.mean((pairs.ratio < 1.25**power) & pairs.chosen)


FORMULAS: dict[str, Callable[[Pairs], Tensor]] = {
    "abs_rel": lambda pairs: pairs.mean(pairs.off / pairs.g),
    "sq_rel": lambda pairs: pairs.mean(pairs.off.square() / pairs.g),
    "mae": lambda pairs: pairs.mean(pairs.off),
    "rmse": lambda pairs: pairs.mean(pairs.off.square()).sqrt(),
    "rmse_log": lambda pairs: pairs.mean(pairs.e.square()).sqrt(),
    "log10": lambda pairs: pairs.mean(pairs.e.abs()) / math.log(10),
    "silog": _silog,
    "delta1": partial(_delta, 1),
    "delta2": partial(_delta, 2),
    "delta3": partial(_delta, 3),
}
"""The metrics of each image, float64 (B,), with e = ln p - ln g and means over the chosen pixels; 0 without any.

    abs_rel   mean |p - g| / g         rmse_log  sqrt(mean e^2)
    sq_rel    mean (p - g)^2 / g (m)   log10     mean |log10 p - log10 g|
    mae       mean |p - g| (m)         silog     100 sqrt(mean e^2 - (mean e)^2)
    rmse      sqrt(mean (p - g)^2) (m) deltaK    share with max(p / g, g / p) < 1.25^K, strictly

Source: the evaluation code of monodepth2, NeWCRFs and ZoeDepth; silog with its factor 100 as on KITTI. The DIODE
devkit's log_rmse uses log10: times ln 10 it is rmse_log.
"""
