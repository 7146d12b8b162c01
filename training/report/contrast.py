"""Whether one arm is better than another, judged by the scene means of its runs on a log scale.

The input is everywhere the natural logarithm of scene means of a metric that is better when lower, as float64 arrays
(..., runs, scenes); leading axes are independent experiments. Runs of two arms are not paired, and an arm may have more
runs than the other. Two questions have two estimates: whether the arms differ on these scenes (`on_these_scenes`), and
whether they would on others (`on_scenes_like_these`). Images are never units: views of a scan overlap, and all images
of a run share its seed.
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharding.errors import DataError
from training.report.variance import Floats, rest_term, satterthwaite, scene_term, seed_term

Relation = Literal["better", "worse", "equivalent", "undecided"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)

LEAST_RUNS = 3
"""Runs of an arm below which nothing is decided: from two, the noise of the seed is hardly known."""

ALPHA = 0.05
"""Chance of "better" or "worse" between arms that do not differ."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Ratio of the metric of arm a to that of arm b; below 1, a is better. Arrays of the shape of the leading axes.

    Interval, degrees of freedom and p-value are NaN where there is no variance to judge by.

    Attributes:
        ratio: exp(mean of a - mean of b), of the means over runs and scenes.
        low: Lower end of its 95 % interval.
        high: Upper end.
        low90: Lower end of its 90 % interval, that of two one-sided tests at 5 %.
        high90: Upper end.
        df: Degrees of freedom of Student's t.
        p_value: Two-sided, of a ratio of 1.
        lack: Why nothing is decided whatever the values are, as a clause; "" if there is enough to judge by.
    """

    ratio: Floats
    low: Floats
    high: Floats
    low90: Floats
    high90: Floats
    df: Floats
    p_value: Floats
    lack: str = ""


def on_these_scenes(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Estimate the ratio on these very scenes: runs are the units, each by its mean over scenes (Welch's t-test).

    Args:
        a: Logarithms of scene means of the first arm, float64 (..., runs, scenes).
        b: Those of the second arm, with the same scenes in the same order.

    Raises:
        DataError: A value is not finite.
    """
    first, second = _check(a, b)
    terms = seed_term(first), seed_term(second)
    variance = terms[0].variance + terms[1].variance
    return _estimate(first, second, variance, satterthwaite(variance, terms), _lack_of_runs(first, second))


def on_scenes_like_these(a: ArrayLike, b: ArrayLike) -> Estimate:
    """Estimate the ratio on scenes of which these are a sample: seeds and scenes are both random.

    The variance of the difference is that of the two-way layout, (MS_seed + MS_scene - MS_rest) / (runs x scenes), by
    arm because runs are not paired: MS_seed of each arm, MS_scene of the difference of the arms' means by scene, and
    minus MS_rest of each arm, which is in both of them. Degrees of freedom are Satterthwaite's.

    By chance such a difference can fall below its own parts, and below 0. So the variance is the largest of the
    difference, the seeds alone and the scenes alone, with the degrees of freedom of the one that is taken.

    Args:
        a: Logarithms of scene means of the first arm, float64 (..., runs, scenes).
        b: Those of the second arm, with the same scenes in the same order.

    Raises:
        DataError: A value is not finite.
    """
    first, second = _check(a, b)
    seeds = seed_term(first), seed_term(second)
    scenes = (scene_term(first, second),)
    rests = rest_term(first), rest_term(second)
    of_seeds, of_scenes = seeds[0].variance + seeds[1].variance, scenes[0].variance
    whole = of_seeds + of_scenes - (rests[0].variance + rests[1].variance)
    choices = ((whole, (*seeds, *scenes, *rests)), (of_seeds, seeds), (of_scenes, scenes))
    variances = np.stack([variance for variance, _ in choices])
    dfs = np.stack([satterthwaite(variance, terms) for variance, terms in choices])
    largest = np.argmax(variances, axis=0)[None]
    variance, df = (np.take_along_axis(each, largest, axis=0)[0] for each in (variances, dfs))
    lack = _lack_of_runs(first, second) or ("there is a single scene" if first.shape[-1] < 2 else "")
    return _estimate(first, second, variance, df, lack)


