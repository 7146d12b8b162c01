"""Record of a fine-tuning run: curves.csv and metrics.json, written after each epoch."""

import csv
import io
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from sharding.errors import DataError
from sharding.escaping import escape, shorten
from sharding.format.strict_json import Count, Text
from sharding.limits import MAX_TEXT_CHARS
from sharding.machine.files import write_atomically
from sharding.progress import say
from training.checkpoint.budget import BadSampleBudget
from training.finetuning.trace import Trace, continued
from training.metrics.names import METRIC
from training.run_files import read_text
from training.runfolder import CURVES_NAME, FORMER_MONITOR, METRICS_NAME, SetRecord

MONITOR = METRIC
"""The validation metric that decides which epoch is the best; lower is better."""

_VAL = "val_"  # prefix of validation values in Lightning's metrics and in the rows

_COUNTS = ("epoch", "samples_seen")
_COLUMNS = (*_COUNTS, "train_loss", _VAL + FORMER_MONITOR)  # of all versions; there are those of other metrics, too
_MAX_ROWS = 10**5

EpochRow = dict[str, float]
"""epoch (from 0), samples_seen, seconds, train_loss, val_loss, and val_ with each name of METRICS;
of depth up to scale, those without a unit."""


class RunSets(msgspec.Struct):
    """The part of `metrics.json`, and of the record in a checkpoint, that tells the sets."""

    train: SetRecord
    val: SetRecord


class ShownRow(msgspec.Struct):
    """What is shown of an epoch."""

    epoch: Count
    abs_rel: float
    delta1: float
    log10: float


class Summary(msgspec.Struct):
    """The part of `metrics.json` that is shown when a run has ended."""

    best: ShownRow
    last: ShownRow
    epochs: Count
    monitor: Text = FORMER_MONITOR


