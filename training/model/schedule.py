"""The learning rate over a run."""

import math


def rate_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Share of the peak learning rate at an optimizer step: a linear rise, then a half cosine to 0.

    Args:
        step: From 0.
        warmup_steps: Steps of the rise; the first step has 1 / (warmup_steps + 1) of the peak.
        total_steps: Steps of the run; 0 means the rate stays at its peak after the rise.

    Returns:
        In (0, 1] before `total_steps`, 0 from there on.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if total_steps == 0:
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
