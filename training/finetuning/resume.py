"""Resume a fine-tuning run: check that it is the same run, and find the checkpoint to continue from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import to_type
from training.checkpoint.counter import saved_state
from training.checkpoint.newest import find_newest, say_resumed
from training.checkpoint.saved_run import read_saved_run
from training.finetuning.depth_data import DepthData, describe_set
from training.finetuning.record import RecordState, RunRecord
from training.model.depth_unet import CHECKPOINT
from training.model.hyperparameters import DECAYS, Decay
from training.runfolder import checkpoint_path


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Where a run goes on.

    Attributes:
        checkpoint: What to load; None for a run that has none yet.
        steps: Optimizer steps that are done.
        decay: What weight decay is for, as `Hyperparameters` has it.
    """

    checkpoint: Path | None = None
    steps: int = 0
    decay: Decay = DECAYS[0]


class _Saved(msgspec.Struct):
    decay: Decay = "all"  # before there was a choice


def find_resume(out: str | Path, data: DepthData) -> Resume:
    """Find the newest undamaged checkpoint of a run, check that it used the same sets, and report its position.

    Raises:
        DataError: All checkpoints are damaged, or the newest is not that of a fine-tuning run.
        UsageError: The run used other sets; the message describes both.
    """
    checkpoint = find_newest(checkpoint_path(out, "last").parent)
    if checkpoint is None:
        return Resume()
    content = read_checkpoint(checkpoint)
    about = content["callbacks"][RunRecord.__qualname__]["about"]
    for name, samples in (("train", data.train), ("val", data.val)):
        if (before := about[name]) != (found := describe_set(samples)):
            raise UsageError(f"--resume: the {name} set of {out} was {before}, found {found}; give that one")
    state = saved_state(content)
    say_resumed(checkpoint, state)
    # A run that was begun before weight decay spared biases and BatchNorm goes on as it was.
    saved = to_type(content.get("hyper_parameters", {}), _Saved, str(checkpoint), "hyper_parameters")
    return Resume(checkpoint=checkpoint, steps=state.steps, decay=saved.decay)


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Read the checkpoint of a fine-tuning run; its tensors are mapped from the file, not loaded, until they are used.

    Raises:
        DataError: The file is damaged, or is not a checkpoint of a fine-tuning run.
    """
    try:
        content = read_saved_run(checkpoint, expected=CHECKPOINT)
        to_type(content["callbacks"].get(RunRecord.__qualname__), RecordState, str(checkpoint), "callbacks.RunRecord")
    except DataError as error:
        raise DataError(
            f"{error}; remove it and use --resume: the run continues from the checkpoint before it, or starts again"
        ) from error
    return content
