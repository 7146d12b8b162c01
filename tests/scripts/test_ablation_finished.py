"""Runs of earlier calls are taken over if, and only if, this call would make them in the same way."""

import json

import pytest
from learning_bench.finished import read_known

from sharding.errors import DataError, UsageError
from tests.scripts.ablation_runs import make_run


@pytest.fixture
def write(tmp_path):
    """Write a file as `ablations.py --json` prints it, with other fields beside the runs; returns its path."""

    def write_file(runs, name="known.json"):
        (tmp_path / name).write_text(json.dumps({"images": 1600, "runs": runs, "missed": [], "cpu": "any"}))
        return str(tmp_path / name)

    return write_file


def test_runs_of_several_files_are_read_together(write):
    one, two = ({key: make_run(key) for key in keys} for keys in (("ours-0", "mse-0"), ("ours-1", "mse-0")))
    assert read_known((write(one), write(two, "two.json")), 1600, 1) == one | two
    assert read_known((), 1600, 1) == {}


def test_files_that_differ_in_a_run_are_refused(write):
    files = (write({"ours-0": make_run("ours-0", 1.0)}), write({"ours-0": make_run("ours-0", 2.0)}, "two.json"))
    with pytest.raises(UsageError, match=r"two\.json: ours-0: expected the results of another --known, found others"):
        read_known(files, 1600, 1)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("ours-0", {"threads": 2}, "threads: expected 1, found 2;"),
        ("ours-0", {"images": 64}, "images: expected 1600, found 64;"),
        ("ours-1", {"seed": 0}, "seed: expected 1, found 0;"),
        ("no-log-0", {"network": "WithoutMask"}, "network: expected WithoutLog, found WithoutMask;"),
        ("mse-0", {"loss": "silog"}, "loss: expected mse, found silog;"),
        ("ours-0", {"loss": "mse"}, "loss: expected none, found mse;"),
        ("ours-0", {"epochs": 3, "batch_size": 4}, "epochs: expected 2, found 3; batch_size: expected 8, found 4;"),
    ],
)
def test_a_run_of_another_recipe_is_refused_by_name(write, key, change, said):
    run = make_run(key)
    with pytest.raises(UsageError) as refused:
        read_known((write({"mse-1": make_run("mse-1"), key: run | {"recipe": run["recipe"] | change}}),), 1600, 1)
    assert f"known.json: {key} is of another recipe: {said} take it out, or train it again" in str(refused.value)


def test_a_recipe_that_lacks_an_option_is_another(write):
    run = make_run("long-0")
    del run["recipe"]["learning_rate"]
    with pytest.raises(UsageError, match=r"long-0 is of another recipe: learning_rate: expected 0\.001, found none;"):
        read_known((write({"long-0": run}),), 1600, 1)


@pytest.mark.parametrize("key", ["mine-0", "ours", "ours-x", "-0"])
def test_a_run_of_no_known_arm_is_refused(write, key):
    with pytest.raises(UsageError, match=f"expected runs ARM-SEED of the arms long, ours, .*, found {key}$"):
        read_known((write({key: make_run("ours-0")}),), 1600, 1)


def test_a_run_without_its_recipe_is_refused(write):
    run = make_run("ours-0")
    del run["recipe"]
    with pytest.raises(UsageError, match="ours-0: expected the recipe of the run, found none"):
        read_known((write({"ours-0": run}),), 1600, 1)


def test_files_of_another_form_are_refused(write, tmp_path):
    with pytest.raises(DataError, match="none"):
        read_known((str(tmp_path / "none"),), 1600, 1)
    run = make_run("ours-0")
    del run["seconds"]
    with pytest.raises(DataError, match=r"known\.json: .*expected a field seconds, found none"):
        read_known((write({"ours-0": run}),), 1600, 1)
