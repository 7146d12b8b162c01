"""Runs that repeat others, within an arm and between two."""

import shutil
from pathlib import Path

import pytest

from tests.training.report.whole import NEAR, compare


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