def _estimate(first: Floats, second: Floats, variance: Floats, df: Floats, lack: str) -> Estimate:
    """Compute ratio, intervals and p-value from the variance of the difference."""
    difference = first.mean(axis=(-2, -1)) - second.mean(axis=(-2, -1))
    error = np.sqrt(variance)
    half, half90 = (stats.t.ppf(quantile, df) * error for quantile in (0.975, 0.95))
    return Estimate(
        ratio=np.exp(difference),
        low=np.exp(difference - half),
        high=np.exp(difference + half),
        low90=np.exp(difference - half90),
        high90=np.exp(difference + half90),
        df=df,
        p_value=2 * stats.t.sf(np.abs(difference) / error, df),
        lack=lack,
    )


def _lack_of_runs(first: Floats, second: Floats) -> str:
    counts = first.shape[-2], second.shape[-2]
    return f"an arm has fewer than {LEAST_RUNS} runs ({counts[0]} and {counts[1]})" if min(counts) < LEAST_RUNS else ""


def _check(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"expected the same scenes in both arms, found {first.shape[-1]} and {second.shape[-1]}")
    for name, runs in (("first", first), ("second", second)):
        if len(wrong := np.argwhere(~np.isfinite(runs))):
            *_, run, scene = wrong[0].tolist()
            raise DataError(
                f"the {name} arm, run {run + 1}, scene {scene + 1}: expected a finite logarithm of a scene mean, found "
                f"{runs[tuple(wrong[0])]}; a metric must be above 0 and finite in every scene to be compared as a ratio"
            )
    return first, second


def relation(estimate: Estimate, margin: float, alpha: float = ALPHA) -> Relation:
    """Tell how arm a stands to arm b, of a single experiment; see `relations`."""
    return cast(Relation, relations(estimate, margin, alpha).item())


def relations(estimate: Estimate, margin: float, alpha: float = ALPHA) -> NDArray[np.str_]:
    """Tell how arm a stands to arm b, for each experiment.

    "better" or "worse" if the p-value is below `alpha`, which is when the 95 % interval excludes 1, or, with a p-value
    that was adjusted for several contrasts (`holm`), when that does; else "equivalent" if the 90 % interval lies
    within 1 / (1 + margin) to 1 + margin (two one-sided tests: D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987);
    else "undecided".

    Args:
        estimate: Estimate of the ratio.
        margin: Relative difference that does not matter, such as 0.1.
        alpha: Level of the p-value.
    """
    if estimate.lack:
        return np.full(np.shape(estimate.ratio), "undecided")
    differs = estimate.p_value < alpha
    within = (estimate.low90 > 1 / (1 + margin)) & (estimate.high90 < 1 + margin)
    conditions = differs & (estimate.ratio < 1), differs & (estimate.ratio > 1), within
    return np.select(conditions, RELATIONS[:-1], RELATIONS[-1])


def explain(estimate: Estimate, margin: float, alpha: float = ALPHA) -> str:
    """Say why a single experiment is undecided, as a clause."""
    if estimate.lack:
        return estimate.lack
    if np.isnan(estimate.p_value):
        return "the runs of an arm have equal means, as copies of one run have: they tell nothing about other seeds"
    return (
        f"p = {estimate.p_value:.2g} is not below {alpha:g}, and the 90 % interval of the ratio, "
        f"{estimate.low90:.3f} - {estimate.high90:.3f}, is not within {1 / (1 + margin):.3f} - {1 + margin:.3f}"
    )


def holm(p_values: ArrayLike) -> Floats:
    """Adjust the p-values of contrasts that were named beforehand, so that all of them together err at one level.

    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.

    Args:
        p_values: float64 (..., contrasts). One that is NaN, because nothing could be tested, stays NaN and counts as 1:
            it was named, so the others are adjusted for it, too.

    Returns:
        Adjusted p-values in the same order.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, axis=-1)  # NaN last
    factors = np.arange(values.shape[-1], 0, -1)
    rising = np.maximum.accumulate(np.take_along_axis(values, order, axis=-1) * factors, axis=-1)
    return np.take_along_axis(np.minimum(rising, 1.0), np.argsort(order, axis=-1), axis=-1)
