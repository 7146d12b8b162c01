"""Baselines of the training sets of runs, and what a comparison does where such a set is gone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sharding.reading.shard_set import ShardSet
from training.evaluation.evaluate import Computing
from training.report.arms.grouping import read_arms
from training.report.measuring import Measuring, find_baseline, group_trained, measure_baselines, read_history

ROWS = np.repeat(np.array([[32.0], [8.0], [4.0], [2.0]]), 5, axis=1)
ONES = np.ones((4, 5))


@pytest.fixture(scope="module")
def sets(make_set) -> tuple[ShardSet, ShardSet]:
    """A training set of two scenes, the second twice as deep, and a validation set."""
    return make_set([("00001", ROWS, ONES), ("00002", 2 * ROWS, ONES)]), make_set([("00007", ROWS, ONES)], "val")


def facts(train: ShardSet) -> dict:
    return {"train": {"identity": train.manifest.identity, "name": "train", "where": train.where}}


def baselines_of(val: ShardSet, *folders: Path, arm=()):
    arms = read_arms([str(folder) for folder in folders], list(arm))
    return measure_baselines(group_trained(arms), arms, Measuring(val=val, computing=Computing()))


def test_one_training_set_has_two_baselines_whatever_the_number_of_runs(write_run, sets) -> None:
    train, val = sets
    part = train.narrowed("scene == '00001'")
    runs = [write_run(f"r-{seed}", facts(part), set=train.url, where=part.where, seed=seed) for seed in range(3)]
    results, lacks = baselines_of(val, *runs)
    assert ([one.name for one in results], lacks) == (["constant", "row"], [])
    assert results[1].mean("headline")["log10"] == pytest.approx(0, abs=1e-6)  # the very rows of the validation set
    assert results[0].runs == ("r-0", "r-1", "r-2")
    assert [file.name for file in runs[0].glob("baselines.json")] == ["baselines.json"]
    assert not list(runs[1].glob("baselines.json"))


def test_each_training_set_has_its_own(write_run, sets) -> None:
    train, val = sets
    parts = [train.narrowed(f"scene not in ['{scene}']") for scene in ("00002", "00001")]
    runs = [
        write_run(f"r-{at}", facts(part), set=train.url, holdout_scenes="1", seed=at) for at, part in enumerate(parts)
    ]
    results, _ = baselines_of(val, *runs)
    assert [one.name for one in results] == ["constant for r-0", "row for r-0", "constant for r-1", "row for r-1"]
    rows = [find_baseline(results, f"r-{at}", "row").mean("headline")["log10"] for at in (0, 1)]
    assert rows == pytest.approx([0, np.log10(2)], abs=1e-6)
    by_hand, _ = baselines_of(val, arm=[f"one={runs[0]}", f"two={runs[1]}"])
    assert by_hand[0].name == "constant for one"


def test_stored_baselines_stand_in_for_a_training_set_that_is_gone(write_run, sets, tmp_path, monkeypatch) -> None:
    train, val = sets
    monkeypatch.chdir(tmp_path)
    moved = Path(shutil.copytree(train.url, tmp_path / "sets/train"))
    runs = [write_run(f"r-{seed}", facts(train), set="sets/train", seed=seed) for seed in (0, 1)]
    before, _ = baselines_of(val, *runs)
    shutil.rmtree(moved)
    after, lacks = baselines_of(val, *runs)
    assert [one.mean("headline") for one in after] == [one.mean("headline") for one in before]
    assert lacks == []
    (runs[0] / "baselines.json").rename(runs[1] / "baselines.json")  # in whichever run folder they are
    assert baselines_of(val, *runs)[1] == []
    stored = json.loads((runs[1] / "baselines.json").read_text())
    (runs[1] / "baselines.json").write_text(json.dumps(stored | {"identity": "e" * 64}))  # those of another set
    none, lacks = baselines_of(val, *runs)
    assert none == []
    assert len(lacks) == 1
    assert lacks[0].startswith("There are no baselines: train (identity ")
    assert f"{tmp_path}/sets/train (nothing)" in lacks[0]
    assert find_baseline(none, "r-0", "row") is None


def test_another_set_at_its_place_gives_no_baselines(write_run, sets) -> None:
    train, val = sets
    none, lacks = baselines_of(val, write_run("r", facts(train), set=val.url))
    assert none == []
    assert f"(a set with identity {val.manifest.identity[:12]})" in lacks[0]


def test_a_training_set_that_was_moved_is_found_where_the_runs_are_compared_on_it(write_run, sets, tmp_path) -> None:
    train, val = sets
    part = train.narrowed("scene == '00002'")
    arms = read_arms([str(write_run("r", facts(part), set=str(tmp_path / "gone"), where=part.where))], [])
    (unknown,), (found,) = group_trained(arms, val=val), group_trained(arms, val=train)
    assert unknown.samples is None
    assert "nothing" in unknown.lack
    assert found.samples is not None
    assert (found.samples.url, list(found.samples.index["scene"])) == (train.url, ["00002"])
    assert found.baselines().identity == train.manifest.identity


def test_truth_up_to_scale_has_no_baselines_which_is_said(write_run, sets, megadepth_set) -> None:
    train, relative = sets[0], ShardSet(megadepth_set.url, "kind == 'up_to_scale'")
    results, lacks = baselines_of(relative, write_run("r", facts(train), set=train.url))
    assert results == []
    assert len(lacks) == 1
    assert lacks[0].startswith("There are no baselines: baselines are in metres, but the depth of ")


def test_curves_are_read_with_all_metrics_and_without_what_is_not_finite(tmp_path: Path) -> None:
    header = "epoch,samples_seen,train_loss,val_abs_rel,val_log10"
    (tmp_path / "curves.csv").write_text(f"{header}\n0,8,1.0,0.5,nan\n1,16,inf,0.4,0.2\n")
    first, second = read_history(tmp_path)
    assert (first.epoch, first.train_loss, dict(first.val)) == (1, 1.0, {"abs_rel": 0.5})
    assert (second.epoch, second.train_loss, dict(second.val)) == (2, None, {"abs_rel": 0.4, "log10": 0.2})
