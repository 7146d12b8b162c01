"""Runs that repeat others, within an arm and between two."""

import shutil
from pathlib import Path

import pytest

from tests.training.report.whole import NEAR, compare
from training.evaluation.results import Evaluation
from training.report.arms.grouping import labels, read_arms
from training.report.arms.run import Run
from training.report.compare import measure_arm


class Measured:
    """Evaluations that are there already, by the name of the run."""

    def __init__(self, evaluations: dict[str, Evaluation]) -> None:
        self._evaluations = evaluations

    def run(self, run: Run, label: str) -> Evaluation:
        return self._evaluations[label]


def test_of_runs_that_repeat_a_seed_and_of_those_that_predict_the_same_the_first_counts(write_run, fabricate) -> None:
    values = {"r-0": 0.2, "again-0": 0.3, "r-1": 0.4, "copy-2": 0.4}
    runs = {name: write_run(name, seed=int(name[-1])) for name in values}
    for run in runs.values():
        (run / "curves.csv").write_text("epoch,samples_seen,train_loss,val_abs_rel\n0,8,1.0,0.5\n")
    (arm,) = read_arms([], [f"x={','.join(map(str, runs.values()))}"])
    found = {name: fabricate(name, {"1_a": value}) for name, value in values.items()}
    result = measure_arm(arm, labels([arm]), Measured(found))
    assert [one.label for one in result.runs] == ["r-0", "r-1"]
    assert result.repeats == ("again-0", "copy-2")
    assert result.mean("headline")["log10"] == pytest.approx(0.3)
    assert result.spread("headline")["log10"] == pytest.approx(0.1 * 2**0.5)


@pytest.mark.slow
def test_copies_of_a_run_count_once(arms, tmp_path: Path) -> None:
    copies = [shutil.copytree(arms[0][0], tmp_path / f"copy-{at}") for at in range(2)]
    data = compare(
        tmp_path / "r.html", arm=(f"a={arms[0][0]},{copies[0]},{copies[1]}", f"b={','.join(map(str, arms[1]))}")
    )
    assert data["contrasts"][0]["these_scenes"]["reason"] == "an arm has fewer than 3 runs (1 and 3)"
    assert any("have the same options and seed 0: repeats" in text for text in data["warnings"])
    (kept,) = data["arms"]["a"]["runs"]
    assert data["arms"]["a"]["repeats"] == ["copy-0", "copy-1"]
    assert data["arms"]["a"]["metrics"]["headline"] == kept["metrics"]["headline"]


@pytest.mark.slow
def test_runs_that_repeat_a_seed_count_once_also_where_their_predictions_differ(make_run, sets, arms, tmp_path) -> None:
    same = [make_run(f"same-{at}", depth, *sets, seed=0, loss="l1_log") for at, depth in enumerate(NEAR)]
    data = compare(tmp_path / "r.html", *same, *arms[1])
    (contrast,) = data["contrasts"]
    assert "fewer than 3 runs (1 and 3)" in contrast["these_scenes"]["reason"]
    assert any("have the same options and seed 0" in text for text in data["warnings"])


@pytest.mark.slow
def test_a_copy_of_a_run_in_another_arm_is_a_warning(arms, tmp_path: Path) -> None:
    near, far = arms
    copy = shutil.copytree(near[0], tmp_path / "copy")
    named = (f"one={','.join(map(str, near))}", f"two={copy},{far[1]},{far[2]}")
    data = compare(tmp_path / "r.html", arm=named)
    assert any(text.startswith("one and two share runs") and "near-0 and copy" in text for text in data["warnings"])
