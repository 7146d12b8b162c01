"""The learning rate over a run."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from sharding.errors import UsageError

SCHEDULES = ("cosine", "one-cycle")
"""By name; cosine is the default."""

_FROM, _TO = 25.0, 1e5
"""One cycle begins at the peak divided by the first, and ends at the peak divided by the second, as fastai's does."""

_BETA1 = (0.85, 0.95)
"""AdamW's first beta falls to the lower one at the peak of one cycle."""


def make_schedule(optimizer: Optimizer, name: str, warmup_steps: int, total_steps: int) -> LRScheduler:
    """Make the schedule of an optimizer, counted in optimizer steps; the rates of its groups are their peaks.

    Args:
        optimizer: An AdamW.
        name: One of `SCHEDULES`. cosine: see `rate_factor`. one-cycle: the rate rises to its peak by a half cosine in
            `warmup_steps`, and falls by another to almost 0, while AdamW's first beta does the opposite (Smith 2018).
        warmup_steps: Steps before the peak.
        total_steps: Steps of the run; one-cycle needs them.

    Raises:
        UsageError: One cycle has no steps.
    """
    if name == "cosine" or total_steps == 1:  # a single step is taken at the peak
        return LambdaLR(optimizer, lambda step: rate_factor(step, warmup_steps, total_steps))
    if total_steps < 1:
        raise UsageError("--schedule one-cycle: the number of steps must be known")
    # OneCycleLR divides by the length of each phase, less a step: neither may be of one step alone.
    warmup = min(warmup_steps, total_steps - 1)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=warmup / total_steps if warmup > 1 else 0.0,
        base_momentum=_BETA1[0],
        max_momentum=_BETA1[1],
        div_factor=_FROM,
        final_div_factor=_TO / _FROM,  # torch divides the first rate,
    )


def rate_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the fraction of the peak learning rate at an optimizer step: a linear warm-up, then a half cosine to 0.

    Args:
        step: Optimizer step, from 0.
        warmup_steps: Steps of the warm-up; the first step has 1 / (warmup_steps + 1) of the peak.
        total_steps: Steps of the run; 0 means the rate stays at its peak after the warm-up.

    Returns:
        In (0, 1] before `total_steps`, 0 from then on.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if total_steps == 0:
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
