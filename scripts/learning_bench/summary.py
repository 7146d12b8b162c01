"""The arms of the ablations over their seeds: metrics, cost, and the bounds they are held against."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from learning_bench.arms import ARMS
from learning_bench.finished import Run

SHOWN = ("log10", "abs_rel", "rmse", "silog", "delta1")

# Fixed before the first run.
BOUNDS = {
    "long": {"log10": ("at most", 0.6), "abs_rel": ("at most", 0.7), "rmse": ("below", 1.0), "silog": ("below", 1.0)}
}
"""By arm and metric: the mean of the runs over the row baseline that is fitted for the metric."""

LEAST_RUNS = 3
"""Runs of which the mean is held against a bound."""

COST_OF = "ours"
"""The arm over whose seconds those of all arms are shown."""


def summarize(runs: Mapping[str, Run], baselines: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Compute mean, least and most of each metric and of the seconds over the seeds of an arm.

    Args:
        runs: By "ARM-SEED".
        baselines: Metrics of "constant" and "row".

    Returns:
        By arm, in the order of ARMS: the spreads, the mean of each metric over the row baseline's, and the mean seconds
        over those of `COST_OF` (None if that has no runs).
    """
    by_arm = {arm: [one for key, one in runs.items() if key.rpartition("-")[0] == arm] for arm in ARMS}
    found: dict[str, dict[str, Any]] = {}
    for arm, of_arm in by_arm.items():
        if of_arm:
            metrics = {name: spread([one["metrics"][name] for one in of_arm]) for name in SHOWN}
            found[arm] = {
                "differs": ARMS[arm].differs,
                "runs": len(of_arm),
                "seconds": spread([one["seconds"] for one in of_arm]),
                "metrics": metrics,
                "over_row": {name: metrics[name]["mean"] / baselines["row"][name] for name in SHOWN},
            }
    reference = found.get(COST_OF)
    for summary in found.values():
        seconds = summary["seconds"]["mean"]
        summary[f"seconds_over_{COST_OF}"] = seconds / reference["seconds"]["mean"] if reference else None
    return found


def spread(values: Sequence[float | None]) -> dict[str, float]:
    """Return mean, least and most; all are NaN if a value is NaN or None, as of a run that diverged."""
    numbers = [math.nan if value is None else value for value in values]
    if any(map(math.isnan, numbers)):
        return dict.fromkeys(("mean", "least", "most"), math.nan)
    return {"mean": statistics.mean(numbers), "least": min(numbers), "most": max(numbers)}


def find_missed(arms: Mapping[str, Any]) -> list[str]:
    """List the bounds that are not met, as sentences; an arm without runs is held against none.

    Args:
        arms: As `summarize` returns them.
    """
    missed = []
    for arm, bounds in BOUNDS.items():
        if arm not in arms:
            continue
        if (runs := arms[arm]["runs"]) < LEAST_RUNS:
            missed.append(f"{arm}: expected the mean of at least {LEAST_RUNS} runs, found {runs}")
        for metric, (relation, bound) in bounds.items():
            ratio = arms[arm]["over_row"][metric]
            met = ratio < bound if relation == "below" else ratio <= bound
            if not met:
                missed.append(f"{arm}: {metric} over the row baseline: expected {relation} {bound}, found {ratio:.4f}")
    return missed


def format_arms(
    arms: Mapping[str, Any], baselines: Mapping[str, Mapping[str, float]], missed: Sequence[str] = ()
) -> str:
    """Format a table, mean (least - most) of each metric and of the seconds, and the bounds that are missed."""
    heads = [*(f"{name:>26}" for name in SHOWN), f"{'seconds':>26}", f"{f'over {COST_OF}':>11}"]
    lines = [f"{'arm':<16}{'runs':>5}" + "".join(heads)]
    for name, arm in arms.items():
        cells = [_format_spread(arm["metrics"][metric], 3) for metric in SHOWN]
        cells.append(_format_spread(arm["seconds"], 0))
        cost = arm[f"seconds_over_{COST_OF}"]
        shown = "" if cost is None else f"{cost:.2f}"
        lines.append(f"{name:<16}{arm['runs']:>5}" + "".join(f"{cell:>26}" for cell in cells) + f"{shown:>11}")
    for name, values in baselines.items():
        lines.append(f"{name:<16}{'':>5}" + "".join(f"{values[metric]:>26.3f}" for metric in SHOWN))
    return "\n".join([*lines, *(f"Missed: {line}" for line in missed)])


def _format_spread(cell: Mapping[str, float], digits: int) -> str:
    return f"{cell['mean']:.{digits}f} ({cell['least']:.{digits}f} - {cell['most']:.{digits}f})"
