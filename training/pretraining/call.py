"""The arguments with which the command calls `lightly_train.pretrain`."""

from pathlib import Path
from typing import Any

from training.config import PretrainConfig
from training.lightlytrain.arguments import merge
from training.lightlytrain.methods import patch_px, teacher_args
from training.lightlytrain.names import LOCAL_PX
from training.pretraining.augmentations import get_transform_args
from training.runfolder import CHECKPOINTS_NAME, LIGHTLY_NAME

_AS_THEY_ARE = (
    *("activation_checkpoint_args", "embed_dim", "epochs", "float32_matmul_precision", "gradient_accumulation_steps"),
    *("loggers", "method", "model", "model_args", "num_workers", "optim", "optim_args", "precision"),
    "seed",
)
"""Options that LightlyTrain gets as they are."""


def make_arguments(
    config: PretrainConfig, folder: Path, interrupted: bool, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Return the arguments of `lightly_train.pretrain` other than the stream.

    Args:
        config: Options of the command.
        folder: The run folder.
        interrupted: Whether a run is resumed.
        checkpoint: Weights to begin with.
    """
    # This callback adds LightlyTrain's models to every checkpoint and finds them again; `CheckpointKeeper` writes.
    saving = {"dirpath": str(folder / CHECKPOINTS_NAME), "save_last": False, "save_top_k": 0}
    return {name: getattr(config, name) for name in _AS_THEY_ARE} | {
        "out": folder / LIGHTLY_NAME,
        "method_args": merge(config.method_args or {}, teacher_args(config)),
        "transform_args": make_transform_args(config),
        # LightlyTrain's batch is that of a micro-batch of all devices.
        "batch_size": config.batch_size // config.gradient_accumulation_steps,
        "checkpoint": checkpoint,
        "callbacks": {**(config.callbacks or {}), "model_checkpoint": saving},
        # LightlyTrain takes entries out of what it is given.
        "loader_args": None if config.loader_args is None else dict(config.loader_args),
        "trainer_args": {**(config.trainer_args or {}), "deterministic": config.deterministic},
        "resume_interrupted": interrupted,
        "overwrite": not interrupted,  # what a start has left that reached no checkpoint
    }


def make_transform_args(config: PretrainConfig) -> dict[str, Any]:
    """Return the augmentation at the image size, under `transform_args`; local views keep their share of that size."""
    args = get_transform_args(config.augmentation, vertical_flip=config.vertical_flip, rotation=config.rotation)
    args["image_size"] = (config.image_size, config.image_size)
    if (side := LOCAL_PX.get(config.method)) is not None:
        patch = patch_px(config.model)
        local = patch * max(1, round(config.image_size * side / 224 / patch))
        args["local_view"] = {"view_size": (local, local)}
    return merge(args, config.transform_args)
