"""The set that runs are compared on, found by identity from wherever the command is called."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.report.arms.grouping import read_arms
from training.report.arms.target import Target, choose_target

ONES = np.ones((4, 5))


@pytest.fixture(scope="module")
def sets(make_set) -> tuple[ShardSet, ShardSet, ShardSet]:
    """A training set of three scenes, and two validation sets."""
    train = make_set([(f"0000{scene}", 2 * ONES, ONES) for scene in (1, 2, 3)])
    return train, *(make_set([("00007", depth * ONES, ONES)], "val") for depth in (3, 4))


def identities(train: ShardSet, val: ShardSet, **more) -> dict:
    return {
        name: {"identity": one.manifest.identity, "name": one.manifest.name, "where": one.where}
        for name, one in (("train", train), ("val", val))
    } | more


def choose(*folders: Path, val: str | None = None, where: str | None = None) -> Target:
    return choose_target(read_arms([str(folder) for folder in folders], []), val, where)


def test_runs_are_compared_on_what_all_were_validated_on(write_run, sets) -> None:
    train, val, _ = sets
    runs = [write_run(f"r-{seed}", identities(train, val), val=val.url, seed=seed) for seed in (0, 1)]
    assert choose(*runs) == Target(address=val.url, where=None)


def test_a_relative_address_is_looked_for_from_here_and_from_the_run_folder_up(
    write_run, sets, tmp_path, monkeypatch
) -> None:
    train, val, _ = sets
    run = write_run("project/runs/deep/r", identities(train, val), val="sets/val")
    here, above = tmp_path / "here", tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copytree(val.url, above / "sets/val")
    assert choose(run).address == str(above / "sets/val")
    shutil.copytree(val.url, here / "sets/val")
    assert choose(run).address == str(here / "sets/val")


def test_a_set_that_is_nowhere_is_told_with_all_places(write_run, sets, tmp_path, monkeypatch) -> None:
    train, val, other = sets
    monkeypatch.chdir(tmp_path)
    run = write_run("a/r", identities(train, val), val="sets/val")
    shutil.copytree(other.url, tmp_path / "a/sets/val")
    (tmp_path / "a/r/sets/val").mkdir(parents=True)
    with pytest.raises(DataError) as error:
        choose(run)
    text = str(error.value)
    assert f"identity {val.manifest.identity[:12]}" in text
    assert f"{tmp_path}/sets/val (nothing)" in text
    assert f"{tmp_path}/a/sets/val (a set with identity {other.manifest.identity[:12]})" in text
    assert text.endswith("give it with --val SET")


def test_the_recorded_path_comes_first_and_only_with_its_identity(write_run, sets, tmp_path, monkeypatch) -> None:
    train, val, other = sets
    monkeypatch.chdir(tmp_path)
    facts = identities(train, val)
    facts["val"]["path"] = val.url
    assert choose(write_run("r", facts, val="sets/val")).address == val.url
    facts["val"]["path"] = other.url
    shutil.copytree(val.url, tmp_path / "sets/val")
    assert choose(write_run("s", facts, val="sets/val")).address == str(tmp_path / "sets/val")


def test_any_run_that_knows_where_the_set_is_will_do(write_run, sets) -> None:
    train, val, _ = sets
    runs = [write_run(f"r-{at}", identities(train, val), val=address, seed=at)
            for at, address in enumerate(("gone/val", val.url))]  # fmt: skip
    assert choose(*runs).address == val.url


def test_other_sets_are_refused_by_name_unless_one_is_given(write_run, sets) -> None:
    train, val, other = sets
    runs = write_run("a", identities(train, val), val=val.url), write_run("b", identities(train, other), val=other.url)
    with pytest.raises(UsageError, match=r"different sets.*: a on .*; b on .*Give one set with --val SET"):
        choose(*runs)
    assert choose(*runs, val=val.url) == Target(address=val.url, where=None)


def test_other_parts_need_a_condition(write_run, sets) -> None:
    train, val, _ = sets
    where = "scene_type == 'outdoor'"
    facts = identities(train, val)
    runs = write_run("a", facts, val=val.url), write_run("b", facts, val=val.url, val_where=where)
    with pytest.raises(UsageError, match=r"different sets.*a on .*; b on .*outdoor"):
        choose(*runs)
    with pytest.raises(UsageError, match=r"different parts of their sets \(all samples, scene_type == 'outdoor'\)"):
        choose(*runs, val=val.url)
    assert choose(*runs, where=where) == choose(*runs, val=val.url, where=where) == Target(address=val.url, where=where)
    assert choose(runs[1]).where == where
    assert choose(runs[1], where="") == choose(*runs, val=val.url, where=" ") == Target(address=val.url, where=None)
    whole = write_run("d", facts, val=val.url, where=where, val_where="")
    assert choose(whole).where is choose(whole, val=val.url).where is None
    assert choose(write_run("c", facts, val=val.url, where=where), val=val.url).where == where


def held_out(train: ShardSet, scene: str, val_set: dict | None = None) -> dict:
    parts = train.narrowed(f"scene not in ['{scene}']"), train.narrowed(f"scene in ['{scene}']")
    return identities(*parts, val_set=val_set)


def test_held_out_scenes_are_what_runs_without_a_validation_set_are_compared_on(write_run, sets) -> None:
    train = sets[0]
    options = {"set": train.url, "val": None, "holdout_scenes": "00003"}
    runs = [write_run(f"r-{seed}", held_out(train, "00003"), seed=seed, **options) for seed in (0, 1)]
    target = choose(*runs)
    assert target == Target(address=train.url, where="scene in ['00003']", held_out=True)
    assert len(ShardSet(target.address, target.where)) == 1


def test_scenes_that_were_drawn_by_seed_need_a_set(write_run, sets) -> None:
    train, val, _ = sets
    options = {"set": train.url, "val": None, "holdout_scenes": "1"}
    runs = [
        write_run(f"r-{at}", held_out(train, scene), seed=at, **options) for at, scene in enumerate(("00001", "00002"))
    ]
    with pytest.raises(UsageError, match=r"different sets.*00001.*00002.*--val SET"):
        choose(*runs)
    assert choose(*runs, val=val.url).held_out is False


def test_a_set_that_was_not_touched_comes_before_the_held_out_scenes(write_run, sets) -> None:
    train, val, _ = sets
    options = {"set": train.url, "val": val.url, "holdout_scenes": "1"}
    facts = [held_out(train, scene, {"path": val.url, "where": None}) for scene in ("00001", "00002")]
    runs = [write_run(f"r-{seed}", one, seed=seed, **options) for seed, one in enumerate(facts)]
    assert choose(*runs) == Target(address=val.url, where=None, untouched=True)
