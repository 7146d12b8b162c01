"""A run folder as a comparison reads it: what it recorded, and what follows for a run that recorded less."""

import pytest

from sharding.errors import DataError
from training.config import FinetuneConfig
from training.report.arms.run import read_run


def test_options_that_a_run_does_not_have_are_the_defaults(write_run) -> None:
    folder = write_run("r", seed=3, epochs=7)
    lines = (folder / "config.yaml").read_text().splitlines(keepends=True)
    (folder / "config.yaml").write_text("".join(line for line in lines if not line.startswith("weight_decay")))
    run = read_run(folder)
    assert (run.name, run.folder, run.seed, run.epochs) == ("r", folder, 3, 7)
    assert run.config["weight_decay"] == FinetuneConfig.weight_decay
    assert run.encoder.kind == "random"


@pytest.mark.parametrize(
    ("facts", "hours"),
    [
        ({}, None),
        ({"seconds": 1800.0}, 0.5),
        ({"seconds": 1800.0, "split": {"world": 4}}, 2.0),
        ({"seconds": 1800.0, "split": {"world": 1}, "device_seconds": 5400.0}, 1.5),  # on four devices at first
    ],
)
def test_device_hours_are_those_recorded_else_seconds_times_devices(write_run, facts, hours) -> None:
    assert read_run(write_run("r", facts)).device_hours == hours


def test_what_later_starts_differed_in_is_told_in_order(write_run) -> None:
    resumes = [{"versions": {"torch": "2.12"}, "device": "B"}, {"revision": "b"}, {"versions": {"torch": "2.11"}}]
    first = {"versions": {"torch": "2.11"}, "revision": "a", "device": "A", "split": {"world": 2}}
    facts = read_run(write_run("r", first | {"resumes": resumes})).facts
    assert (facts.version("torch"), facts.revisions, facts.devices) == ("2.11 then 2.12", "a then b", "2 x A then B")
    older = read_run(write_run("older")).facts
    assert (older.version("torch"), older.revisions, older.devices) == (None, None, None)


def test_the_loss_of_a_run_that_recorded_none_is_the_former_default(write_run) -> None:
    runs = write_run("a", {"loss": "si_log"}), write_run("b", loss="berhu_log"), write_run("c")
    assert [read_run(one).loss for one in runs] == ["si_log", "berhu_log", "silog"]


@pytest.mark.parametrize("damage", ["{", '{"train": {"identity": "a"}}', "[]"])
def test_a_damaged_record_is_told_with_its_file(write_run, damage) -> None:
    folder = write_run("r")
    (folder / "metrics.json").write_text(damage)
    with pytest.raises(DataError, match=r"r/metrics\.json"):
        read_run(folder)
