"""What decides what a run learns, and what does not."""

from pathlib import Path
from typing import Any

from training.lightning.names import LEARNS
from training.report.arms.identity import deciding
from training.report.arms.run import read_run

UNTOUCHED = {"path": "/data/val", "where": "x > 1"}
"""A set of --val that a run did not open."""


def differing(*folders: Path) -> set[str]:
    """Return the factors in which two runs differ."""
    first, second = (deciding(read_run(folder)) for folder in folders)
    return {name for name in first | second if first.get(name) != second.get(name)}


def test_a_validation_set_that_no_run_opened_is_no_factor_wherever_it_lies(write_run) -> None:
    held_out: dict[str, Any] = {"holdout_scenes": "3", "seed": 0}
    here = write_run("here", {"val_set": UNTOUCHED}, val="/data/val", **held_out)
    there = write_run("there", {"val_set": {"path": "/mnt/val"}}, val="/mnt/val", val_where="y > 1", **held_out)
    without = write_run("without", val=None, **held_out)
    assert differing(here, there) == differing(here, without) == set()
    assert deciding(read_run(here))["val"] is deciding(read_run(here))["val_where"] is None


def test_a_validation_set_that_was_opened_is_a_factor(write_run) -> None:
    other = {"val": {"identity": "d" * 64, "where": "y > 1"}}
    assert differing(write_run("a"), write_run("b", other)) == {"val", "val_where"}


def test_the_loss_is_the_one_that_was_recorded_else_that_of_the_options_else_the_former_default(write_run) -> None:
    named = write_run("named", loss="silog")
    assert differing(write_run("older"), named) == set()
    assert differing(write_run("recorded", {"loss": "silog"}), named) == set()
    resolved = write_run("up-to-scale", {"loss": "si_log"})
    assert differing(resolved, named) == {"loss"}
    assert differing(resolved, write_run("named-too", {"loss": "si_log"}, loss="si_log")) == set()


def test_of_what_lightning_has_only_that_which_learns_is_a_factor(write_run) -> None:
    plain = write_run("plain")
    watched = {"CSVLogger": {}, "profiler": "simple", "LearningRateMonitor": {"logging_interval": "step"}}
    assert differing(plain, write_run("watched", lightning=watched)) == set()
    early = {"EarlyStopping": {"monitor": "val_log10"}}
    assert differing(plain, write_run("early", lightning=watched | early)) == {"lightning"}
    for name in LEARNS:
        assert differing(plain, write_run(name, lightning={name: {}})) == {"lightning"}


def test_height_and_width_are_one_factor(write_run) -> None:
    small = write_run("small", height=96, width=128)
    assert differing(write_run("large", height=128, width=96), small) == {"crop"}
    assert deciding(read_run(small))["crop"] == "96 x 128"


def test_held_out_scenes_count_by_what_they_mean(write_run) -> None:
    named = write_run("named", holdout_scenes="00007,00012")
    assert differing(named, write_run("in-another-order", holdout_scenes="00012, 00007,")) == set()
    assert differing(named, write_run("fewer", holdout_scenes="00007")) == {"holdout_scenes"}
    assert differing(write_run("drawn", holdout_scenes="7"), write_run("seven", holdout_scenes="7,")) == {
        "holdout_scenes"
    }