class RunRecord(Checkpoint):
    """Writer of curves and metrics after each epoch.

    RUN/curves.csv has a row for each epoch, RUN/metrics.json the last and the best row, what identifies the run, where
    it comes from, and the seconds it took, also times its devices: of all starts, up to the last checkpoint of one that
    was killed. All this is also in the checkpoints that a run resumes from.

    A `Checkpoint`, because Lightning calls those after the module's own epoch end, which logs the epoch's loss. It must
    come before the `CheckpointKeeper`: when a run is killed, the files may be ahead of the last checkpoint (they are
    then written again), but never behind it.

    Args:
        out: Run folder.
        batch_size: Samples of the global batch.
        about: Entries of `metrics.json` that identify the run.
        budget: Counts damaged samples, an earlier callback of the same trainer.
        trace: Entries of `metrics.json` that tell where this start comes from.

    Attributes:
        rows: A row for each epoch that has ended.
        monitor: The metric that decides which is the best: `MONITOR`, or that of the checkpoint.
    """

    def __init__(
        self, out: Path, batch_size: int, about: Mapping[str, Any], budget: BadSampleBudget, trace: Trace | None = None
    ) -> None:
        self.rows: list[EpochRow] = []
        self.monitor = MONITOR
        self._out, self._batch_size, self._about, self._budget = out, batch_size, dict(about), budget
        self._trace = dict(trace or {})
        self._begin = 0.0  # of the epoch
        self._spent, self._start = 0.0, math.nan  # seconds of earlier starts; when training began in this one
        self._devices: int = self._about.get("split", {}).get("world", 1)  # of this start
        self._device_spent = 0.0  # device seconds of earlier starts

    @property
    def best(self) -> EpochRow:
        """Return the row of the best epoch, of at least one."""
        return best_row(self.rows, self.monitor)

    @property
    def seconds(self) -> float:
        """Return for how long the run has trained, over all starts."""
        return self._spent + self._own_seconds

    @property
    def device_seconds(self) -> float:
        """Return its seconds times its devices, of which each start may have another number."""
        return self._device_spent + self._own_seconds * self._devices

    @property
    def _own_seconds(self) -> float:
        """Return the seconds of this start."""
        return 0.0 if math.isnan(self._start) else time.monotonic() - self._start

    def state_dict(self) -> dict[str, Any]:
        """Return what a later start goes on from, for the checkpoint."""
        return {"rows": self.rows, "about": self._about, **self._tracing()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what a checkpoint has; the trace is that of the first start."""
        self.rows = state_dict["rows"]
        self.monitor = state_dict.get("monitor", FORMER_MONITOR)
        self._trace = continued(state_dict.get("trace", {}), self._trace)
        spent = state_dict.get("seconds")
        self._spent = sum(row.get("seconds", 0.0) for row in self.rows) if spent is None else spent
        spent = state_dict.get("device_seconds")
        self._device_spent = self._spent * self._devices if spent is None else spent

    def _tracing(self) -> dict[str, Any]:
        spent = {"seconds": round(self.seconds, 3), "device_seconds": round(self.device_seconds, 3)}
        return {"monitor": self.monitor, **spent, "trace": self._trace}

    def standing(self) -> str:
        """Return the monitor of the last and the best epoch, and abs_rel, in words; "" before the first validation."""
        if not self.rows:
            return ""
        name, last, best = _VAL + self.monitor, self.rows[-1], self.best
        text = f"{self.monitor} {last[name]:.4f}, best {best[name]:.4f} (epoch {int(best['epoch']) + 1})"
        return text if self.monitor == "abs_rel" else f"{text}, abs_rel {last[_VAL + 'abs_rel']:.4f}"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the files agree with the checkpoint that the run resumes from."""
        self._start = time.monotonic()
        self._write(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch that is resumed midway, for which Lightning reports no epoch start."""
        self._begin = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._begin = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row and write the files; Lightning has validated by now."""
        row = self._collect(trainer)
        self.rows.append(row)
        self._write(trainer)
        say(format_epoch(row, trainer.max_epochs or 0, self.monitor))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the run as finished; its last checkpoint is saved by now."""
        self._write(trainer, finished=True)

    def _write(self, trainer: Trainer, finished: bool = False) -> None:
        if trainer.is_global_zero and self.rows:
            write_atomically(self._out / CURVES_NAME, to_csv(self.rows))
            bad = {"bad_samples": len(self._budget.keys), "bad_keys": self._budget.keys}
            tracing = self._tracing()
            content = self._about | tracing.pop("trace") | tracing | summarize(self.rows, self.monitor) | bad
            content |= {"finished": finished}
            write_atomically(self._out / METRICS_NAME, to_json(content))

    def _collect(self, trainer: Trainer) -> EpochRow:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = ["train_loss", *(name for name in metrics if name.startswith(_VAL))]
        row: EpochRow = {
            "epoch": trainer.current_epoch,
            "samples_seen": trainer.global_step * self._batch_size,  # of all ranks
            "seconds": round(time.monotonic() - self._begin, 3),
        }
        # Lightning's plain train_loss is that of the last step; the row has the mean over the epoch.
        return row | {name: metrics[name + "_epoch" if name == "train_loss" else name] for name in names}


def best_row(rows: list[EpochRow], monitor: str = MONITOR) -> EpochRow:
    """Find the row with the lowest monitor, the earliest of equals; a value that is not finite counts as infinite."""
    return min(rows, key=lambda row: value if math.isfinite(value := row[_VAL + monitor]) else math.inf)


def summarize(rows: list[EpochRow], monitor: str = MONITOR) -> dict[str, Any]:
    """Derive the part of `metrics.json` that follows from the rows: the last and the best epoch, names without val_."""

    def plain(row: EpochRow) -> EpochRow:
        return {name.removeprefix(_VAL): value for name, value in row.items()}

    last = rows[-1]
    return {
        "epochs": int(last["epoch"]) + 1,
        "samples_seen": int(last["samples_seen"]),
        "last": plain(last),
        "best": plain(best_row(rows, monitor)),
    }


def to_json(content: Mapping[str, Any]) -> bytes:
    """Encode as indented JSON, UTF-8, with a final newline."""
    return (json.dumps(content, indent=1) + "\n").encode()


def to_csv(rows: list[EpochRow]) -> bytes:
    """Encode the rows as CSV with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[-1]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_curves(run: str | Path) -> list[EpochRow]:
    """Read the rows of a run folder.

    Raises:
        DataError: The folder has no curves.csv, or that is not as `to_csv` writes it.
    """
    file = Path(run) / CURVES_NAME
    if not file.exists():
        raise DataError(f"{run}: expected {CURVES_NAME}, found none; is it the run folder of a `depthstream finetune`?")
    lines = read_text(file).splitlines()
    if len(lines) > _MAX_ROWS or max(map(len, lines), default=0) > MAX_TEXT_CHARS:
        raise DataError(f"{file}: expected at most {_MAX_ROWS} rows of {MAX_TEXT_CHARS} characters, found more")
    try:
        header, *rows = csv.reader(lines, strict=True) if lines else [[]]
    except csv.Error as error:
        raise DataError(f"{file}: expected a table of comma-separated values, found none: {error}") from error
    if len(set(header)) < len(header) or not set(_COLUMNS) <= set(header):
        raise DataError(
            f"{file}: expected the columns {', '.join(_COLUMNS)}, each once, found {shorten(escape(', '.join(header)))}"
        )
    found = [_read_row(file, number, header, row) for number, row in enumerate(rows, 2)]
    if not found:
        raise DataError(f"{file}: expected a row for each epoch, found none")
    return found


def _read_row(file: Path, line: int, header: list[str], row: list[str]) -> EpochRow:
    if len(row) != len(header):
        raise DataError(f"{file}, line {line}: expected {len(header)} values, found {len(row)}")
    values: EpochRow = {}
    for name, text in zip(header, row, strict=True):
        try:
            values[name] = float(text)
        except ValueError as error:
            found = shorten(escape(text), 60)
            raise DataError(f"{file}, line {line}, {name}: expected a number, found {found!r}") from error
    _check_counts(values, f"{file}, line {line}")
    return values


def _check_counts(row: EpochRow, where: str) -> None:
    for name in _COUNTS:
        if not (0 <= row[name] < 2**53 and row[name] == int(row[name])):
            raise DataError(f"{where}, {name}: expected a whole number, found {row[name]}")


def format_epoch(row: EpochRow, epochs: int, monitor: str = MONITOR) -> str:
    """Describe an epoch in one line."""
    names = dict.fromkeys((monitor, "log10", "abs_rel", "rmse", "delta1"))  # each once
    shown = [f"{name} {row[_VAL + name]:.4f}" for name in names if _VAL + name in row]  # no rmse of depth up to scale
    head = f"epoch {int(row['epoch']) + 1}/{epochs}: train loss {row['train_loss']:.4f}"
    return f"{head}; val {', '.join(shown)}; {row['seconds']:.1f} s"
