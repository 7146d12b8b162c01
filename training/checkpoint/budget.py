"""How many damaged samples a run may meet: counted over all ranks, each once, and kept in its checkpoints."""

from collections.abc import Sequence
from typing import Any

import torch
from msgspec import Struct
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import distributed

from sharding.errors import DataError
from sharding.format.strict_json import Count, Text, to_type
from sharding.progress import say
from training.checkpoint.counter import stepped
from training.launch.late_value import LateValue
from training.loading.bad_samples import BadSample, take_marks

TAG = "data/bad_samples"
"""Name under which the number is logged at each epoch's end."""

_MOST_SHOWN = 30


class _Saved(Struct):
    found: list[tuple[Count, Text]]


class BadSampleBudget(Callback):
    """A callback that takes the marks of damaged samples out of the batches, counts them, and stops at too many.

    A sample counts once, however often it is drawn, and from the batch in which it would have been trained on, not when
    a worker met it: so the count is the same for any number of workers, and after a resumption. Of several ranks each
    learns what the others found a step later, so that none waits for its device in every step.

    Args:
        limit: Damaged samples that the run may meet.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[int, str] = {}  # number of the sample -> its key, in the order in which they were met
        self._untold: list[BadSample] = []  # what the other ranks do not know yet
        self._asked: LateValue | None = None  # whether any rank had something to tell, after the step before

    @property
    def keys(self) -> list[str]:
        """Keys of the damaged samples so far."""
        return list(self._found.values())

    @property
    def tolerates(self) -> bool:
        """Whether the data sets have to mark damaged samples instead of raising."""
        return self._limit > 0

    def state_dict(self) -> dict[str, Any]:
        """Return the samples found so far, for the checkpoint."""
        return {"found": [[number, key] for number, key in self._found.items()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the samples of a checkpoint.

        Raises:
            DataError: The content is something else.
        """
        self._found = dict(to_type(state_dict, _Saved, "the checkpoint: the damaged samples").found)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check what a checkpoint brought, whose run may have had a larger limit.

        Raises:
            DataError: There are more than the limit.
        """
        self._untold, self._asked = [], None
        self._require()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the marks out of a batch and count them, before the model sees it.

        Raises:
            DataError: There are more than the limit; if there are several ranks, it is raised after the step.
        """
        marks = take_marks(batch)
        self._untold += self._add(marks)
        if trainer.world_size == 1:
            self._require()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Learn what other ranks found, at the end of a step.

        Raises:
            DataError: There are more than the limit; it is raised on all ranks.
        """
        if self._is_shared(trainer) and stepped(trainer, batch_idx):
            asked, self._asked = self._asked, self._ask(trainer)
            if asked is not None and asked.read():
                self._exchange(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the count; all ranks agree on it.

        Raises:
            DataError: There are more than the limit.
        """
        if self._is_shared(trainer):
            self._exchange(trainer)
        if self.tolerates:
            for logger in trainer.loggers:
                logger.log_metrics({TAG: len(self._found)}, step=trainer.global_step)
        if self._found:
            say(f"epoch {trainer.current_epoch + 1}: {len(self._found)} damaged samples so far, see above")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put what all ranks found into the checkpoint, which only rank 0 writes; all ranks call this together."""
        if self._is_shared(trainer):
            self._exchange(trainer)
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def _is_shared(self, trainer: Trainer) -> bool:
        return self.tolerates and trainer.world_size > 1

    def _ask(self, trainer: Trainer) -> LateValue:
        """Begin to find out whether any rank has something to tell."""
        # Filled by a kernel: a copy from this process would wait for the device.
        most = torch.full((), float(len(self._untold)), device=trainer.strategy.root_device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        return LateValue(most)

    def _exchange(self, trainer: Trainer) -> None:
        """Add what the other ranks found; all ranks must call this, and count the same afterwards."""
        told: list[list[BadSample]] = [[] for _ in range(trainer.world_size)]
        distributed.all_gather_object(told, self._untold)
        self._untold = []
        for marks in told:
            self._add(marks)
        self._require()

    def _add(self, marks: Sequence[BadSample]) -> list[BadSample]:
        """Count and report samples; return those that were not known yet."""
        fresh = list({mark.number: mark for mark in marks if mark.number not in self._found}.values())
        for mark in fresh:
            self._found[mark.number] = mark.key
            say(f"a damaged sample is left out ({len(self._found)} of at most {self._limit}): {mark.reason}")
        return fresh

    def _require(self) -> None:
        """Check the count.

        Raises:
            DataError: It is above the limit.
        """
        if len(self._found) > self._limit:
            raise DataError(
                f"{len(self._found)} damaged samples, more than --max-bad {self._limit}: {_list(self.keys)}; "
                "`depthstream verify` tells what is damaged: get a whole copy of the set, or give a larger --max-bad"
            )


def _list(keys: Sequence[str]) -> str:
    more = len(keys) - _MOST_SHOWN
    return ", ".join(keys[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
