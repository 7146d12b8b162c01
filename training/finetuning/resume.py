"""Resume a fine-tuning run: check that it is the same run, and find the checkpoint to continue from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Count, Text, to_type
from training.checkpoint.counter import saved_state
from training.checkpoint.newest import find_newest, say_resumed
from training.checkpoint.saved_run import read_saved_run
from training.depth_sets.description import decisive, describe_set
from training.finetuning.depth_data import DepthData
from training.finetuning.record import RunRecord, RunSets
from training.finetuning.trace import check_encoder
from training.model.depth_unet import CHECKPOINT
from training.model.hyperparameters import DECAYS, Decay
from training.runfolder import FORMER_MONITOR, checkpoint_path


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


class _SavedRow(msgspec.Struct):
    """What every row in a checkpoint has."""

    epoch: Count
    samples_seen: Count
    train_loss: float
    val_abs_rel: float
    val_log10: float
    seconds: float = 0.0


class _SavedTrace(msgspec.Struct):
    """What is read of a trace; see `training.finetuning.trace`."""

    encoder_sha256: Text | None = None
    resumes: list[dict[str, Any]] = []


class _RecordState(msgspec.Struct):
    """The state of a `RunRecord` in a checkpoint; the fields with defaults are missing in those of earlier versions."""

    rows: list[_SavedRow]
    about: RunSets
    monitor: Literal["log10", "abs_rel"] = FORMER_MONITOR
    seconds: float | None = None
    device_seconds: float | None = None
    trace: _SavedTrace = msgspec.field(default_factory=_SavedTrace)


class _Saved(msgspec.Struct):
    decay: Decay = "all"  # before there was a choice


def find_resume(out: str | Path, data: DepthData, encoder: str) -> Resume:
    """Find the newest undamaged checkpoint of a run, check that it used the same, and report its position.

    Args:
        out: Run folder.
        data: The sets, as they are now.
        encoder: Value of --encoder.

    Raises:
        DataError: All checkpoints are damaged, or the newest is not that of a fine-tuning run.
        UsageError: The run used other sets, or another encoder; the message describes both.
    """
    checkpoint = find_newest(checkpoint_path(out, "last").parent)
    if checkpoint is None:
        return Resume()
    content = read_checkpoint(checkpoint)
    about = content["callbacks"][RunRecord.__qualname__]["about"]
    for name, samples in (("train", data.train), ("val", data.val)):
        if (before := decisive(about[name])) != (found := decisive(describe_set(samples))):
            raise UsageError(f"--resume: the {name} set of {out} was {before}, found {found}; give that one")
    trace = content["callbacks"][RunRecord.__qualname__].get("trace", {})
    check_encoder(encoder, trace.get("encoder_sha256"))
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
        to_type(content["callbacks"].get(RunRecord.__qualname__), _RecordState, str(checkpoint), "callbacks.RunRecord")
    except DataError as error:
        raise DataError(
            f"{error}; remove it and use --resume: the run continues from the checkpoint before it, or starts again"
        ) from error
    return content
