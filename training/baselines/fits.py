"""The profile of depth by row that is best by a metric: the least of its mean over images, for each metric of METRICS.

A constant is a profile of one row. A mean over images of means over pixels is a sum over pixels with weights, so it is
least row by row for abs_rel, sq_rel, mae, log10 and the deltas: from histograms, within the width of a bin (0.1 %) of
the best value, and exact where a bin holds one distinct depth. rmse, rmse_log and silog are sums of norms over images,
which couple rows: iteratively reweighted least squares (Weiszfeld 1937; Beck and Sabach 2015), which never rises, until
a step lowers the sum by less than one part in 10^12.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.baselines.depth_sums import DepthSums, Moments

_LEAST_STEP = 1e-12
_MOST_STEPS = 2000
_FLOOR = 1e-7
"""An image is taken to be off by at least this share of the typical error: no weight is infinite."""

Floats = NDArray[np.float64]


def fit_profiles(sums: DepthSums) -> dict[str, Floats]:
    """Fit a profile for each metric, to sums over at least one image.

    silog ignores a common factor of the profile: it has the one that makes the mean log error 0. With a single row it
    ignores the profile, which is then that of log10.

    Returns:
        By metric: float64 (R,), metres, from the top; a row without any pixel has the value of the nearest row that has
        some, of two equally near ones the upper.
    """
    seen = np.flatnonzero(sums.weight.any(axis=1))
    bins = [_occupied(sums, row) for row in seen.tolist()]
    share = sums.share[:, seen]

    def by_row(fit: Callable[[Floats, Floats], float]) -> Floats:
        return np.array([fit(depth, weight) for depth, weight in bins])

    def columns(moments: Moments) -> Moments:
        return Moments(mean=moments.mean[:, seen], scatter=moments.scatter)

    log = columns(sums.log)
    median = by_row(weighted_median)
    rmse_log = least_norms(share, log)
    found = {
        "abs_rel": by_row(lambda depth, weight: weighted_median(depth, weight / depth)),
        "sq_rel": by_row(lambda depth, weight: float(weight.sum() / (weight / depth).sum())),
        "mae": median,
        "rmse": least_norms(share, columns(sums.metres)),
        "rmse_log": np.exp(rmse_log),
        "log10": median,
        "silog": np.exp(least_spreads(share, log, rmse_log)) if len(seen) > 1 else median,
        **{f"delta{k}": by_row(partial(fullest_window, factor=1.25**k)) for k in (1, 2, 3)},
    }
    rows = np.arange(len(sums.weight))
    # (R, rows seen) distances; argmin takes the first, so the upper, of equal ones.
    nearest = np.abs(rows[:, None] - seen[None, :]).argmin(axis=1)
    return {metric: profile[nearest] for metric, profile in found.items()}


def _occupied(sums: DepthSums, row: int) -> tuple[Floats, Floats]:
    """Return mean depth (m) and weight of the bins of a row that hold pixels, by rising depth."""
    weight = sums.weight[row]
    held = weight > 0
    return sums.depth_sum[row, held] / weight[held], weight[held]


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the least x with half of the weight up to x; midway to the next value if it is just half.

    It minimises sum of weights |x - values|, and of weights |log x - log values|.

    Args:
        values: float64 (n,), rising.
        weights: float64 (n,), above 0.
    """
    ends = np.cumsum(weights)
    half, slack = ends[-1] / 2, ends[-1] * 1e-12  # weights are rounded: 5 x 1/10 is half of 1
    at = int(np.searchsorted(ends, half - slack))
    beside = min(at + (ends[at] <= half + slack), len(values) - 1)
    return float(values[at] + values[beside]) / 2


def fullest_window(values: Floats, weights: Floats, factor: float) -> float:
    """Return an x, for which most weight has max(x / value, value / x) < factor: the geometric middle of such values.

    Args:
        values: float64 (n,), rising.
        weights: float64 (n,), above 0.
        factor: Above 1.
    """
    ends = np.searchsorted(values, values * factor**2, side="left")  # first value beyond a window that begins at each
    before = np.concatenate([[0.0], np.cumsum(weights)])
    first = int(np.argmax(before[ends] - before[:-1]))
    return math.sqrt(values[first] * values[ends[first] - 1])


@dataclass(frozen=True)
class _Norms:
    """The errors whose mean over images is least: for each image sqrt(mean over pixels of (x[row] - value)^2).

    Attributes:
        share: float64 (N, R), share of each image's pixels in each row; some in each row.
        moments: Of the values.
    """

    share: Floats
    moments: Moments

    def squares(self, profile: Floats) -> Floats:
        """Return the square of each image's error: (N,)."""
        squares: Floats = self.moments.scatter + (self.share * self.errors(profile) ** 2).sum(axis=1)
        return squares

    def errors(self, profile: Floats) -> Floats:
        """Return the mean error of each image's pixels in each row: (N, R)."""
        return profile - self.moments.mean

    def step(self, profile: Floats, pull: Floats) -> Floats:
        """Return the profile that minimises the sum of squares, each times its `pull` (N,)."""
        weight = pull[:, None] * self.share
        means: Floats = (weight * self.moments.mean).sum(axis=0) / weight.sum(axis=0)
        return means


class _Spreads(_Norms):
    """The same for the standard deviation over pixels of x[row] - value."""

    def errors(self, profile: Floats) -> Floats:
        """Return the errors around the mean error of each image."""
        error = profile - self.moments.mean
        around: Floats = error - (self.share * error).sum(axis=1, keepdims=True)
        return around

    def step(self, profile: Floats, pull: Floats) -> Floats:
        """Return a profile that minimises the sum, of all that do the one nearest to `profile`."""
        weight = pull[:, None] * self.share
        normal = np.diag(weight.sum(axis=0)) - weight.T @ self.share  # (R, R); a common offset is in its null space
        slope = (weight * self.errors(profile)).sum(axis=0)
        moved: Floats = profile - np.linalg.lstsq(normal, slope, rcond=None)[0]
        return moved


def least_norms(share: Floats, moments: Moments) -> Floats:
    """Minimise the mean over images of sqrt(mean over pixels of (x[row] - value)^2).

    Args:
        share: float64 (N, R), share of each image's pixels in each row; some in each row.
        moments: Of the values.

    Returns:
        float64 (R,), within the range of the values.
    """
    problem = _Norms(share, moments)
    return _reweight(problem, problem.step(np.zeros(share.shape[1]), np.ones(len(share))))


def least_spreads(share: Floats, moments: Moments, start: Floats) -> Floats:
    """Minimise the mean over images of the standard deviation over pixels of x[row] - value.

    Args:
        share: float64 (N, R), share of each image's pixels in each row; some in each row.
        moments: Of the values.
        start: float64 (R,), where to begin.

    Returns:
        float64 (R,), of which the mean of x[row] - value is 0.
    """
    profile = _reweight(_Spreads(share, moments), start)
    level: Floats = profile - (share * (profile - moments.mean)).sum(axis=1).mean()
    return level


def _reweight(problem: _Norms, profile: Floats) -> Floats:
    """Minimise the mean of sqrt(squares) by steps of least squares, each image weighted by 1 / its last error."""
    found = problem.squares(profile)
    floor, least = _FLOOR * math.sqrt(found.mean()) or 1.0, float(np.sqrt(found).mean())
    for _ in range(_MOST_STEPS):
        changed = problem.step(profile, 1 / np.sqrt(found + floor**2))
        found = problem.squares(changed)
        before, least = least, float(np.sqrt(found).mean())
        if least >= before:
            return profile
        profile = changed
        if before - least <= _LEAST_STEP * before:
            break
    return profile
