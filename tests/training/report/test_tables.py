"""Tables of a report: every cell has the exact value, and marks what a reader sees as the best."""

from dataclasses import replace
from typing import Any

import pytest

from training.report.comparison import Comparison
from training.report.tables import (
    config_rows,
    cost_rows,
    full_table,
    hours,
    mean_text,
    run_table,
    scene_table,
    spread_text,
    standing_table,
    summary_table,
)

CONSTANT, ROW = {"1_a": 0.5, "1_b": 0.7, "2_a": 0.4}, {"1_a": 0.1, "1_b": 0.2, "2_a": 0.25}
NEAR = [{"1_a": 0.2, "1_b": 0.4, "2_a": 0.3}, {"1_a": 0.1, "1_b": 0.3, "2_a": 0.2}]


@pytest.fixture(scope="module")
def comparison(fabricate_comparison) -> Comparison:
    """An arm of two runs whose log10 is 0.3 and 0.2, one of one run that equals the constant, and two baselines."""
    return fabricate_comparison({"near": NEAR, "far": [CONSTANT]}, {"constant": CONSTANT, "row": ROW})


def looks(comparison: Comparison) -> list[dict[str, Any]]:
    return [{"name": one.name} for one in comparison.contenders()]


def changed(comparison: Comparison, **facts: Any) -> Comparison:
    """Return a comparison whose first run of the first arm recorded something else."""
    arm = comparison.arms[0]
    first = arm.runs[0]
    run = replace(first.run, facts=type(first.run.facts)(**facts, train=first.run.facts.train, val=first.run.facts.val))
    arms = (replace(arm, runs=(replace(first, run=run), *arm.runs[1:])), *comparison.arms[1:])
    return replace(comparison, arms=arms)


def test_a_cell_has_the_exact_mean_and_the_spread_over_runs(comparison: Comparison) -> None:
    table = full_table(comparison, looks(comparison), "headline")
    log10 = {row["name"]: next(one for one in row["cells"] if one["metric"] == "log10") for row in table["rows"]}
    assert float(log10["near"]["exact"]) == pytest.approx(0.25)
    assert {name: (one["text"], one["spread"]) for name, one in log10.items()} == {
        "near": ("0.250", "0.071"), "far": ("0.533", ""), "constant": ("0.533", ""), "row": ("0.183", "")
    }  # fmt: skip
    assert [name for name, one in log10.items() if one["best"]] == ["row"]
    assert table["counted"] == f"3 of {comparison.val.images} images counted."


def test_values_that_print_alike_are_all_the_best_or_none(comparison: Comparison) -> None:
    table = scene_table(comparison, "log10")
    assert [(row["scene"], row["images"]) for row in table["rows"]] == [("1", 2), ("2", 1)]
    best = [[one["contender"] for one in row["cells"] if one["best"]] for row in table["rows"]]
    assert best == [["row"], ["near", "row"]]  # scene 2: both 0.250
    alone = replace(comparison, arms=comparison.arms[1:], baselines=comparison.baselines[:1])
    assert not any(one["best"] for row in scene_table(alone, "log10")["rows"] for one in row["cells"])


def test_a_share_is_best_where_it_is_highest(comparison: Comparison) -> None:
    table = summary_table(comparison, looks(comparison))
    shares = [one for row in table["rows"] for cells in row["groups"] for one in cells if one["metric"] == "delta1"]
    best = [one for one in shares if one["best"] and one["protocol"] == "headline"]
    assert [float(one["exact"]) for one in best] == [max(float(one["exact"]) for one in shares)]
    assert table["columns"] == 1 + len([one for cells in table["rows"][0]["groups"] for one in cells])


def test_runs_are_listed_with_seed_epochs_and_cost(comparison: Comparison) -> None:
    rows = run_table(changed(comparison, epochs=1), looks(comparison))["rows"]
    assert [(row["arm"], row["run"], row["seed"], row["epochs"], row["hours"], row["device"]) for row in rows] == [
        ("near", "near-0", 0, "1 of 2", "unknown", "unknown"),
        ("near", "near-1", 1, "2 of 2", "1 h", "1 x cpu"),
        ("far", "far-0", 0, "2 of 2", "1 h", "1 x cpu"),
    ]


def test_the_cost_of_an_arm_is_that_of_all_its_runs_and_unknown_if_one_is(comparison: Comparison) -> None:
    costs = [(row["name"], row["runs"], row["total"], row["each"]) for row in cost_rows(comparison)]
    assert costs == [("near", "2", "2 h", "1 h"), ("far", "1", "1 h", "1 h")]
    lost = cost_rows(changed(comparison, epochs=2))[0]
    assert (lost["total"], lost["each"], lost["devices"]) == ("unknown", "unknown", "unknown, 1 x cpu")
    resumed = changed(comparison, seconds=3600.0, device_seconds=10800.0, device="cpu")
    assert cost_rows(resumed)[0]["total"] == "4 h"
    assert [hours(value) for value in (None, 0.01234, 12.0)] == ["unknown", "0.0123 h", "12 h"]


def test_the_options_that_differ_come_first_and_are_those_of_the_factors(comparison: Comparison) -> None:
    rows = config_rows(replace(comparison, differing=("epochs", "encoder")))
    assert [(row["name"], row["differs"]) for row in rows[:3]] == [
        ("encoder", True), ("epochs", True), ("encoder_name", False)
    ]  # fmt: skip
    cells = {row["name"]: row["cells"] for row in rows}
    assert (cells["encoder"], cells["seed"]) == (["near", "far"], ["0, 1", "0"])
    assert not any(row["differs"] for row in config_rows(replace(comparison, differing=())))


def test_standings_count_the_runs_that_are_better_scene_by_scene(comparison: Comparison) -> None:
    rows = {(row["arm"], row["baseline"]): (row["all"], row["scenes"]) for row in standing_table(comparison)}
    assert rows["near", "constant"] == ("2 of 2", ["2 of 2", "2 of 2"])
    assert rows["near", "row"] == ("0 of 2", ["0 of 2", "1 of 2"])
    assert rows["far", "constant"] == ("0 of 1", ["0 of 1", "0 of 1"])


def test_means_are_printed_with_their_spread(comparison: Comparison) -> None:
    assert [mean_text(arm, "headline") for arm in comparison.arms] == ["0.250 ± 0.071", "0.533"]
    assert [spread_text(value, 3) for value in (0.1234, 0.0004, 0.00052, 0.0)] == ["0.123", "0.0004", "0.001", "0.000"]
