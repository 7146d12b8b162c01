"""What is wrong with a mapping of Lightning's names, found without Lightning."""

import importlib.util
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import to_type
from sharding.options import suggest
from training.depth_options import TrainedKind
from training.lightning.names import (
    AVERAGES,
    CLASSES,
    LEARNS,
    MONITORS,
    PACKAGES,
    PROFILERS,
    REFUSED,
    TRAINER_ARGS,
)
from training.metrics.names import METRIC_NAMES

OPTION = "lightning"
"""Name of the option, for messages."""


def check_lightning(mapping: Mapping[str, Any] | None) -> None:
    """Check the names in a mapping, the types of their values, and that what is asked for is installed.

    Args:
        mapping: Names of Lightning's classes, each with a mapping of its arguments, and arguments of its trainer.

    Raises:
        UsageError: Something cannot be set; the message says why, or which known name is the closest.
    """
    for name, value in (mapping or {}).items():
        if name in CLASSES:
            _check_class(name, value)
        else:
            _check_value((OPTION, name), value, {**REFUSED, **TRAINER_ARGS}, CLASSES)
    _check_together(mapping or {})


def _check_class(name: str, arguments: Any) -> None:
    if not isinstance(arguments, dict):
        raise UsageError(f"{OPTION}: {name}: expected a mapping of its arguments, {{}} for none, found {arguments!r}")
    known = CLASSES[name]
    for argument, value in arguments.items():
        _check_value((OPTION, name, argument), value, known)
    if name == "EarlyStopping":
        _check_monitor(arguments)
    package = PACKAGES.get(name)
    is_needed = name != "DeviceStatsMonitor" or arguments.get("cpu_stats") is not False
    if package is not None and is_needed and importlib.util.find_spec(package) is None:
        raise UsageError(f"{OPTION}: {name}: needs {package}, which is not installed: pip install {package}")


def _check_value(place: tuple[str, ...], value: Any, known: Mapping[str, Any], also: Iterable[str] = ()) -> None:
    """Check the value of the last name of `place`: `known` has its type, or the reason why it cannot be set."""
    *outer, name = place
    within = ": ".join(outer)
    if name not in known:
        names = [*known, *also]
        free = [one for one in names if not isinstance(known.get(one), str)]
        raise UsageError(f"{within}: no name {name}{suggest(name, get_close_matches(name, names, 1) or free)}")
    if isinstance(reason := known[name], str):
        raise UsageError(f"{within}: {name} cannot be set: {reason}")
    try:
        to_type(value, known[name], f"{within}: {name}")
    except DataError as error:
        raise UsageError(str(error)) from error


def _check_monitor(arguments: Mapping[str, Any]) -> None:
    where = f"{OPTION}: EarlyStopping"
    if "monitor" not in arguments:
        raise UsageError(f"{where}: expected monitor, such as val_log10, found none; there are {', '.join(MONITORS)}")
    monitor = arguments["monitor"]
    if monitor == "train_loss":
        raise UsageError(f"{where}: monitor train_loss is the loss of a single step; give train_loss_epoch or val_loss")
    if monitor not in MONITORS:
        raise UsageError(f"{where}: no monitor {monitor}{suggest(monitor, sorted(MONITORS))}")
    if (mode := arguments.get("mode", MONITORS[monitor])) != MONITORS[monitor]:
        better = {"min": "lower", "max": "higher"}[MONITORS[monitor]]
        raise UsageError(f"{where}: mode {mode}: a {better} {monitor} is better; leave it out, or give its opposite")


def check_monitored(mapping: Mapping[str, Any] | None, kind: TrainedKind) -> None:
    """Check that a run on depth of a kind logs what is monitored: without metres, nothing that has a unit.

    Args:
        mapping: As `check_lightning` accepts it.
        kind: Of the training set.

    Raises:
        UsageError: It does not.
    """
    monitor = ((mapping or {}).get("EarlyStopping") or {}).get("monitor")
    known = METRIC_NAMES.get(str(monitor).removeprefix("val_"))
    if kind == "up_to_scale" and known and known.unit:
        raise UsageError(
            f"{OPTION}: EarlyStopping: monitor {monitor} is in metres, and the depth of the training set is up to "
            "scale, so it is not measured; give val_log10"
        )


def _check_together(mapping: Mapping[str, Any]) -> None:
    """Check that there is one of what there can be one of."""
    profilers = [name for name in (*PROFILERS, "profiler") if mapping.get(name) is not None]
    averages = [name for name in AVERAGES if name in mapping]
    for names, what in ((profilers, "profiler"), (averages, "average of the weights")):
        if len(names) > 1:
            raise UsageError(f"{OPTION}: expected one {what}, found {' and '.join(names)}")


def check_same_learning(now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> None:
    """Check that a resumed run learns as before: loggers, profilers and monitors may be others.

    Args:
        now: The mapping of the resumed run.
        before: The one that the run was begun with.

    Raises:
        UsageError: It does not; the message has both values.
    """
    for name in LEARNS:
        was, found = (mapping.get(name) if mapping else None for mapping in (before, now))
        if was != found:
            raise UsageError(
                f"--resume: the run was begun with {OPTION}: {name} {_word(was)}, not {_word(found)}; repeat it, or "
                "begin another run with another --out"
            )


def _word(value: Any) -> str:
    return "not set" if value is None else str(value)
