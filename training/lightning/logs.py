"""Loggers beside TensorBoard's, which go on where the run does."""

import contextlib
import csv
import json
import os
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


class ContinuedLogs(Callback):
    """Keeps what loggers need to continue the run, and removes what is logged again.

    Steps after the checkpoint are logged again, so a table drops their earlier values; a server shows both. Tables are
    written with each checkpoint, so that none ends before it.

    Args:
        folder: Folder for `loggers.json`.
        remote: Class names of the loggers that have a server, by their place among the trainer's loggers.
        known: What servers call a resumed run, by the logger's class.
        done_steps: Optimizer steps that the run has done.
    """

    def __init__(self, folder: Path, remote: dict[int, str], known: dict[str, str], done_steps: int) -> None:
        self._folder, self._remote, self._known, self._done_steps = folder, remote, known, done_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, on rank 0; loggers have asked their servers by now."""
        if not trainer.is_global_zero:
            return
        for logger in _tables(trainer):
            _take_over(logger, self._done_steps)
        if self._remote:
            names = {name: trainer.loggers[place].version for place, name in self._remote.items()}
            write_atomically(self._folder / NAMES_NAME, json.dumps(self._known | names).encode())

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


def set_table_aside(logger: CSVLogger) -> None:
    """Keep the table of a run that is resumed from its logger, which begins with an empty one; on rank 0 alone."""
    file, kept = _files(logger)
    if file.exists() and not kept.exists():  # one that is there was not taken over, since the process was killed
        os.replace(file, kept)


def _take_over(logger: CSVLogger, done_steps: int) -> None:
    """Begin the logger's table with the rows of earlier steps."""
    _, kept = _files(logger)
    if kept.exists():
        experiment: Any = logger.experiment
        experiment.metrics.extend(_read_table(kept, done_steps))
        logger.save()
        kept.unlink()


def _files(logger: CSVLogger) -> tuple[Path, Path]:
    file = Path(logger.log_dir) / "metrics.csv"
    return file, file.with_name("metrics-before.csv")


def _read_table(file: Path, steps: int) -> list[dict[str, Any]]:
    """Read the rows of a CSV logger before an optimizer step, without their empty values."""
    rows = [
        {name: value for name, value in row.items() if value} for row in csv.DictReader(read_text(file).splitlines())
    ]
    with contextlib.suppress(KeyError, ValueError):
        return [row | {"step": int(row["step"])} for row in rows if int(row["step"]) < steps]
    raise DataError(f"{file}: expected a table with whole numbers as step; remove it to begin another")
