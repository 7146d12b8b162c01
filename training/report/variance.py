"""Parts of the variance of the difference between two arms, from the scene means of their runs.

Arrays are float64 (..., runs, scenes); leading axes are independent experiments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ROUNDING = 64 * np.finfo(np.float64).eps
"""What rounding can make of values that are equal, relative to their size."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """A part of a variance.

    Attributes:
        variance: Its estimate; NaN where a single run or scene leaves none, or runs that are equal up to rounding.
        df: Its degrees of freedom.
    """

    variance: Floats
    df: int


def seed_term(runs: Floats) -> Term:
    """Compute MS_seed / (runs x scenes) of an arm: the variance of its mean by its runs, run x scene included."""
    count, means = runs.shape[-2], runs.mean(axis=-1)
    # Copies of a run, or runs at the floor of a metric, tell nothing about their noise: a variance of 0 would.
    equal = np.ptp(means, axis=-1) <= _ROUNDING * np.abs(means).max(axis=-1)
    return Term(variance=np.where(equal, np.nan, _variance(means)) / count, df=count - 1)


def scene_term(first: Floats, second: Floats) -> Term:
    """Compute the variance of the difference of two arms by its scenes, run x scene of both included.

    What the arms share in a scene, such as its difficulty, cancels.
    """
    count = first.shape[-1]
    return Term(variance=_variance(first.mean(axis=-2) - second.mean(axis=-2)) / count, df=count - 1)


def rest_term(runs: Floats) -> Term:
    """Compute MS_rest / (runs x scenes) of an arm: the variance of its mean by run x scene alone."""
    count, scenes = runs.shape[-2:]
    by_run, by_scene = runs.mean(axis=-1, keepdims=True), runs.mean(axis=-2, keepdims=True)
    squares = np.square(runs - by_run - by_scene + runs.mean(axis=(-2, -1), keepdims=True)).sum(axis=(-2, -1))
    df = (count - 1) * (scenes - 1)
    return Term(variance=squares / (df * count * scenes) if df else np.full_like(squares, np.nan), df=df)


def _variance(values: Floats) -> Floats:
    """Compute the unbiased variance over the last axis; NaN of a single value."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.var(axis=-1, ddof=1), np.float64)


def satterthwaite(variance: Floats, terms: Sequence[Term]) -> Floats:
    """Compute the degrees of freedom of a sum or difference of terms; NaN where there is no variance.

    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946;
    for differences: D. W. Gaylor and F. N. Hopper, Technometrics 11, 1969.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = sum(np.square(term.variance) / term.df for term in terms)
        return np.asarray(np.square(variance) / squares, np.float64)
