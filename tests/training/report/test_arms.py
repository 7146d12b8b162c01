import json
from pathlib import Path

import numpy as np
import pytest

from sharding.errors import DataError, UsageError
from sharding.reading.shard_set import ShardSet
from training.report.arms import find_warnings, open_trained, open_val, read_run
from training.report.check import check_names
from training.runfolder import METRICS_NAME

ONES = np.ones((4, 5))


@pytest.fixture
def sets(make_set) -> tuple[ShardSet, ShardSet, ShardSet]:
    """Two training sets and a validation set."""
    return tuple(make_set([("00001", depth * ONES, ONES)]) for depth in (2, 3, 4))


def test_a_run_is_read_with_its_curves(make_run, sets) -> None:
    one = read_run(make_run("arm", 2.0, sets[0], sets[2], seed=7))
    assert (one.name, one.config["seed"]) == ("arm", 7)
    assert [(epoch.epoch, epoch.train_loss, epoch.val_abs_rel) for epoch in one.history] == [
        (1, 1.0, 0.5),
        (2, 1.0, 0.4),
    ]
    assert one.identities["val"] == sets[2].manifest.identity


def test_runs_of_one_kind_are_without_warning(make_run, sets) -> None:
    runs = [read_run(make_run(name, 2.0, sets[0], sets[2])) for name in ("a", "b")]
    trained = open_trained(runs)
    assert [len(group.runs) for group in trained] == [2]
    assert find_warnings(trained, open_val(runs)) == []


def test_runs_validated_on_different_sets_are_refused_by_name(make_run, sets) -> None:
    runs = [read_run(make_run("a", 2.0, sets[0], sets[2])), read_run(make_run("b", 2.0, sets[0], sets[1]))]
    with pytest.raises(UsageError, match=r"different sets.*a on .*; b on "):
        open_val(runs)


def test_runs_validated_on_different_subsets_are_refused(make_run, diode_sets) -> None:
    runs = [read_run(make_run("a", 2.0, *diode_sets)),
            read_run(make_run("b", 2.0, *diode_sets, where="scene_type == 'outdoor'"))]  # fmt: skip
    with pytest.raises(UsageError, match="outdoor"):
        open_val(runs)


def test_different_training_sets_are_said_plainly(make_run, sets) -> None:
    runs = [read_run(make_run("a", 2.0, sets[0], sets[2])), read_run(make_run("b", 2.0, sets[1], sets[2]))]
    (warning,) = find_warnings(open_trained(runs), sets[2])
    assert warning.startswith("The arms were not trained on the same set: a on ")
    assert sets[0].manifest.identity[:12] in warning
    assert sets[1].manifest.identity[:12] in warning


def test_a_set_that_changed_since_the_run_is_said_plainly(make_run, sets) -> None:
    folder = make_run("a", 2.0, sets[0], sets[2])
    record = json.loads((folder / METRICS_NAME).read_text())
    record["train"]["identity"] = "e" * 64
    (folder / METRICS_NAME).write_text(json.dumps(record))
    (warning,) = find_warnings(open_trained([read_run(folder)]), sets[2])
    assert "train set of a has changed since it ran (identity eeeeeeeeeeee" in warning


def test_an_unfinished_run_is_said_plainly(make_run, sets) -> None:
    one = read_run(make_run("a", 2.0, sets[0], sets[2], epochs=5))
    assert find_warnings(open_trained([one]), sets[2]) == ["a has not finished: 2 of 5 epochs are done."]


def test_runs_of_one_name_are_refused(make_run, sets) -> None:
    one = read_run(make_run("arm", 2.0, sets[0], sets[2]))
    with pytest.raises(UsageError, match="several are called arm"):
        check_names([one.name, read_run(make_run("arm", 2.0, sets[0], sets[2])).name])


def test_a_folder_without_a_finished_epoch_is_named(make_run, sets, tmp_path: Path) -> None:
    folder = make_run("a", 2.0, sets[0], sets[2])
    (folder / METRICS_NAME).unlink()
    with pytest.raises(DataError, match=r"expected metrics\.json, found none"):
        read_run(folder)
    with pytest.raises(DataError, match=r"expected a run folder"):
        read_run(tmp_path / "nowhere")
