"""`depthstream evaluate` on run folders whose networks predict one depth everywhere."""

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from sharding.reading.shard_set import ShardSet
from training.baselines.fitted import load_or_fit
from training.config import EvaluateConfig
from training.evaluation.evaluate import run as evaluate

ROWS = np.repeat(np.array([[32.0], [8.0], [4.0], [2.0]]), 5, axis=1)
ONES = np.ones((4, 5))


@pytest.fixture(scope="module")
def sets(make_set) -> tuple[ShardSet, ShardSet]:
    """Training and validation depth by row: 32, 8, 4, 2 m, and a quarter deeper in one of two validation scenes."""
    return make_set([("00001", ROWS, ONES)]), make_set([("00007", ROWS * 1.25, ONES), ("00008", ROWS, ONES)], "val")


def constant_abs_rel(depth_m: float) -> float:
    """abs_rel of a constant on the validation set, by hand."""
    return float(np.mean([np.mean(np.abs(depth_m - truth) / truth) for truth in (ROWS * 1.25, ROWS)]))


def test_evaluate_measures_a_run_and_keeps_it_in_its_folder(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("four", 4.0, *sets)
    outcome = evaluate(EvaluateConfig(run=str(folder), set=sets[1].url, num_workers=0, accelerator="cpu"))
    assert outcome.data["metrics"]["headline"]["abs_rel"] == pytest.approx(constant_abs_rel(4.0), rel=1e-5)
    assert outcome.data["metrics"]["headline"]["log10"] == pytest.approx(
        np.mean([np.mean(np.abs(np.log10(4.0 / truth))) for truth in (ROWS * 1.25, ROWS)]), rel=1e-5
    )
    kept = json.loads((folder / "evaluation-diode-val-last.json").read_text())
    assert kept["set"]["identity"] == sets[1].manifest.identity
    assert kept["metrics"] == outcome.data["metrics"]
    assert math.isclose(kept["scenes"]["headline"]["00008"]["abs_rel"], np.mean(np.abs(4 - ROWS) / ROWS), rel_tol=1e-5)
    assert "00008" in outcome.text


@pytest.mark.slow
def test_what_a_run_folder_cannot_keep_is_measured_all_the_same(make_run, sets, monkeypatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    folder = make_run("four", 4.0, *sets)
    for module in ("evaluation.results", "baselines.fitted"):
        monkeypatch.setattr(f"training.{module}.write_atomically", refuse)
    outcome = evaluate(EvaluateConfig(run=str(folder), set=sets[1].url, num_workers=0, accelerator="cpu"))
    assert outcome.data["metrics"]["headline"]["abs_rel"] == pytest.approx(constant_abs_rel(4.0), rel=1e-5)
    assert (outcome.data["file"], "stored in" in outcome.text, outcome.ok) == (None, False, True)
    fitted = load_or_fit(sets[0], folder / "baselines.json")
    assert fitted.where == sets[0].where
    assert not list(folder.glob("*.json.*")) + list(folder.glob("evaluation*")) + list(folder.glob("baselines*"))
