"""The simulation draws what it says, and the bounds that a comparison must keep to hold in it."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from training.report.contrast import holm, on_these_scenes, relations
from training.report.simulation import (
    MARGIN,
    TRAINING,
    VALIDATION,
    Layout,
    Noise,
    Setting,
    calibrate,
    differing,
    draw,
    false_positives_over_images,
    find_missed,
    simulate,
)

RESULTS = Path(__file__).parents[3] / "docs/results/verdict.md"
QUIET = Noise(run=0.0, run_scene=0.0, run_scan=0.0, run_image=0.0)


def test_the_layouts_are_those_of_diode():
    assert (VALIDATION.scenes, sum(VALIDATION.scans), VALIDATION.views) == (3, 10, 446)
    assert (TRAINING.scenes, sum(TRAINING.scans), TRAINING.views) == (12, 99, 16_884)


def drawn(layout=VALIDATION, folds=1, **changes):
    """Draw 2,000 experiments in which only the named terms vary, as differences of two arms (..., runs, scenes)."""
    noise = Noise(**{"run": 0.0, "run_scene": 0.0, "run_scan": 0.0, "run_image": 0.0, **changes})
    setting = Setting(runs=4, layout=layout, noise=noise, folds=folds)
    first, second = draw(setting, 2000, np.random.default_rng(0))
    return first - second


@pytest.mark.parametrize(
    ("noise", "by_run", "by_scene", "by_both"),
    [
        ({"run": 0.1}, 0.1, 0.0, 0.0),
        ({"arm_scene": 0.1}, 0.0, 0.1, 0.0),
        ({"run_scene": 0.1}, 0.1, 0.1, 0.1),
    ],
)
def test_each_term_varies_over_its_own_units(noise, by_run, by_scene, by_both):
    values = drawn(**noise)
    spreads = [
        np.sqrt(values[:, :, 0].var(axis=1, ddof=1).mean() / 2),
        np.sqrt(values[:, 0, :].var(axis=1, ddof=1).mean() / 2),
        # The difference of differences, in which what a run or a scene has alone cancels.
        np.sqrt((values[:, 0, 0] - values[:, 1, 0] - values[:, 0, 1] + values[:, 1, 1]).var() / 8),
    ]
    assert spreads == pytest.approx([by_run, by_scene, by_both], rel=0.05, abs=1e-9)


def test_each_fold_of_a_run_has_a_noise_of_its_own_which_its_scenes_share():
    values = drawn(TRAINING, folds=4, run=0.1)
    assert values[..., :4].std() / 2**0.5 == pytest.approx(0.1, rel=0.05)
    assert np.abs(np.corrcoef(values[:, 0, :4], rowvar=False) - np.eye(4)).max() < 0.1
    for fold in range(4):
        assert np.ptp(values[..., fold::4], axis=-1) == pytest.approx(0, abs=1e-9)


def test_independent_folds_find_more_and_err_no_more():
    def find(folds, effect):
        noise = Noise(arm_scene=0.05)
        setting = Setting(runs=3, layout=TRAINING, noise=noise, effect=effect, folds=folds)
        return simulate(setting, 800, 0).scenes_like_these[1]

    assert find(4, 0.1)["better"] > find(1, 0.1)["better"] + 0.2
    assert differing(find(4, 0.0)) <= 0.075


def test_noise_of_scans_and_views_is_averaged_over_those_of_a_scene():
    assert drawn(run_scan=0.1).std(axis=(0, 1)) / 2**0.5 == pytest.approx(0.1 / np.sqrt([5, 3, 2]), rel=0.05)
    views = 446 * np.array([5, 3, 2]) / 10
    assert drawn(run_image=0.1).std(axis=(0, 1)) / 2**0.5 == pytest.approx(0.1 / np.sqrt(views), rel=0.05)


def test_the_effect_is_how_far_arm_a_is_below_arm_b_and_scenes_are_shared():
    setting = Setting(runs=3, layout=VALIDATION, noise=QUIET, effect=0.1)
    first, second = draw(setting, 5, np.random.default_rng(0))
    assert second - first == pytest.approx(0.1)
    assert first.std(axis=2).min() > 0.01


def test_a_row_does_not_depend_on_what_else_is_simulated():
    setting = Setting(runs=3, layout=VALIDATION)
    assert simulate(setting, 50, 0) == simulate(setting, 50, 0)
    assert simulate(setting, 50, 0) != simulate(setting, 50, 1)


@pytest.mark.parametrize("effect", [0.0, 0.2])
def test_shares_are_of_all_experiments(effect):
    row = simulate(Setting(runs=5, layout=VALIDATION, effect=effect), 300, 0)
    for by_contrasts in (row.these_scenes, row.scenes_like_these):
        alone, of_six = by_contrasts[1], by_contrasts[6]
        assert sum(alone.values()) == pytest.approx(1)
        assert sum(of_six.values()) == pytest.approx(1)
        assert (differing(alone) > 0.5) == (effect > 0)
        assert alone["better"] > 0.5 or not effect


def test_a_contrast_of_six_is_judged_as_holm_judges_the_one_with_the_least_p_value():
    setting = Setting(runs=5, layout=VALIDATION, effect=0.1)
    estimate = on_these_scenes(*draw(setting, 100, setting.generator(0)))
    others = np.ones((100, 5))
    adjusted = holm(np.column_stack([estimate.p_value, others]))[:, 0]
    found = relations(dataclasses.replace(estimate, p_value=adjusted), MARGIN)
    assert simulate(setting, 100, 0).these_scenes[6]["better"] == np.mean(found == "better")
    assert 0 < np.mean(found == "better") < 1


def test_a_few_hundred_experiments_find_hardly_a_difference_between_arms_that_are_the_same():
    for setting in (Setting(runs=3, layout=VALIDATION), Setting(runs=5, layout=TRAINING)):
        row = simulate(setting, 800, 0)
        assert 0 < differing(row.these_scenes[1]) <= 0.075  # 0.05 and three standard errors
        assert differing(row.scenes_like_these[1]) <= 0.075


def test_images_as_units_find_a_difference_between_runs_of_one_arm_most_of_the_time():
    assert false_positives_over_images(VALIDATION, Noise(), 400, 0) > 0.6
    independent = Noise(run=0.0, run_scene=0.0, run_scan=0.0)
    assert false_positives_over_images(VALIDATION, independent, 400, 0) < 0.09


def test_4000_experiments_keep_to_every_bound_and_are_what_the_results_say():
    shares = calibrate(4000, 0)
    assert find_missed(shares) == []
    for name, found in shares.items():
        (recorded,) = re.findall(rf'^"{name}": (.*)$', RESULTS.read_text(), re.MULTILINE)
        assert json.loads(recorded) == pytest.approx(found, abs=0.001)


@pytest.mark.slow
def test_settings_beside_those_of_the_program_give_what_the_results_say(capsys):
    (code, printed) = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", RESULTS.read_text(), re.DOTALL).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_what_misses_a_bound_is_named():
    kept = {"3x3": 0.06}
    shares = {
        "aa_these_scenes": kept,
        "aa_scenes_like_these": kept | {"5x12": 0.0601},
        "aa_scenes_like_these_arm_scene_10": {"3x3": 0.09},
        "power_10_5x12": 0.5,
    }
    assert find_missed(shares) == [
        "aa_scenes_like_these 5x12: 0.0601, above 0.06",
        "aa_scenes_like_these_arm_scene_10 3x3: 0.0900, above 0.08",
        "power_10_5x12: 0.5000, below 0.75",
    ]
    assert find_missed({name: kept for name in shares if name.startswith("aa")} | {"power_10_5x12": 0.75}) == []


def test_a_layout_of_one_scene_is_judged_on_that_scene_only():
    row = simulate(Setting(runs=5, layout=Layout(scans=(4,), views=100), effect=0.5), 20, 0)
    assert row.these_scenes[1]["better"] == 1
    assert row.scenes_like_these[1]["undecided"] == 1
