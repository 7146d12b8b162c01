"""Going on with a fine-tuning run: whether it is the same run, and from which checkpoint."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from sharding.errors import DataError, UsageError
from training.checkpoint.counter import saved_state
from training.checkpoint.newest import find_newest, say_resumed
from training.finetuning.depth_data import DepthData, describe_set
from training.finetuning.record import METRICS_NAME, RunRecord
from training.runfolder import checkpoint_path

# What may differ: where and in which pieces the run is computed, not what it learns. Sets go by identity.
MAY_CHANGE = (
    *("set", "val", "out", "micro_batch", "num_workers", "cache", "cache_size", "pipe"),
    *("devices", "accelerator", "checkpoint_every", "resume"),
)


def is_finished(out: str | Path) -> bool:
    """Whether a run folder holds a run that came to its end."""
    file = Path(out) / METRICS_NAME
    return file.is_file() and bool(json.loads(file.read_text()).get("finished", False))


def go_on(out: str | Path, data: DepthData) -> tuple[Path | None, int]:
    """Find the newest good checkpoint of a run, check that its sets are these, and say where it stands.

    Returns:
        The checkpoint to go on from, and its optimizer steps; None and 0 if the run has none yet.

    Raises:
        DataError: No checkpoint is whole, or the newest is none of a fine-tuning run.
        UsageError: The sets are others; names both.
    """
    checkpoint = find_newest(checkpoint_path(out, "last").parent)
    if checkpoint is None:
        return None, 0
    content = read_checkpoint(checkpoint)
    about = content["callbacks"][RunRecord.__qualname__]["about"]
    for name, samples in (("train", data.train), ("val", data.val)):
        if (before := about[name]) != (found := describe_set(samples)):
            raise UsageError(f"--resume: the {name} set of {out} was {before}, found {found}; give that one")
    state = saved_state(content)
    say_resumed(checkpoint, state)
    return checkpoint, state.steps


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Read the checkpoint of a fine-tuning run; its tensors stay on the disk until they are used.

    Raises:
        DataError: The file is damaged, or no checkpoint of a fine-tuning run.
    """
    try:
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        content["callbacks"][RunRecord.__qualname__]["about"]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise DataError(
            f"{checkpoint}: expected a checkpoint of `depthstream finetune`, found none ({error}); remove it and "
            "resume: the run goes on from the one before it, or begins again"
        ) from error
    return content
