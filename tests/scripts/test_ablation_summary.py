"""Arms over their seeds: spreads, cost, and the bounds that the arm `long` is held against."""

import math

import pytest
from learning_bench.summary import BOUNDS, SHOWN, find_missed, format_arms, spread, summarize

from tests.scripts.ablation_runs import make_run

BASELINES = {"constant": dict.fromkeys(SHOWN, 8.0), "row": dict.fromkeys(SHOWN, 4.0)}


def test_an_arm_is_summarized_over_its_seeds():
    runs = {
        f"{arm}-{seed}": make_run(f"{arm}-{seed}", value + seed, seconds=10.0 * (value + seed))
        for arm, value in (("mse", 5.0), ("ours", 1.0))
        for seed in (0, 1, 2)
    }
    found = summarize(runs, BASELINES)
    assert list(found) == ["ours", "mse"]
    assert found["ours"]["metrics"]["log10"] == {"mean": 2.0, "least": 1.0, "most": 3.0}
    assert found["ours"]["over_row"]["rmse"] == 0.5
    assert found["mse"]["metrics"]["silog"]["mean"] == 6.0
    assert found["ours"]["runs"] == 3
    assert found["mse"]["seconds"] == {"mean": 60.0, "least": 50.0, "most": 70.0}
    assert (found["ours"]["seconds_over_ours"], found["mse"]["seconds_over_ours"]) == (1.0, 3.0)


def test_cost_is_over_the_runs_of_ours_and_none_without_them():
    found = summarize({"mse-0": make_run("mse-0")}, BASELINES)
    assert found["mse"]["seconds_over_ours"] is None
    assert format_arms(found, BASELINES).splitlines()[1].endswith("10 (10 - 10)" + " " * 11)


def test_a_run_that_diverged_leaves_no_mean():
    for lost in (None, math.nan):
        assert all(map(math.isnan, spread([1.0, lost, 2.0]).values()))
        assert all(map(math.isnan, spread([lost, 1.0]).values()))


def long_runs(count=3, **ratios):
    """The arm `long`, whose metrics are these over the row baseline's, or half of it."""
    runs = {f"long-{seed}": make_run(f"long-{seed}", 2.0) for seed in range(count)}
    for run in runs.values():
        run["metrics"] |= {name: 4.0 * ratio for name, ratio in ratios.items()}
    return summarize(runs, BASELINES)


def test_bounds_that_are_met_are_not_missed():
    assert find_missed(long_runs()) == []
    assert find_missed(long_runs(log10=0.6, abs_rel=0.7, rmse=0.999, silog=0.999)) == []
    assert find_missed(long_runs(delta1=9.0)) == []


@pytest.mark.parametrize(
    ("metric", "ratio", "said"),
    [
        ("log10", 0.61, "expected at most 0.6, found 0.6100"),
        ("abs_rel", 0.71, "expected at most 0.7, found 0.7100"),
        ("rmse", 1.0, "expected below 1.0, found 1.0000"),
        ("silog", 1.0, "expected below 1.0, found 1.0000"),
        ("rmse", math.nan, "expected below 1.0, found nan"),
    ],
)
def test_a_bound_that_is_not_met_is_named(metric, ratio, said):
    assert find_missed(long_runs(**{metric: ratio})) == [f"long: {metric} over the row baseline: {said}"]


def test_fewer_than_three_runs_are_not_enough():
    assert find_missed(long_runs(2)) == ["long: expected the mean of at least 3 runs, found 2"]


def test_an_arm_without_runs_is_held_against_nothing():
    assert find_missed(summarize({"ours-0": make_run("ours-0", 99.0)}, BASELINES)) == []
    assert set(BOUNDS) == {"long"}


def test_the_table_has_metrics_cost_and_what_is_missed():
    runs = {
        "long-0": make_run("long-0", 2.0, seconds=1000.0),
        "long-1": make_run("long-1", 3.0, seconds=3000.0),
        "ours-0": make_run("ours-0", 3.0, seconds=500.0),
    }
    head, long, ours, constant, row, missed = format_arms(summarize(runs, BASELINES), BASELINES, ["the bound"]).split(
        "\n"
    )
    assert head.split() == ["arm", "runs", *SHOWN, "seconds", "over", "ours"]
    assert long.split()[:2] == ["long", "2"]
    assert "2.500 (2.000 - 3.000)" in long
    assert long.endswith("2000 (1000 - 3000)       4.00")
    assert ours.endswith("500 (500 - 500)       1.00")
    assert len({len(line) for line in (head, long, ours)}) == 1
    assert (constant.split(), row.split()) == (["constant", *["8.000"] * 5], ["row", *["4.000"] * 5])
    assert missed == "Missed: the bound"
