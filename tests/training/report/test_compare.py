"""Whole comparisons of run folders whose networks predict one depth everywhere, with values worked out by hand."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.whole import FAR, NEAR, TRUTH, compare, log10_of, logs_of
from training.report.contrast import on_scenes_like_these, on_these_scenes


@pytest.fixture(scope="module")
def compared(arms, tmp_path_factory) -> tuple[dict, str]:
    """What comparing both arms gives: data and page."""
    out = tmp_path_factory.mktemp("compared") / "report.html"
    return compare(out, *arms[0], *arms[1]), out.read_text()


def test_runs_are_grouped_and_measured(compared) -> None:
    arms = compared[0]["arms"]
    assert list(arms) == ["near", "far"]
    for name, depths in (("near", NEAR), ("far", FAR)):
        values = [float(np.mean(list(log10_of(depth).values()))) for depth in depths]
        runs = arms[name]["runs"]
        assert [one["seed"] for one in runs] == [0, 1, 2]
        assert [one["metrics"]["headline"]["log10"] for one in runs] == pytest.approx(values, rel=1e-5)
        assert arms[name]["metrics"]["headline"]["log10"] == pytest.approx(np.mean(values), rel=1e-5)
        assert arms[name]["spread"]["headline"]["log10"] == pytest.approx(np.std(values, ddof=1), rel=1e-4)
        assert Path(runs[0]["folder"]).name == f"{name}-0"


def test_contrasts_are_those_of_the_log_scene_means(compared) -> None:
    data = compared[0]
    (contrast,) = data["contrasts"]
    assert (contrast["a"], contrast["b"], contrast["metric"], data["margin"]) == ("near", "far", "log10", 0.1)
    for kind, estimate in (("these_scenes", on_these_scenes), ("scenes_like_these", on_scenes_like_these)):
        expected, found = estimate(logs_of(NEAR), logs_of(FAR)), contrast[kind]
        for name in ("ratio", "low", "high", "low90", "high90", "df", "p_value"):
            assert found[name] == pytest.approx(float(getattr(expected, name)), rel=1e-3), name
        assert found["p_adjusted"] == found["p_value"]
    assert contrast["these_scenes"]["relation"] == "better"
    assert contrast["factors"] == ["learning rate (0.0001 | 1e-05)"]
    assert data["warnings"] == [
        "The arms differ in learning rate: 0.0001 | 1e-05.",
        "No value of log10_edge_cleaned: not guarded by it.",
    ]


def test_guards_are_ratios_of_scene_means_too(compared) -> None:
    def abs_rel(depths: Sequence[float]) -> np.ndarray:
        return np.array([[np.mean(np.abs(depth - truth) / truth) for truth in TRUTH.values()] for depth in depths])

    guards = compared[0]["contrasts"][0]["guards"]
    # Edge-cleaned, no pixel of these 4 x 5 images is left.
    assert list(guards) == ["abs_rel", "rmse", "silog", "delta1"]
    expected = math.exp(np.log(abs_rel(NEAR)).mean() - np.log(abs_rel(FAR)).mean())
    assert guards["abs_rel"]["ratio"] == pytest.approx(expected, rel=1e-4)
    assert guards["abs_rel"]["worse"] == "b"
    assert guards["silog"]["ratio"] == pytest.approx(1, rel=1e-3)  # of a constant: the spread of the truth alone


def test_each_arm_is_held_against_baselines_fitted_for_the_metric(compared) -> None:
    data = compared[0]
    baselines = {name: one["metrics"]["headline"]["log10"] for name, one in data["baselines"].items()}
    # The constant with the least mean |log10| is the median of the training depth, here any from 4 to 8 m.
    assert baselines["constant"] == pytest.approx(np.mean(list(log10_of(5.66).values())), abs=0.03)
    assert baselines["row"] == pytest.approx(np.log10(1.25) / 2, rel=1e-3)
    found = {(one["arm"], one["baseline"]): one for one in data["standings"]}
    assert list(found) == [("near", "constant"), ("near", "row"), ("far", "constant"), ("far", "row")]
    for (arm, baseline), one in found.items():
        depths = NEAR if arm == "near" else FAR
        values = [float(np.mean(list(log10_of(depth).values()))) for depth in depths]
        assert one["arm_value"] == pytest.approx(np.mean(values), rel=1e-5)
        assert one["runs_better"] == sum(value < baselines[baseline] for value in values)
        by_scene = data["baselines"][baseline]["scenes"]["headline"]
        for scene, each in one["scenes"].items():
            own = [log10_of(depth)[scene] for depth in depths]
            assert each["arm_value"] == pytest.approx(np.mean(own), rel=1e-5)
            assert each["runs_better"] == sum(value < by_scene[scene]["log10"] for value in own)
    assert {one["relation"] for one in data["standings"] if one["baseline"] == "row"} == {"does not beat"}


def test_cost_is_in_device_hours_and_unknown_where_it_was_not_recorded(compared) -> None:
    data, page = compared
    assert [one["device_hours"] for one in data["arms"]["near"]["runs"]] == [0.5, 1.0, 1.5]
    assert (data["arms"]["near"]["device_hours"], data["arms"]["far"]["device_hours"]) == (3.0, None)
    assert "<td>3 h</td><td>1 h</td>" in page
    assert "<td>unknown</td><td>unknown</td>" in page


def test_the_report_holds_every_mean_of_arms_and_baselines(compared) -> None:
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
    assert len(expected) == 4 * 3 * 10


def test_the_report_is_one_file_with_all_pictures(compared) -> None:
    page = compared[1]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count('src="data:image/png;base64,') == 2 * (2 + 2 + 2 * 3)  # two images: image, truth, scales, panels


@pytest.mark.slow
def test_what_was_evaluated_before_is_not_evaluated_again(arms, compared, tmp_path: Path) -> None:
    kept = sorted(file for one in (*arms[0], *arms[1]) for file in one.glob("*.json"))
    assert len(kept) == 6 * 2 + 3  # metrics and evaluation of each; fitted baselines and the evaluations of both
    before = [file.stat().st_mtime_ns for file in kept]
    again = compare(tmp_path / "report.html", *arms[0], *arms[1])
    assert again | {"report": ""} == compared[0] | {"report": ""}
    assert [file.stat().st_mtime_ns for file in kept] == before


@pytest.mark.slow
def test_another_checkpoint_is_evaluated_anew(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("arm", 3.0, *sets)
    before = compare(tmp_path / "report.html", folder)["arms"]["arm"]["metrics"]["headline"]["log10"]
    os.replace(make_run("other", 12.0, *sets) / "checkpoints/last.ckpt", folder / "checkpoints/last.ckpt")
    after = compare(tmp_path / "report.html", folder)["arms"]["arm"]["metrics"]["headline"]["log10"]
    expected = [float(np.mean(list(log10_of(depth).values()))) for depth in (3.0, 12.0)]
    assert (before, after) == pytest.approx(tuple(expected), rel=1e-5)


@pytest.mark.slow
def test_named_contrasts_are_the_only_ones_and_are_corrected_together(make_run, sets, arms, tmp_path: Path) -> None:
    third = [make_run(f"third-{seed}", depth, *sets, seed=seed, loss="l1_log")
             for seed, depth in enumerate((3.3, 3.5, 3.7))]  # fmt: skip
    runs = [*arms[0], *arms[1], *third]
    data = compare(tmp_path / "r.html", *runs, contrasts="far:near,third:near")
    assert [(one["a"], one["b"]) for one in data["contrasts"]] == [("far", "near"), ("third", "near")]
    assert data["named_beforehand"]
    first, second = (one["these_scenes"] for one in data["contrasts"])
    assert first["relation"] == "worse"
    assert (first["p_adjusted"], second["p_adjusted"]) == pytest.approx((2 * first["p_value"], second["p_value"]))
    assert len(compare(tmp_path / "r.html", *runs)["contrasts"]) == 3


@pytest.mark.slow
def test_one_seed_is_undecided_with_the_reason_and_still_stands_against_the_baselines(arms, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    data = compare(out, arms[0][0], *arms[1])
    (contrast,) = data["contrasts"]
    for kind in ("these_scenes", "scenes_like_these"):
        assert contrast[kind]["relation"] == "undecided"
        assert contrast[kind]["reason"] == "an arm has fewer than 3 runs (1 and 3)"
        assert contrast[kind]["ratio"] == pytest.approx(math.exp(logs_of(NEAR[:1]).mean() - logs_of(FAR).mean()))
        assert contrast[kind]["p_value"] is contrast[kind]["low"] is None
    assert len(data["standings"]) == 4
    assert "fewer than 3 runs (1 and 3)" in out.read_text()


@pytest.mark.slow
def test_a_single_arm_is_held_against_the_baselines_alone(arms, tmp_path: Path) -> None:
    data = compare(tmp_path / "r.html", *arms[0])
    assert (data["contrasts"], len(data["standings"])) == ([], 2)
    assert data["verdict"][0] == "One arm: there is nothing to compare it with but the baselines."


@pytest.mark.slow
def test_the_command_that_makes_the_report_again_stands_in_it(arms, tmp_path: Path) -> None:
    out = tmp_path / "r r.html"
    compare(out, *arms[1], arm=(f"x={arms[0][0]}",), margin=0.05, contrasts="x:far")
    page = out.read_text().replace("&#39;", "'")
    assert f"--arm x={arms[0][0]} --contrasts x:far --margin 0.05 --out '{out}'" in page


@pytest.mark.slow
def test_a_metric_of_an_older_run_is_drawn_where_the_deciding_one_was_not_logged(
    make_run, sets, tmp_path: Path
) -> None:
    runs = make_run("a", 4.0, *sets), make_run("b", 5.0, *sets, epochs=3)
    curves = runs[0] / "curves.csv"
    curves.write_text(curves.read_text().replace("val_log10", "val_other"))
    compare(tmp_path / "r.html", *runs)
    page = (tmp_path / "r.html").read_text()
    assert "Validation abs_rel" in page
    assert "Some run has logged no log10" in page
