"""Arguments of `lightly_train.pretrain`: where each comes from, and what is wrong with them, without importing it."""

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sharding.errors import UsageError
from sharding.options import suggest
from sharding.stores.address import is_remote
from training.config import PretrainConfig
from training.lightlytrain.models import check_model
from training.lightlytrain.names import (
    ACTIVATION_CHECKPOINT_ARGS,
    CALLBACKS,
    LOADER_ARGS,
    LOGGERS,
    METHOD_ARGS,
    OPTIM_ARGS,
    TRAINER_ARGS,
    TRANSFORM_ARGS,
)

OPTIONS = (
    *("accelerator", "activation_checkpoint_args", "batch_size", "callbacks", "checkpoint", "devices", "embed_dim"),
    *("epochs", "float32_matmul_precision", "gradient_accumulation_steps", "loader_args", "loggers", "method"),
    *("method_args", "model", "model_args", "num_workers", "optim", "optim_args", "out", "precision", "seed"),
    *("trainer_args", "transform_args"),
)
"""Arguments that are options of the command, by the same name."""

DECIDED = {
    "data": "the positional SET ...",
    "num_nodes": "the number of nodes that torchrun or srun started",
    "overwrite": "--resume, and the rule that a used folder is not written to without it",
    "resume": "--resume; LightlyTrain calls it deprecated",
    "resume_interrupted": "--resume",
    "strategy": "the one that streams the sets to the devices",
}
"""Arguments that the command decides, and by what."""

_TEACHER = {"teacher": "--teacher", "teacher_weights": "--teacher-weights"}
START_METHODS = ("fork", "forkserver", "spawn")


def check_arguments(config: PretrainConfig) -> None:
    """Check the arguments that LightlyTrain gets, as far as names tell.

    Raises:
        UsageError: A name is unknown or cannot be set, or a package is not installed.
    """
    check_model(config.model)
    check_names("method_args", config.method_args, METHOD_ARGS[config.method], f" of --method {config.method}")
    for name in _TEACHER.keys() & (config.method_args or {}).keys():
        raise UsageError(f"method_args: {name} cannot be set: give {_TEACHER[name]}")
    check_names("optim_args", config.optim_args, OPTIM_ARGS[config.optim], f" of --optim {config.optim}")
    check_names("transform_args", config.transform_args, TRANSFORM_ARGS[config.method], f" of --method {config.method}")
    if "image_size" in (config.transform_args or {}):
        raise UsageError("transform_args: image_size cannot be set: give --image-size")
    check_names("activation_checkpoint_args", config.activation_checkpoint_args, ACTIVATION_CHECKPOINT_ARGS)
    for name, known in (("callbacks", CALLBACKS), ("loader_args", LOADER_ARGS), ("trainer_args", TRAINER_ARGS)):
        _check_allowed(name, getattr(config, name), known)
    _check_packages(config)
    _check_workers(config)
    _check_views(config)


def check_names(option: str, found: Mapping[str, Any] | None, known: Iterable[str], of: str = "") -> None:
    """Check that a mapping has known names alone.

    Raises:
        UsageError: It has another; the message has the closest known one.
    """
    if unknown := [name for name in found or () if name not in known]:
        raise UsageError(f"{option}: no name {unknown[0]}{of}{suggest(unknown[0], sorted(known))}")


def _check_allowed(option: str, found: Mapping[str, Any] | None, known: Mapping[str, str | None]) -> None:
    check_names(option, found, known)
    for name in found or ():
        if reason := known[name]:
            raise UsageError(f"{option}: {name} cannot be set: {reason}")


def _check_packages(config: PretrainConfig) -> None:
    """Check that what is asked for has its package."""
    loggers = config.loggers or {}
    check_names("loggers", loggers, LOGGERS)
    needed = {f"loggers: {name}": LOGGERS[name] for name, value in loggers.items() if value is not None}
    needed["--optim adamw8bit"] = "bitsandbytes" if config.optim == "adamw8bit" else None
    in_engine = config.precision.startswith("transformer-engine")
    needed[f"--precision {config.precision}"] = "transformer_engine" if in_engine else None
    for what, package in needed.items():
        if package is not None and importlib.util.find_spec(package) is None:
            raise UsageError(f"{what}: needs {package}, which is not installed: pip install {package}")


def _check_workers(config: PretrainConfig) -> None:
    given = config.loader_args or {}
    for name, (allowed, expected) in _LOADER_VALUES.items():
        if name in given and not allowed(given[name]):
            raise UsageError(f"loader_args: {name}: expected {expected}, found {given[name]!r}")
    if "prefetch_factor" in given and config.num_workers == 0:
        raise UsageError("loader_args: prefetch_factor: --num-workers 0 has no workers that make batches in advance")
    method = given.get("multiprocessing_context")
    if method is None:
        return
    if method not in START_METHODS:
        raise UsageError(
            f"loader_args: multiprocessing_context: expected one of {', '.join(START_METHODS)}, found {method!r}"
        )
    if method == "fork" and any(map(is_remote, config.sets)):
        raise UsageError(
            "loader_args: multiprocessing_context: a connection to a set behind a URL does not survive a fork; give "
            "forkserver"
        )


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


_LOADER_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "pin_memory": (_is_switch, "true or false"),
    "persistent_workers": (_is_switch, "true or false"),
    "prefetch_factor": (lambda value: type(value) is int and value > 0, "a number of batches, 1 or more"),
    "timeout": (lambda value: type(value) in (int, float) and value >= 0, "seconds, 0 or more"),
}


def _check_views(config: PretrainConfig) -> None:
    """Check what else LightlyTrain would refuse, or fail on at the first step."""
    args = config.transform_args or {}
    if args.get("num_channels", 3) not in (3, "auto"):
        raise UsageError("transform_args: num_channels: images of sets are decoded to 3 channels, RGB; leave it out")
    rotated = args["random_rotation"] is not None if "random_rotation" in args else config.rotation != 0
    if config.method == "dinov31" and rotated and args.get("record_geometry", True):
        raise UsageError("--method dinov31 compares places of its views, which must not be rotated: give --rotation 0")
    if config.precision == "bf16-true":
        raise UsageError(
            "--precision bf16-true: LightlyTrain 0.18 fails where it plots the first views; give bf16-mixed"
        )


def merge(base: Mapping[str, Any], over: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `base` with the values of `over` in place of its own, level by level."""
    merged = dict(base)
    for name, value in (over or {}).items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
