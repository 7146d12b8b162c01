"""Each fit against a brute-force search of the exact objective, over small sets whose bins hold one depth each."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from training.baselines.depth_sums import NUM_BINS, DepthSummation, DepthSums, profile_rows
from training.baselines.fits import fit_profiles, fullest_window, least_norms, weighted_median
from training.baselines.fitted import RowBaseline
from training.metrics.image_metrics import image_metrics
from training.metrics.protocols import METRICS, PROTOCOLS

Map = tuple[np.ndarray, np.ndarray]
"""Depth float32 (H, W) and valid bool (H, W)."""

BY_PIXEL = ("abs_rel", "sq_rel", "mae", "log10", "delta1", "delta2", "delta3")
BY_IMAGE = ("rmse", "rmse_log", "silog")
GRID = np.geomspace(0.6, 350, 20001)


def errors(metric: str, p: np.ndarray, g: np.ndarray) -> float:
    """The metric of one image, by its formula, lower is better: of a delta what it lacks to 1."""
    e = np.log(p) - np.log(g)
    return float(
        {
            "abs_rel": lambda: np.mean(np.abs(p - g) / g),
            "sq_rel": lambda: np.mean((p - g) ** 2 / g),
            "mae": lambda: np.mean(np.abs(p - g)),
            "rmse": lambda: np.sqrt(np.mean((p - g) ** 2)),
            "rmse_log": lambda: np.sqrt(np.mean(e**2)),
            "log10": lambda: np.mean(np.abs(e)) / np.log(10),
            "silog": lambda: 100 * np.sqrt(max(np.mean((e - e.mean()) ** 2), 0)),
            **{f"delta{k}": lambda k=k: np.mean(np.maximum(p / g, g / p) >= 1.25**k) for k in (1, 2, 3)},
        }[metric]()
    )


def objective(metric: str, profile: np.ndarray, maps: list[Map]) -> float:
    """The mean over images, the profile taken by relative height."""
    return float(
        np.mean(
            [
                errors(
                    metric,
                    np.repeat(profile[profile_rows(len(depth), len(profile))][:, None], depth.shape[1], 1)[valid],
                    depth[valid].astype(np.float64),
                )
                for depth, valid in maps
            ]
        )
    )


def summed(maps: list[Map], rows: int) -> DepthSums:
    summation = DepthSummation(rows)
    for depth, valid in maps:
        summation.add(depth, valid)
    return summation.sums()


def draw_maps(seed: int, heights: tuple[int, ...] = (4, 4, 4, 4), step: float = 0.01) -> list[Map]:
    """Maps of different scales, their depths on a geometric ladder, about a third of their pixels invalid."""
    dice = np.random.default_rng(seed)
    maps = []
    for height in heights:
        log = dice.normal(1.5, 1.0) + np.linspace(1, -1, height)[:, None] + dice.normal(0, 0.7, (height, 6))
        depth = np.exp(np.round(log.clip(-0.4, 5.8) / step) * step).astype(np.float32)
        valid = dice.random(depth.shape) < 0.7
        maps.append((np.where(valid, depth, np.float32(np.nan)), valid))
    return maps


def least_constant(metric: str, maps: list[Map]) -> float:
    """The least value over a dense grid, all depths, and the middles between pairs of them."""
    seen = np.unique(np.concatenate([depth[valid] for depth, valid in maps]).astype(np.float64))
    pairs = np.sqrt(seen[:, None] * seen[None, :]).ravel()
    return min(
        objective(metric, np.array([x]), maps) for x in (*GRID[::100], *seen, *pairs[:: max(1, len(pairs) // 200)])
    )


def least_profile(metric: str, maps: list[Map], rows: int) -> float:
    """The least value over profiles: of convex objectives by L-BFGS from several starts."""

    def value(log_profile: np.ndarray) -> float:
        return objective(metric, np.exp(log_profile), maps)

    dice = np.random.default_rng(0)
    starts = [np.full(rows, 1.5), dice.normal(1.5, 0.5, rows), dice.normal(1.5, 0.5, rows)]
    return min(minimize(value, start, method="L-BFGS-B", options={"ftol": 1e-14}).fun for start in starts)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("metric", METRICS)
def test_no_constant_is_better_than_the_fitted_one(metric: str, seed: int) -> None:
    maps = draw_maps(seed)
    fitted = fit_profiles(summed(maps, 4).as_one_row())[metric]
    assert fitted.shape == (1,)
    assert objective(metric, fitted, maps) <= least_constant(metric, maps) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("metric", BY_PIXEL)
def test_no_value_of_any_row_is_better_than_the_fitted_one(metric: str) -> None:
    maps = draw_maps(2)
    fitted = fit_profiles(summed(maps, 4))[metric]
    best = objective(metric, fitted, maps)
    for row in range(4):
        for value in GRID[::120]:
            other = fitted.copy()
            other[row] = value
            assert best <= objective(metric, other, maps) + 1e-12


@pytest.mark.parametrize("metric", BY_IMAGE)
@pytest.mark.parametrize("seed", [3, 4])
def test_no_profile_is_better_than_the_fitted_one(metric: str, seed: int) -> None:
    maps = draw_maps(seed)
    fitted = fit_profiles(summed(maps, 4))[metric]
    assert objective(metric, fitted, maps) <= least_profile(metric, maps, 4) * (1 + 1e-9)


def test_heights_that_differ_are_joined_by_relative_height() -> None:
    maps = draw_maps(5, heights=(4, 8, 6, 3))
    fitted = fit_profiles(summed(maps, 4))
    for metric in BY_IMAGE:
        assert objective(metric, fitted[metric], maps) <= least_profile(metric, maps, 4) * (1 + 1e-9)
    best = objective("log10", fitted["log10"], maps)
    for row in range(4):
        for factor in (0.5, 0.97, 1.03, 2.0):
            other = fitted["log10"].copy()
            other[row] *= factor
            assert best <= objective("log10", other, maps)


@pytest.mark.parametrize("metric", METRICS)
def test_depths_that_share_a_bin_cost_less_than_its_width(metric: str) -> None:
    maps = draw_maps(6, step=1e-9)
    fitted = fit_profiles(summed(maps, 4).as_one_row())[metric]
    slack = 2 / 24 if metric.startswith("delta") else 1e-3  # of a delta: the pixels of the two outermost bins
    assert objective(metric, fitted, maps) <= least_constant(metric, maps) * (1 + slack) + slack * metric.startswith(
        "d"
    )


@pytest.mark.parametrize("metric", METRICS)
def test_the_fit_is_no_worse_than_the_pooled_median_and_the_mean_log_of_rows(metric: str) -> None:
    maps = draw_maps(7)
    pixels = np.concatenate([depth[valid] for depth, valid in maps])
    log = np.stack([np.where(valid, np.log(depth), np.nan) for depth, valid in maps])
    sums = summed(maps, 4)
    old_constant, old_rows = np.array([np.median(pixels)]), np.exp(np.nanmean(log, axis=(0, 2)))
    for old, new in ((old_constant, fit_profiles(sums.as_one_row())), (old_rows, fit_profiles(sums))):
        assert objective(metric, new[metric], maps) <= objective(metric, old, maps) * (1 + 1e-9)


def test_the_objective_is_what_the_metrics_measure() -> None:
    maps = draw_maps(8)
    for metric, profile in fit_profiles(summed(maps, 4)).items():
        baseline = RowBaseline(depth_m=tuple(profile))
        found = []
        for depth, valid in maps:
            truth, known = torch.from_numpy(depth)[None, None], torch.from_numpy(valid)[None, None]
            values, _ = image_metrics(baseline.predict_depth(truth), truth, known, PROTOCOLS["headline"])
            found.append(float(values[0, METRICS.index(metric)]))
        lacks = (lambda x: 1 - x) if metric.startswith("delta") else (lambda x: x)
        assert lacks(np.mean(found)) == pytest.approx(objective(metric, profile, maps), rel=1e-5, abs=1e-6)


def test_every_image_weighs_the_same() -> None:
    """30 pixels of 2 m against twice 10 pixels of 8 m: by pixels 2 m would be the median, by images it is 8 m."""
    full, few = np.ones((5, 6), bool), np.zeros((5, 6), bool)
    few[:, :2] = True
    two, eight = (np.full((5, 6), depth, np.float32) for depth in (2, 8))
    assert fit_profiles(summed([(two, full), (eight, few), (eight, few)], 1))["mae"].tolist() == [8.0]


def test_truth_out_of_range_and_images_with_too_few_pixels_do_not_count() -> None:
    depth = np.full((5, 6), 4.0, np.float32)
    depth[0], depth[1] = 0.5, 351
    few = np.zeros((5, 6), bool)
    few.flat[:9] = True
    sums = summed([(depth, np.ones((5, 6), bool)), (np.full((5, 6), 9.0, np.float32), few)], 1)
    assert (sums.num_images, sums.num_pixels) == (1, 18)
    assert [float(profile[0]) for profile in fit_profiles(sums).values()] == pytest.approx([4.0] * 10)


def test_the_ends_of_the_range_have_bins() -> None:
    depth = np.array([[0.6] * 6, [350] * 6], np.float32)
    sums = summed([(depth, np.ones((2, 6), bool))], 2)
    assert sums.weight.sum() == pytest.approx(1)
    assert sums.weight[0, 0] == pytest.approx(0.5)
    assert sums.weight[1, NUM_BINS - 1] == pytest.approx(0.5)


def test_a_row_without_a_pixel_takes_the_nearest_that_has_some() -> None:
    depth, valid = np.full((5, 10), 2.0, np.float32), np.zeros((5, 10), bool)
    depth[3], valid[[1, 3]] = 32, True
    for profile in fit_profiles(summed([(depth, valid)], 5)).values():
        assert profile[[0, 1, 2]] == pytest.approx(profile[1])  # the middle row lies between: the upper one
        assert profile[4] == profile[3]


def test_silog_of_a_profile_forgives_the_scale_of_each_image() -> None:
    shape = np.geomspace(8, 1, 4).astype(np.float32)[:, None] * np.ones((4, 5), np.float32)
    maps = [(shape * scale, np.ones((4, 5), bool)) for scale in (1, 2, 16)]
    fitted = fit_profiles(summed(maps, 4))["silog"]
    assert objective("silog", fitted, maps) == pytest.approx(0, abs=1e-4)
    errors_of_log = [np.log(fitted[:, None]) - np.log(depth) for depth, _ in maps]
    assert np.mean(errors_of_log) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("depths", [(2.0, 3.0, 8.0), (2.0, 2.0, 8.0), (5.0,), (2.0, 8.0)])
def test_images_of_one_depth_each_are_met_by_their_middle(depths: tuple[float, ...]) -> None:
    """The error has a corner at every depth, where no derivative vanishes."""
    maps = [(np.full((2, 5), depth, np.float32), np.ones((2, 5), bool)) for depth in depths]
    fitted = fit_profiles(summed(maps, 1))
    for metric in ("rmse", "rmse_log"):
        assert objective(metric, fitted[metric], maps) <= least_constant(metric, maps) * (1 + 1e-5) + 1e-6


def test_the_order_of_the_images_changes_no_more_than_rounding() -> None:
    maps = draw_maps(9)
    one, other = fit_profiles(summed(maps, 4)), fit_profiles(summed(maps[::-1], 4))
    for metric in METRICS:
        assert other[metric] == pytest.approx(one[metric], rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "expected"), [([1, 1, 1], 2.0), ([1, 1, 5], 8.0), ([1, 1, 2], 5.0), ([4, 1, 1], 1.0)]
)
def test_a_weighted_median(weights: list[float], expected: float) -> None:
    assert weighted_median(np.array([1.0, 2.0, 8.0]), np.array(weights, float) / 10) == expected


def test_a_window_is_open_at_both_ends() -> None:
    values, one = np.array([1.0, 4.0]), np.ones(2)
    assert fullest_window(values, one, 2.0) == 1.0  # 4 / 1 is not below 2^2
    assert fullest_window(values, one, 2.0001) == 2.0
    assert fullest_window(values, np.array([1.0, 1.5]), 2.0) == 4.0


def test_the_gradient_of_the_norms_of_many_images_vanishes() -> None:
    sums = summed(draw_maps(10, heights=(4,) * 300), 4)
    one = least_norms(sums.share, sums.log)
    gradient = sums.share * (one - sums.log.mean)
    norms = np.sqrt(sums.log.scatter + (gradient * (one - sums.log.mean)).sum(axis=1))
    assert np.abs((gradient / norms[:, None]).mean(axis=0)).max() < 1e-5
