"""The learning rate over a run."""

import math


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
