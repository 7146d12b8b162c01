import errno
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from training.config import CompareConfig, EvaluateConfig
from training.evaluation.baselines import load_or_fit
from training.evaluation.evaluate import run as evaluate
from training.report.check import check_compare
from training.report.compare import run

ROWS = np.repeat(np.array([[32.0], [8.0], [4.0], [2.0]]), 5, axis=1)
ONES = np.ones((4, 5))


@pytest.fixture(scope="module")
def sets(make_set) -> tuple[ShardSet, ShardSet]:
    """Training and validation depth by row: 32, 8, 4, 2 m, and a quarter deeper in one of two validation scenes."""
    return make_set([("00001", ROWS, ONES)]), make_set([("00007", ROWS * 1.25, ONES), ("00008", ROWS, ONES)], "val")


def compare(out: Path, *runs: Path) -> dict:
    config = CompareConfig(runs=tuple(map(str, runs)), out=str(out), num_workers=0, accelerator="cpu")
    return json.loads(json.dumps(run(config).data))


@pytest.fixture(scope="module")
def compared(make_run, sets, tmp_path_factory) -> tuple[dict, str]:
    """What comparing an arm of 4 m and one of 12 m gives: data and page."""
    out = tmp_path_factory.mktemp("compared") / "report.html"
    return compare(out, make_run("four", 4.0, *sets), make_run("twelve", 12.0, *sets)), out.read_text()


def constant_abs_rel(depth_m: float) -> float:
    """abs_rel of a constant on the validation set, by hand."""
    return float(np.mean([np.mean(np.abs(depth_m - truth) / truth) for truth in (ROWS * 1.25, ROWS)]))


def test_arms_and_baselines_have_the_numbers_worked_out_by_hand(compared) -> None:
    contenders = compared[0]["arms"] | compared[0]["baselines"]
    headline = {name: found["metrics"]["headline"]["abs_rel"] for name, found in contenders.items()}
    assert headline["four"] == pytest.approx(constant_abs_rel(4.0), rel=1e-5)
    assert headline["twelve"] == pytest.approx(constant_abs_rel(12.0), rel=1e-5)
    assert headline["constant"] == pytest.approx(constant_abs_rel(2.0), rel=1e-5)  # weights 1/2 to 1/32
    assert headline["row"] == pytest.approx((0.2 + 0.0) / 2, rel=1e-5)
    log10 = contenders["constant"]["metrics"]["headline"]["log10"]
    assert log10 == pytest.approx(np.mean([np.mean(np.abs(np.log10(6.0 / g))) for g in (ROWS * 1.25, ROWS)]), rel=1e-5)


def test_the_verdict_follows_from_the_numbers(compared) -> None:
    data, page = compared
    assert [(s["arm"], s["baseline"], s["relation"]) for s in data["standings"]] == [
        ("four", "constant", "does not beat"), ("four", "row", "does not beat"),
        ("twelve", "constant", "does not beat"), ("twelve", "row", "does not beat"),
    ]  # fmt: skip
    assert "None of the 2 arms beats the constant and the row on log10." in page


def test_the_report_holds_every_number_of_the_run_and_no_other(compared) -> None:
    data, page = compared
    cells = re.findall(r'data-contender="([^"]+)" data-protocol="(\w+)" data-metric="(\w+)" data-value="([^"]+)"', page)
    found = {(name, protocol, metric): float(value) for name, protocol, metric, value in cells}
    expected = {
        (name, protocol, metric): value
        for name, summary in (data["arms"] | data["baselines"]).items()
        for protocol, metrics in summary["metrics"].items()
        for metric, value in metrics.items()
    }
    assert found == expected
    assert len(expected) == 4 * 3 * 10  # edge-cleaned, no pixel of these 4 x 5 images is left


def test_the_report_is_one_file_with_all_pictures(compared) -> None:
    page = compared[1]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count('src="data:image/png;base64,') == 2 * (2 + 2 + 2 * 3)  # two scenes: image, truth, scales, panels


def test_what_was_evaluated_before_is_not_evaluated_again(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("four", 4.0, *sets)
    first = compare(tmp_path / "report.html", folder)
    kept = sorted([*folder.glob("evaluation-*.json"), folder / "baselines.json"])
    before = [file.stat().st_mtime_ns for file in kept]
    assert compare(tmp_path / "report.html", folder) == first
    assert [file.stat().st_mtime_ns for file in kept] == before
    assert len(kept) == 4


@pytest.mark.slow
def test_another_checkpoint_is_evaluated_anew(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("arm", 4.0, *sets)
    before = compare(tmp_path / "report.html", folder)["arms"]["arm"]["metrics"]["headline"]["abs_rel"]
    os.replace(make_run("other", 12.0, *sets) / "checkpoints/last.ckpt", folder / "checkpoints/last.ckpt")
    after = compare(tmp_path / "report.html", folder)["arms"]["arm"]["metrics"]["headline"]["abs_rel"]
    assert (before, after) == pytest.approx((constant_abs_rel(4.0), constant_abs_rel(12.0)), rel=1e-5)


@pytest.mark.slow
def test_each_arm_meets_the_baselines_of_its_own_training_set(make_run, make_set, sets, tmp_path: Path) -> None:
    other = make_set([("00001", ROWS * 2, ONES)])
    data = compare(tmp_path / "report.html", make_run("a", 4.0, *sets), make_run("b", 4.0, other, sets[1]))
    assert [(s["arm"], s["baseline"]) for s in data["standings"]] == [
        ("a", "constant for a"),
        ("a", "row for a"),
        ("b", "constant for b"),
        ("b", "row for b"),
    ]
    assert data["verdict"][0].startswith("The arms were not trained on the same set")
    assert "The arms were not trained on the same set" in (tmp_path / "report.html").read_text()
    assert data["baselines"]["constant for b"]["metrics"]["headline"]["abs_rel"] == pytest.approx(
        constant_abs_rel(4.0), rel=1e-5
    )


def test_runs_validated_on_different_sets_leave_no_report(make_run, sets, tmp_path: Path) -> None:
    train, val = sets
    with pytest.raises(UsageError, match="validated on different sets"):
        compare(tmp_path / "report.html", make_run("a", 4.0, train, val), make_run("b", 4.0, train, train))
    assert not (tmp_path / "report.html").exists()


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


def test_what_a_run_folder_cannot_keep_is_measured_all_the_same(make_run, sets, monkeypatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    folder = make_run("four", 4.0, *sets)
    for module in ("results", "baselines"):
        monkeypatch.setattr(f"training.evaluation.{module}.write_atomically", refuse)
    outcome = evaluate(EvaluateConfig(run=str(folder), set=sets[1].url, num_workers=0, accelerator="cpu"))
    assert outcome.data["metrics"]["headline"]["abs_rel"] == pytest.approx(constant_abs_rel(4.0), rel=1e-5)
    assert (outcome.data["file"], "stored in" in outcome.text, outcome.ok) == (None, False, True)
    fitted = load_or_fit(sets[0], folder / "baselines.json")
    assert fitted.where == sets[0].where
    assert not list(folder.glob("*.json.*")) + list(folder.glob("evaluation*")) + list(folder.glob("baselines*"))


def test_a_validation_set_that_is_not_there_is_told_at_once(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("four", 4.0, *sets)
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"val": "sets/val"}))
    with pytest.raises(UsageError, match=r"config\.yaml, val: sets/val: expected a shard set .* change to that folder"):
        check_compare(CompareConfig(runs=(str(folder),), out=str(tmp_path / "r.html")))
