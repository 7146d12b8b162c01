"""A mapping of Lightning's names as parts of a trainer."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from sharding.errors import UsageError
from sharding.progress import is_rank_zero
from training.lightning.arguments import OPTION
from training.lightning.averaging import AveragedWeights
from training.lightning.logs import ContinuedLogs, read_names, set_table_aside
from training.lightning.names import CALLBACKS, LOGGERS, MONITORS, PROFILERS, TRAINER_ARGS
from training.lightning.stopping import EarlyEnd
from training.runfolder import LIGHTNING_NAME

Arguments = Mapping[str, Any]

PROFILER_WORDS = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}
"""Values of the trainer's argument `profiler`, and the class each stands for."""

_REMOTE = {"MLFlowLogger": "run_id", "WandbLogger": "id"}  # the argument by which each continues a run

# MLFLOW_TRACKING_URI as Lightning found it; MLflow itself sets the variable, to that of its latest run.
_FROM_ENVIRONMENT = inspect.signature(MLFlowLogger).parameters["tracking_uri"].default


@dataclass(frozen=True, kw_only=True)
class LightningParts:
    """What is added to a trainer.

    Attributes:
        loggers: Loggers after TensorBoard's, which is the first.
        callbacks: Callbacks after the run's own.
        arguments: Arguments in place of the run's own.
    """

    loggers: list[Logger] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)


def build_parts(mapping: Mapping[str, Any] | None, out: Path, done_steps: int | None) -> LightningParts:
    """Build what a mapping, checked by `check_lightning`, names.

    Args:
        mapping: Names of classes with their arguments, and arguments of the trainer.
        out: Run folder; everything is written below it.
        done_steps: Optimizer steps that a resumed run has done; None for a new run.

    Raises:
        UsageError: A class does not take the values; the message names it.
    """
    mapping, folder = mapping or {}, out / LIGHTNING_NAME
    callbacks = [_build(name, mapping[name], _CALLBACKS[name]) for name in mapping if name in CALLBACKS]
    arguments = {name: value for name, value in mapping.items() if name in TRAINER_ARGS}
    if (profiler := _profiler(mapping, folder / "profiler")) is not None:
        arguments["profiler"] = profiler
    names = [name for name in mapping if name in LOGGERS and is_rank_zero()]  # other ranks log nothing
    known = read_names(folder) if names and done_steps is not None else {}
    loggers = [_build(name, mapping[name], partial(_logger, name, out, known)) for name in names]
    for logger in loggers if done_steps is not None else ():
        if isinstance(logger, CSVLogger):
            set_table_aside(logger)
    remote = {place: name for place, name in enumerate(names, 1) if name in _REMOTE}  # 0 is TensorBoard's
    logs = [ContinuedLogs(folder, remote, known, done_steps or 0)] if names else []
    return LightningParts(loggers=loggers, callbacks=[*callbacks, *logs], arguments=arguments)


def _build(name: str, given: Arguments, make: Callable[[Arguments], Any]) -> Any:
    try:
        return make(given)
    except Exception as error:  # of whatever type the library raises
        raise UsageError(f"{OPTION}: {name}: {error or type(error).__name__}") from error


def _logger(name: str, out: Path, known: Mapping[str, str], given: Arguments) -> Logger:
    again: Arguments = {_REMOTE[name]: known[name]} if name in known and name in _REMOTE else {}
    if name == "CSVLogger":
        return CSVLogger(save_dir=out / LIGHTNING_NAME, name="", version="csv", **given)
    if name == "MLFlowLogger":
        set_ones = {argument: value for argument, value in given.items() if value is not None}
        return MLFlowLogger(**{**_mlflow_store(out, set_ones), **set_ones, **again})
    return WandbLogger(save_dir=out, **given, **again)  # in a folder wandb, by itself


def _mlflow_store(out: Path, given: Arguments) -> dict[str, Any]:
    """Return where MLflow writes, if neither the file nor the environment says: a database below the run folder."""
    if "tracking_uri" in given or _FROM_ENVIRONMENT:
        return {}
    folder = (out / LIGHTNING_NAME).absolute()
    folder.mkdir(exist_ok=True)
    return {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_location": str(folder / "mlflow")}


def _ema(given: Arguments) -> AveragedWeights:
    return AveragedWeights(
        decay=given.get("decay", 0.999),
        every=given.get("update_every_n_steps", 1),
        start=given.get("update_starting_at_step") or 0,
        use_buffers=given.get("use_buffers", True),
        device=given.get("device"),
    )


_CALLBACKS: Mapping[str, Callable[[Arguments], Callback]] = {
    "DeviceStatsMonitor": lambda given: DeviceStatsMonitor(**given),
    "EMAWeightAveraging": _ema,
    "EarlyStopping": lambda given: EarlyEnd(**{"mode": MONITORS[given["monitor"]], **given}),
    "LearningRateMonitor": lambda given: LearningRateMonitor(**given),
    "WeightAveraging": lambda given: AveragedWeights(**given),
}


def _profiler(mapping: Mapping[str, Any], folder: Path) -> Profiler | None:
    word = mapping.get("profiler")
    name = PROFILER_WORDS[word] if word else next((one for one in mapping if one in PROFILERS), None)
    if name is None:
        return None
    kind: Any = {one.__name__: one for one in (SimpleProfiler, AdvancedProfiler, PyTorchProfiler)}[name]
    given = mapping.get(name, {})
    profiler: Profiler = _build(name, given, lambda given: kind(dirpath=folder, filename=name, **given))
    return profiler
