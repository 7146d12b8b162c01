"""Estimates against independent computations, and the properties that a fair comparison has."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sharding.errors import DataError
from training.report.contrast import explain, holm, on_scenes_like_these, on_these_scenes, relation, relations

ESTIMATES = (on_these_scenes, on_scenes_like_these)
NUMBERS = ("ratio", "low", "high", "low90", "high90", "df", "p_value")


def draw_arms(seed=0, runs=(4, 6), scenes=5, effect=0.1, arm_scene=0.1, leading=()):
    """Draw two arms with noise of every kind, in scenes that differ much."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.5, (*leading, 1, scenes))
    first, second = (
        shared
        + random.normal(0, arm_scene, (*leading, 1, scenes))
        + random.normal(0, 0.05, (*leading, count, 1))
        + random.normal(0, 0.05, (*leading, count, scenes))
        for count in runs
    )
    return first - effect, second


def numbers(estimate):
    return np.array([getattr(estimate, name) for name in NUMBERS])


def variance_of(estimate):
    """Recover the variance of the difference from the 95 % interval."""
    half = np.log(estimate.high / estimate.low) / 2
    return (half / stats.t.ppf(0.975, estimate.df)) ** 2


@pytest.mark.parametrize("runs", [(3, 3), (2, 5), (7, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_on_these_scenes_it_is_welch_s_test_of_the_means_of_runs(runs, seed):
    first, second = draw_arms(seed, runs)
    found = on_these_scenes(first, second)
    expected = stats.ttest_ind(first.mean(axis=1), second.mean(axis=1), equal_var=False)
    interval, interval90 = (expected.confidence_interval(level) for level in (0.95, 0.9))
    assert np.log(numbers(found)[:5]) == pytest.approx(
        [first.mean() - second.mean(), *interval, *interval90], abs=1e-12
    )
    assert (found.df, found.p_value) == pytest.approx((expected.df, expected.pvalue), rel=1e-9)


def anova(table):
    """Mean squares of a two-way table (rows: runs, columns: scenes), with loops as in a textbook."""
    runs, scenes = len(table), len(table[0])
    grand = sum(map(sum, table)) / (runs * scenes)
    by_run = [sum(row) / scenes for row in table]
    by_scene = [sum(row[c] for row in table) / runs for c in range(scenes)]
    ms_seed = scenes * sum((one - grand) ** 2 for one in by_run) / (runs - 1)
    ms_scene = runs * sum((one - grand) ** 2 for one in by_scene) / (scenes - 1)
    rest = sum((table[s][c] - by_run[s] - by_scene[c] + grand) ** 2 for s in range(runs) for c in range(scenes))
    return ms_seed, ms_scene, rest / ((runs - 1) * (scenes - 1))


def test_on_scenes_like_these_the_variance_is_that_of_the_anova_of_differences_over_all_pairings():
    first, second = draw_arms(0, (4, 4))
    pairings = [anova((first - second[list(order)]).tolist()) for order in itertools.permutations(range(4))]
    expected = np.mean([seed + scene - rest for seed, scene, rest in pairings]) / (4 * 5)
    assert variance_of(on_scenes_like_these(first, second)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_on_scenes_like_these_unequal_arms_follow_the_mean_squares_of_each(seed):
    first, second = draw_arms(seed, (4, 6))
    (seed_a, _, rest_a), (seed_b, _, rest_b) = anova(first.tolist()), anova(second.tolist())
    scene = np.var(first.mean(axis=0) - second.mean(axis=0), ddof=1) / 5
    terms = [(seed_a / 20, 3), (seed_b / 30, 5), (scene, 4), (-rest_a / 20, 12), (-rest_b / 30, 20)]
    variance = sum(value for value, _ in terms)
    assert variance > max(scene, seed_a / 20 + seed_b / 30)  # else it would be bounded
    df = variance**2 / sum(value**2 / df for value, df in terms)
    found = on_scenes_like_these(first, second)
    assert (variance_of(found), found.df) == pytest.approx((variance, df), rel=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(first.mean() - second.mean()) / variance**0.5, df))


def test_on_scenes_like_these_the_variance_is_never_below_that_of_its_parts():
    first, second = draw_arms(1, (3, 3), scenes=3, arm_scene=0.0, leading=(2000,))
    found = on_scenes_like_these(first, second)
    seeds = variance_of(on_these_scenes(first, second))
    scenes = np.var(first.mean(axis=1) - second.mean(axis=1), axis=-1, ddof=1) / 3
    assert np.all(variance_of(found) > np.maximum(seeds, scenes) * (1 - 1e-9))
    bounded = np.isclose(variance_of(found), seeds) & (seeds > scenes)
    assert 0.05 < bounded.mean() < 0.95  # both happen
    assert found.df[bounded] == pytest.approx(on_these_scenes(first, second).df[bounded])


@pytest.mark.parametrize("estimate", ESTIMATES)
class TestEveryEstimate:
    def test_it_computes_each_experiment_of_the_leading_axes_for_itself(self, estimate):
        first, second = draw_arms(0, leading=(2, 3))
        together = estimate(first, second)
        for at in np.ndindex(2, 3):
            alone = numbers(estimate(first[at], second[at]))
            assert [getattr(together, name)[at] for name in NUMBERS] == pytest.approx(alone, rel=1e-12)

    def test_the_order_of_runs_and_of_scenes_does_not_matter(self, estimate):
        first, second = draw_arms(0)
        random = np.random.default_rng(1)
        scenes = random.permutation(5)
        moved = estimate(random.permutation(first)[:, scenes], random.permutation(second)[:, scenes])
        assert numbers(moved) == pytest.approx(numbers(estimate(first, second)), rel=1e-9)

    def test_what_the_arms_share_in_a_scene_cancels(self, estimate):
        first, second = draw_arms(0)
        easier = np.random.default_rng(1).normal(0, 2, 5)
        assert numbers(estimate(first + easier, second + easier)) == pytest.approx(
            numbers(estimate(first, second)), rel=1e-9
        )

    def test_the_unit_of_the_metric_does_not_matter(self, estimate):
        first, second = draw_arms(0)
        in_cm = estimate(first + math.log(100), second + math.log(100))
        assert numbers(in_cm) == pytest.approx(numbers(estimate(first, second)), rel=1e-9)

    def test_a_power_of_the_metric_is_the_same_evidence(self, estimate):
        first, second = draw_arms(0)
        squared, plain = estimate(2 * first, 2 * second), estimate(first, second)
        assert numbers(squared)[:5] == pytest.approx(numbers(plain)[:5] ** 2, rel=1e-9)
        assert numbers(squared)[5:] == pytest.approx(numbers(plain)[5:], rel=1e-9)

    def test_swapped_arms_have_the_reciprocal(self, estimate):
        first, second = draw_arms(0)
        one, other = estimate(first, second), estimate(second, first)
        assert 1 / numbers(other)[:5] == pytest.approx(numbers(one)[[0, 2, 1, 4, 3]], rel=1e-12)
        assert (other.df, other.p_value) == (one.df, one.p_value)

    def test_swapped_arms_have_the_opposite_relation(self, estimate):
        first, second = draw_arms(0, (3, 5), leading=(500,), effect=0.08, arm_scene=0.02)
        opposite = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}
        one, other = (relations(estimate(*arms), 0.1) for arms in ((first, second), (second, first)))
        assert [opposite[name] for name in one] == other.tolist()
        assert {"better", "undecided"} <= set(one)

    def test_copies_of_a_run_prove_nothing(self, estimate):
        first, second = draw_arms(0)
        copies = np.repeat(first[:1], 3, axis=0)
        for arms in ((copies, np.repeat(first[:1], 7, axis=0)), (copies - 0.5, second), (second, copies - 0.5)):
            found = estimate(*arms)
            assert found.ratio == pytest.approx(math.exp(arms[0].mean() - arms[1].mean()))
            assert np.isnan(numbers(found)[1:]).all()
            assert relation(found, 0.1) == "undecided"
            assert "copies of one run" in explain(found, 0.1)

    @pytest.mark.parametrize("runs", [(1, 5), (2, 5), (5, 2), (1, 1)])
    def test_fewer_than_three_runs_in_an_arm_are_undecided_whatever_they_show(self, estimate, runs):
        first, second = draw_arms(0, runs, effect=5.0)
        found = estimate(first, second)
        assert found.ratio == pytest.approx(math.exp(first.mean() - second.mean()))
        assert relation(found, 0.1) == "undecided"
        assert explain(found, 0.1) == f"an arm has fewer than 3 runs ({runs[0]} and {runs[1]})"

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_values_that_are_not_finite_are_refused_with_their_place(self, estimate, value):
        first, second = draw_arms(0)
        second[1, 2] = value
        with pytest.raises(DataError, match="the second arm, run 2, scene 3: expected a finite logarithm"):
            estimate(first, second)

    def test_arms_of_other_scenes_are_refused(self, estimate):
        with pytest.raises(ValueError, match="same scenes"):
            estimate(np.zeros((3, 1)), np.zeros((3, 4)))


def test_a_single_scene_carries_a_claim_about_itself_only():
    first, second = draw_arms(0, (5, 5), scenes=1, effect=1.0)
    assert relation(on_these_scenes(first, second), 0.1) == "better"
    found = on_scenes_like_these(first, second)
    assert relation(found, 0.1) == "undecided"
    assert explain(found, 0.1) == "there is a single scene"


def estimate_of(ratio, low, high, low90, high90, p_value):
    """Make an estimate with these values."""
    known = on_these_scenes(*draw_arms(0))
    return replace(known, ratio=ratio, low=low, high=high, low90=low90, high90=high90, p_value=np.float64(p_value))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.85, 0.95, 0.86, 0.94, 0.001), "better"),
        ((1.1, 1.05, 1.15, 1.06, 1.14, 0.001), "worse"),
        ((0.99, 0.98, 0.999, 0.981, 0.998, 0.01), "better"),  # a small difference that is certain is one
        ((0.99, 0.93, 1.05, 0.94, 1.04, 0.7), "equivalent"),
        ((0.99, 0.89, 1.09, 0.92, 1.06, 0.7), "equivalent"),  # by the 90 % interval
        ((0.99, 0.85, 1.15, 0.87, 1.13, 0.7), "undecided"),
        ((1.05, 0.99, 1.12, 1.00, 1.11, 0.1), "undecided"),
        ((0.95, 0.89, 1.01, 0.90, 1.00, 0.1), "undecided"),  # 0.90 is below 1 / 1.1
        ((0.8, 0.7, 0.95, 0.72, 0.93, 0.08), "undecided"),  # p adjusted for other contrasts
    ],
)
def test_the_relation_follows_p_value_then_the_90_percent_interval(values, expected):
    assert relation(estimate_of(*values), 0.1) == expected


def test_an_undecided_contrast_says_what_it_lacks():
    text = explain(estimate_of(0.99, 0.85, 1.15, 0.87, 1.13, 0.7), 0.1)
    assert text == (
        "p = 0.7 is not below 0.05, and the 90 % interval of the ratio, 0.870 - 1.130, is not within 0.909 - 1.100"
    )


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x 0.01, 2 x 0.03, and 0.04 raised to that
        ([0.005, 0.011, 0.02, 0.04], [0.02, 0.033, 0.04, 0.04]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, math.nan], [0.04, math.nan]),  # named and not tested: counts
        ([], []),
    ],
)
def test_holm_adjusts_in_steps(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted, nan_ok=True)


def test_holm_never_reverses_the_order_and_adjusts_each_family_for_itself():
    p_values = np.random.default_rng(0).uniform(0, 0.2, (50, 6))
    adjusted = holm(p_values)
    assert np.all(adjusted >= p_values)
    assert np.array_equal(np.argsort(adjusted + 1e-9 * p_values, axis=1), np.argsort(p_values, axis=1))
    assert np.array_equal(adjusted[7], holm(p_values[7]))


def test_it_needs_no_torch():
    code = "import sys, training.report.simulation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
