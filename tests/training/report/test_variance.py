"""The parts of a variance are those of the two-way layout, computed here by plain loops."""

import numpy as np
import pytest
from scipy import stats

from training.report.variance import Term, rest_term, satterthwaite, scene_term, seed_term

RUNS, SCENES = 5, 4


def table(seed=0, runs=RUNS):
    return np.random.default_rng(seed).normal(0, 1, (runs, SCENES))


def mean_squares(values):
    """MS of runs, scenes and the rest of a two-way layout without repeats."""
    runs, scenes = values.shape
    whole = values.mean()
    by_run = sum(scenes * (row.mean() - whole) ** 2 for row in values)
    by_scene = sum(runs * (column.mean() - whole) ** 2 for column in values.T)
    total = sum((value - whole) ** 2 for value in values.flat)
    return by_run / (runs - 1), by_scene / (scenes - 1), (total - by_run - by_scene) / ((runs - 1) * (scenes - 1))


def test_terms_of_an_arm_are_mean_squares_by_the_number_of_values():
    values = table()
    of_runs, _, of_rest = mean_squares(values)
    for term, expected, df in ((seed_term(values), of_runs, 4), (rest_term(values), of_rest, 12)):
        assert float(term.variance) == pytest.approx(expected / (RUNS * SCENES), rel=1e-12)
        assert term.df == df


def test_the_scene_term_is_the_mean_square_of_the_difference_whatever_scenes_have_in_common():
    first, second = table(0), table(1)
    # Runs are paired here only to have one table of differences: its scene means are those of the arms.
    _, of_scenes, _ = mean_squares(first - second)
    for difficulty in (0.0, 10 * table(2, runs=1)):
        term = scene_term(first + difficulty, second + difficulty)
        assert float(term.variance) == pytest.approx(of_scenes / (RUNS * SCENES), rel=1e-9)
        assert term.df == 3


def test_leading_axes_are_experiments_of_their_own():
    many = np.stack([table(seed) for seed in range(6)]).reshape(2, 3, RUNS, SCENES)
    for compute in (seed_term, rest_term, lambda runs: scene_term(runs, runs[..., ::-1])):
        assert compute(many).variance.shape == (2, 3)
        assert compute(many).variance[1, 2] == pytest.approx(compute(many[1, 2]).variance)


def test_one_run_or_one_scene_leaves_no_variance():
    values = table()
    assert np.isnan(seed_term(values[:1]).variance)
    assert np.isnan(rest_term(values[:1]).variance)
    assert np.isnan(rest_term(values[:, :1]).variance)
    assert np.isnan(scene_term(values[:, :1], values[:, :1]).variance)


def test_degrees_of_freedom_of_two_arms_are_those_of_welch():
    first, second = table(0), 3 * table(1, runs=3)
    terms = seed_term(first), seed_term(second)
    welch = stats.ttest_ind(first.mean(axis=1), second.mean(axis=1), equal_var=False)
    assert float(satterthwaite(terms[0].variance + terms[1].variance, terms)) == pytest.approx(welch.df)


def test_degrees_of_freedom_of_a_difference_and_of_no_variance():
    terms = [Term(variance=np.array([4.0, 0.0]), df=2), Term(variance=np.array([1.0, 0.0]), df=4)]
    found = satterthwaite(np.array([3.0, 0.0]), terms)
    assert found[0] == pytest.approx(3**2 / (4**2 / 2 + 1 / 4))
    assert np.isnan(found[1])
