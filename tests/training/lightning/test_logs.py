import csv
import json

import pytest
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from sharding.errors import DataError, UsageError
from training.lightning.logs import ContinuedLogs, read_names, set_table_aside
from training.lightning.parts import build_parts


def log(folder, values, done_steps=None):
    """Log a value at each step, as one process of a run does; it may have resumed the run."""
    logger = CSVLogger(folder, name="", version="csv")
    if done_steps is not None:
        set_table_aside(logger)
    trainer = Trainer(logger=[logger], accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
    _ = logger.experiment  # as Lightning does before the fit
    logs = ContinuedLogs(folder, {}, {}, done_steps or 0)
    logs.on_fit_start(trainer, LightningModule())
    for step, value in values.items():
        logger.log_metrics(value, step)
    logs.on_save_checkpoint(trainer, LightningModule(), {})
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_table_goes_on_without_the_steps_that_are_logged_again(tmp_path):
    log(tmp_path, {0: {"a": 1}, 1: {"a": 2}, 2: {"a": 3}})
    found = log(tmp_path, {2: {"b": 4}, 3: {"a": 5}}, done_steps=2)
    expected = [{"step": "0", "a": "1"}, {"step": "1", "a": "2"}, {"step": "2", "b": "4"}, {"step": "3", "a": "5"}]
    assert found == expected


def test_a_table_survives_a_kill_while_it_is_taken_over(tmp_path):
    before = log(tmp_path, {0: {"a": 1}, 1: {"a": 2}})
    logger = CSVLogger(tmp_path, name="", version="csv")
    set_table_aside(logger)  # and the process dies; another begins
    assert log(tmp_path, {}, done_steps=2) == before


def test_a_table_that_is_none_is_not_taken_over(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"metrics-before\.csv: expected a table with whole numbers as step"):
        log(tmp_path, {}, done_steps=2)


def test_names_that_servers_gave_are_checked(tmp_path):
    assert read_names(tmp_path) == {}
    (tmp_path / "loggers.json").write_text(json.dumps({"WandbLogger": 3}))
    with pytest.raises(DataError, match=r"loggers\.json"):
        read_names(tmp_path)


def test_a_logger_that_cannot_be_built_is_named(tmp_path):
    """Here MLflow is not installed, or refuses the kind of its server."""
    with pytest.raises(UsageError, match="lightning: MLFlowLogger: "):
        build_parts({"MLFlowLogger": {"tracking_uri": "nowhere://x"}}, tmp_path, None)
