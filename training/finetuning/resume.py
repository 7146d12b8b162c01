"""Resume a fine-tuning run: check that it is the same run, and find the checkpoint to continue from."""

from pathlib import Path
from typing import Any

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import to_type
from training.checkpoint.counter import saved_state
from training.checkpoint.newest import find_newest, say_resumed
from training.checkpoint.saved_run import read_saved_run
from training.finetuning.depth_data import DepthData, describe_set
from training.finetuning.record import RecordState, RunRecord
from training.model.depth_unet import CHECKPOINT
from training.runfolder import checkpoint_path


def find_resume(out: str | Path, data: DepthData) -> tuple[Path | None, int]:
    """Find the newest undamaged checkpoint of a run, check that it used the same sets, and report its position.

    Returns:
        The checkpoint to resume from, and its optimizer steps; None and 0 if the run has no checkpoint yet.

    Raises:
        DataError: All checkpoints are damaged, or the newest is not that of a fine-tuning run.
        UsageError: The run used other sets; the message describes both.
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
