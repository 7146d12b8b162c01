"""Going on with a fine-tuning run: whether it is the same run, and where it stands."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from sharding.errors import DataError, UsageError
from training.config import FinetuneConfig
from training.finetuning.checkpoints import checkpoint_path
from training.finetuning.depth_data import DepthData, describe_set
from training.finetuning.record import METRICS_NAME, RunRecord

# What may differ: where and in which pieces the run is computed, not what it learns. Sets go by identity.
MAY_CHANGE = ("set", "val", "out", "micro_batch", "num_workers", "devices", "accelerator", "resume")


def finished_epochs(out: str | Path) -> int:
    """Epochs that a run has behind it; 0 if there is none."""
    file = Path(out) / METRICS_NAME
    return int(json.loads(file.read_text())["epochs"]) if file.is_file() else 0


def go_on(config: FinetuneConfig, data: DepthData) -> Path | None:
    """Check that the sets are those the run was begun with, and point the sampler at the epoch to come.

    Returns:
        The checkpoint to go on from; None if the run has none yet.

    Raises:
        DataError: The checkpoint is damaged.
        UsageError: The sets are others.
    """
    folder = Path(config.out)
    checkpoint = checkpoint_path(folder, "last")
    if not checkpoint.is_file():
        return None
    record = read_record(checkpoint)
    for name, samples in (("train", data.train), ("val", data.val)):
        if (before := record["about"][name]) != (found := describe_set(samples)):
            raise UsageError(f"--resume: the {name} set of {folder} was {before}, found {found}; give that one")
    # Lightning makes the epoch's iterator before it tells the sampler which epoch it is.
    data.sampler.resume(len(record["rows"]), 0)
    return checkpoint


def read_record(checkpoint: Path) -> dict[str, Any]:
    """What `RunRecord` put into a checkpoint: "rows", one for each epoch that is done, and "about".

    Raises:
        DataError: The file is damaged, or no checkpoint of a fine-tuning run.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        record: dict[str, Any] = content["callbacks"][RunRecord.__qualname__]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise DataError(
            f"{checkpoint}: expected a checkpoint of `depthstream finetune`, found none ({error}); if writing it was "
            "cut short, remove it and resume: the run begins again"
        ) from error
    return record
