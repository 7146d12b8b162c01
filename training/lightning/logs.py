"""Loggers beside TensorBoard's, which go on where the run does."""

import contextlib
import csv
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger

from sharding.errors import DataError
from sharding.machine.files import write_atomically
from training.run_files import read_json, read_text

NAMES_NAME = "loggers.json"
"""What a logger's server calls the run, by the logger's class."""

_BEFORE = ".before"  # suffix of a table that is being taken over


class ContinuedLogs(Callback):
    """Keeps what loggers need to continue the run, and removes what is logged again.

    Steps after the checkpoint are logged again, so a table drops their earlier values; a server shows both. Tables are
    written with each checkpoint, so that none ends before it.

    Args:
        folder: Folder for `loggers.json`.
        remote: Class names of the loggers that have a server, by their place among the trainer's loggers.
        done_steps: Optimizer steps that the resumed run has done; None for a new run.
    """

    def __init__(self, folder: Path, remote: dict[int, str], done_steps: int | None) -> None:
        self._folder, self._remote, self._done_steps = folder, remote, done_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, on rank 0."""
        if not trainer.is_global_zero:
            return
        for logger in _tables(trainer):
            _begin_table(logger, self._done_steps)
        for place in self._remote:
            _ = trainer.loggers[place].experiment  # type: ignore[attr-defined]  # begins the run at the server
        if self._remote:
            names = {name: trainer.loggers[place].version for place, name in self._remote.items()}
            write_atomically(self._folder / NAMES_NAME, json.dumps(names).encode())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the values of the epoch before, which are logged after its checkpoint."""
        _write_tables(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write what is logged so far."""
        _write_tables(trainer)


def read_names(folder: Path) -> dict[str, str]:
    """Read what servers call the run, by the logger's class; nothing if none was asked yet.

    Raises:
        DataError: The file is damaged.
    """
    file = folder / NAMES_NAME
    return read_json(file, dict[str, str]) if file.exists() else {}


def _tables(trainer: Trainer) -> Iterator[CSVLogger]:
    yield from (logger for logger in trainer.loggers if isinstance(logger, CSVLogger))


def _write_tables(trainer: Trainer) -> None:
    if trainer.is_global_zero:
        for logger in _tables(trainer):
            logger.save()


def _begin_table(logger: CSVLogger, done_steps: int | None) -> None:
    """Create the logger's file, with the rows of earlier steps if the run is resumed."""
    file = Path(logger.log_dir) / "metrics.csv"
    kept = file.with_name(file.name + _BEFORE)
    if file.exists() and not kept.exists():
        os.replace(file, kept)  # the logger would remove it before it writes another
    with warnings.catch_warnings(action="ignore"):  # that it would
        experiment: Any = logger.experiment
    if done_steps is not None and kept.exists():
        experiment.metrics.extend(_read_table(kept, done_steps))
    logger.save()
    kept.unlink(missing_ok=True)


def _read_table(file: Path, steps: int) -> list[dict[str, Any]]:
    """Read the rows of a CSV logger before an optimizer step, without their empty values."""
    rows = [
        {name: value for name, value in row.items() if value} for row in csv.DictReader(read_text(file).splitlines())
    ]
    with contextlib.suppress(KeyError, ValueError):
        return [row | {"step": int(row["step"])} for row in rows if int(row["step"]) < steps]
    raise DataError(f"{file}: expected a table with whole numbers as step; remove it to begin another")
