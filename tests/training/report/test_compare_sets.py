"""Which sets a whole comparison takes, and what it says of them and of their baselines."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import UsageError
from sharding.reading.shard_set import ShardSet
from tests.training.report.whole import ONES, ROWS, compare, config_of
from training.report.check import check_compare
from training.report.compare import run


def test_runs_validated_on_different_sets_leave_no_report(make_run, sets, tmp_path: Path) -> None:
    train, val = sets
    runs = make_run("a", 4.0, train, val), make_run("b", 4.0, train, train)
    for call in (run, check_compare):
        with pytest.raises(UsageError, match=r"different sets.*: a on .*; b on .*Give one set with --val SET"):
            call(config_of(tmp_path / "report.html", *runs))
    assert not (tmp_path / "report.html").exists()
    check_compare(config_of(tmp_path / "report.html", *runs, val=val.url))


def test_what_is_wrong_is_told_before_anything_is_read(make_run, sets, tmp_path: Path) -> None:
    folder, out = make_run("r", 4.0, *sets), tmp_path / "r.html"
    wrong = {
        "no arm named 'x'": {"contrasts": "x:r"},
        "expected NAME=RUN,RUN": {"arm": ("x",)},
        "given twice": {"arm": (f"x={folder}",)},
        "expected a shard set": {"val": str(tmp_path / "nothing")},
        "--where 'nonsense'": {"where": "nonsense"},
    }
    for text, options in wrong.items():
        with pytest.raises(UsageError, match=text):
            check_compare(config_of(out, folder, **options))
    (folder / "checkpoints/last.ckpt").unlink()
    with pytest.raises(UsageError, match=r"expected a checkpoint at .*last\.ckpt"):
        check_compare(config_of(out, folder))


def test_a_condition_of_the_runs_that_does_not_fit_the_set_is_said_to_be_theirs(make_run, sets, tmp_path: Path) -> None:
    run, out = make_run("r", 4.0, *sets, where="scene == '00001'"), tmp_path / "report.html"
    wrong = r"--where \"scene == '00001'\" selects none of 2 samples.*; that is the condition of the runs: give"
    with pytest.raises(UsageError, match=wrong):
        check_compare(config_of(out, run, val=sets[1].url))
    check_compare(config_of(out, run, val=sets[1].url, where=""))
    with pytest.raises(UsageError, match=r"selects none of 2 samples$"):
        check_compare(config_of(out, run, val=sets[1].url, where="scene == '9'"))


@pytest.fixture(scope="module")
def held_out(make_set) -> tuple[ShardSet, ShardSet, ShardSet]:
    """A training set of three scenes, what is left of it without one of them, and that one."""
    whole = make_set([(scene, ROWS * factor, ONES) for scene, factor in (("00001", 1), ("00002", 1), ("00003", 1.25))])
    return whole, whole.narrowed("scene not in ['00003']"), whole.narrowed("scene in ['00003']")


def hold_out_facts(rest: ShardSet, held: ShardSet, val_set: dict | None = None) -> dict:
    return {
        name: {"identity": one.manifest.identity, "where": one.where, "name": "train", "holdout": ["00003"]}
        for name, one in (("train", rest), ("val", held))
    } | {"val_set": val_set}


@pytest.mark.slow
def test_runs_that_held_scenes_out_are_judged_on_another_set_without_a_warning(
    make_run, held_out, sets, tmp_path
) -> None:
    whole, rest, held = held_out
    options = {"val": None, "holdout_scenes": "00003", "facts": hold_out_facts(rest, held)}
    run = make_run("r", 4.0, whole, whole, **options)
    data = compare(tmp_path / "r.html", run, val=sets[1].url)
    assert data["val"]["identity"] == sets[1].manifest.identity != whole.manifest.identity
    assert not [one for one in data["warnings"] if "another set" in one]


@pytest.mark.slow
def test_runs_without_a_validation_set_are_compared_on_their_held_out_scenes(make_run, held_out, tmp_path) -> None:
    whole, rest, held = held_out
    options = {"val": None, "holdout_scenes": "00003", "facts": hold_out_facts(rest, held)}
    data = compare(tmp_path / "r.html", make_run("r", 4.0, whole, whole, **options))
    assert (data["val"]["where"], data["val"]["images"]) == ("scene in ['00003']", 1)
    assert "held out of training and monitored on" in data["note"]
    assert data["note"] in (tmp_path / "r.html").read_text().replace("&#39;", "'")
    assert data["warnings"] == []
    assert data["baselines"]["row"]["metrics"]["headline"]["log10"] == pytest.approx(np.log10(1.25), rel=1e-3)


def test_the_report_says_that_a_set_was_not_opened_while_the_runs_trained(make_run, held_out, sets, tmp_path) -> None:
    whole, rest, held = held_out
    facts = hold_out_facts(rest, held, {"path": sets[1].url, "where": None})
    data = compare(tmp_path / "r.html", make_run("r", 4.0, whole, sets[1], holdout_scenes="00003", facts=facts))
    assert data["val"]["identity"] == sets[1].manifest.identity
    assert data["note"].endswith("on the set that the runs have as --val, which none of them opened while it trained.")


@pytest.mark.slow
def test_what_where_selects_of_the_training_set_is_not_said_to_be_held_out(make_run, held_out, tmp_path) -> None:
    whole, rest, held = held_out
    options = {"val": None, "holdout_scenes": "00003", "facts": hold_out_facts(rest, held)}
    run = make_run("r", 4.0, whole, whole, **options)
    trained_on = compare(tmp_path / "r.html", run, where="scene == '00001'")
    assert trained_on["note"].endswith("on what --where selects of the set that they held scenes out of.")
    assert trained_on["warnings"][0].startswith("r: trained on 1 scene (00001) and 1 sample (")
    everything = compare(tmp_path / "r.html", run, where="")
    assert (everything["val"]["where"], everything["val"]["images"]) == (None, 3)
    assert "Validated while training: r on 1 of these 3 images; " in everything["note"]


@pytest.mark.slow
def test_a_set_that_was_trained_on_is_a_warning(make_run, sets, tmp_path: Path) -> None:
    data = compare(tmp_path / "r.html", make_run("r", 4.0, *sets), val=sets[0].url)
    assert data["warnings"][0].startswith("r: trained on 1 scene (00001) and 1 sample (")


@pytest.mark.slow
def test_each_arm_meets_the_baselines_of_its_own_training_set(make_run, make_set, sets, tmp_path: Path) -> None:
    other = make_set([("00001", ROWS * 2, ONES)])
    data = compare(tmp_path / "report.html", make_run("a", 4.0, *sets), make_run("b", 4.0, other, sets[1]))
    assert list(data["baselines"]) == ["constant for a", "row for a", "constant for b", "row for b"]
    values = {(one["arm"], one["baseline"]): one["baseline_value"] for one in data["standings"]}
    assert values["a", "row"] == pytest.approx(np.log10(1.25) / 2, rel=1e-3)
    assert values["b", "row"] == pytest.approx((np.log10(2) + np.log10(1.6)) / 2, rel=1e-3)
    assert any(text.startswith("The arms differ in training set: ") for text in data["warnings"])


@pytest.mark.slow
def test_damaged_baselines_are_a_warning(arms, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(one, tmp_path / one.name)) for one in arms[0]]
    (copies[0] / "baselines.json").write_text('{"format": 2}')
    data = compare(tmp_path / "r.html", *copies)
    assert data["baselines"] == {}
    assert any("There are no baselines" in text for text in data["warnings"])
