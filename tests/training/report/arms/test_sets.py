"""Which parts of sets a run used, and where they are now."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import DataError
from sharding.reading.shard_set import ShardSet
from training.report.arms.run import read_run
from training.report.arms.sets import Part, find_set, judged_on, trained_on

ONES = np.ones((4, 5))


@pytest.fixture(scope="module")
def one_set(make_set) -> ShardSet:
    return make_set([("00001", 2 * ONES, ONES)])


def part_of(samples: ShardSet, **fields) -> Part:
    whole = Part(name="train", identity=samples.manifest.identity, where=None, path=samples.url, given="sets/train")
    return replace(whole, **fields)


def test_what_was_recorded_of_the_training_set_is_believed_before_the_options(write_run) -> None:
    record = {"train": {"identity": "d" * 64, "name": "other", "where": "scene not in ['3']", "path": "/data/other"}}
    found = trained_on(read_run(write_run("r", record, where="x > 1", holdout_scenes="3")))
    assert found == Part(
        name="other", identity="d" * 64, where="scene not in ['3']", path="/data/other", given="sets/train"
    )
    assert trained_on(read_run(write_run("older", where="x > 1"))).where == "x > 1"


def test_a_run_is_judged_on_its_validation_set_or_on_what_it_held_out(write_run) -> None:
    validated = judged_on(read_run(write_run("validated", val_where="y > 1")))
    assert (validated.given, validated.where, validated.held_out) == ("sets/val", "y > 1", False)
    held = {"val": {"identity": "a" * 64, "where": "scene in ['3']"}}
    found = judged_on(read_run(write_run("held", held, val=None, holdout_scenes="3")))
    assert (found.given, found.where, found.held_out) == ("sets/train", "scene in ['3']", True)


def test_a_set_that_the_run_never_opened_is_known_by_its_address_alone(write_run) -> None:
    facts = {"val_set": {"path": "/data/val", "where": "y > 1"}}
    found = judged_on(read_run(write_run("r", facts, val="val", holdout_scenes="3")))
    assert found == Part(name="", identity=None, where="y > 1", path="/data/val", given="val")
    assert found.key == ("/data/val", "y > 1")
    assert found.describe() == "val, where y > 1"


def test_parts_are_the_same_by_identity_and_condition(one_set) -> None:
    moved = part_of(one_set, path="/elsewhere", given="x", name="renamed")
    assert moved.key == part_of(one_set).key != part_of(one_set, where="x > 1").key


def test_a_set_is_found_where_it_was_recorded_else_by_the_options_above_the_run(
    write_run, one_set, tmp_path: Path, monkeypatch
) -> None:
    run = read_run(write_run("runs/r"))
    assert find_set(part_of(one_set), run) == one_set.url
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/train").symlink_to(one_set.url)
    monkeypatch.chdir(run.folder)
    assert find_set(part_of(one_set, path="/gone"), run) == str(tmp_path / "sets/train")


def test_a_set_of_another_identity_is_not_taken_and_every_place_is_told(write_run, one_set) -> None:
    run = read_run(write_run("r"))
    lost = part_of(one_set, identity="e" * 64, given="/nowhere/train")
    with pytest.raises(DataError) as caught:
        find_set(lost, run)
    found = one_set.manifest.identity[:12]
    assert f"{one_set.url} (a set with identity {found}), /nowhere/train (nothing)" in str(caught.value)
    assert f"train (identity {'e' * 12}), which {run.folder} used" in str(caught.value)
