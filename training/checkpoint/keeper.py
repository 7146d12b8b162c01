"""Saving a run while it trains: now and then, at each epoch's end, and when it is asked to stop."""

import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from sharding.errors import Interrupted
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import SampleCounter, stepped
from training.checkpoint.loops import leave_signals_alone
from training.checkpoint.newest import LAST_NAME, keep_as_previous, remove_leftovers
from training.checkpoint.stop import StopSignals
from training.checkpoint.writer import save_and_say

_SAVE = 1.0  # a signal's number is larger


class CheckpointKeeper(Checkpoint):
    """Keeps the last two checkpoints of a run, `last.ckpt` and the one before it, `last-1.ckpt`.

    Saving is done by all ranks together, at the same step: after each optimizer step they agree on whether anyone was
    asked to stop, and whether rank 0 finds it time to save. What the checkpoints hold that a run needs to go on is the
    `SampleCounter`'s; write them with `AtomicCheckpointIO`.

    Args:
        folder: Of the checkpoints.
        cadence: How often.
        counter: Of the run.
        stop: Entered; its signals are obeyed at steps from the first one on.
    """

    def __init__(self, folder: Path, cadence: Cadence, counter: SampleCounter, stop: StopSignals) -> None:
        self._folder, self._cadence, self._counter, self._stop = folder, cadence, counter, stop
        self._saved_at_s, self._saved_step = 0.0, 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep Lightning's hands off the signals."""
        leave_signals_alone(trainer)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From now on, wait for the end of a step."""
        self._stop.defer()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, make room, and start the clock."""
        self._stop.defer()
        if trainer.is_global_zero:
            remove_leftovers(self._folder)
        self._saved_at_s, self._saved_step = time.monotonic(), self._counter.state.steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, save and end if asked to; never between the micro-batches of a step.

        Raises:
            Interrupted: A rank was asked to stop, and the state is saved.
        """
        if stepped(trainer, batch_idx):
            self._obey(trainer, self._agree(trainer))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, loader: int = 0
    ) -> None:
        """End if asked to; the validation is then done again.

        Raises:
            Interrupted: A rank was asked to stop, and the state is saved.
        """
        if trainer.state.fn != "fit":
            return
        wish = self._agree(trainer)
        if wish > _SAVE and trainer.sanity_checking:
            raise Interrupted(int(wish), "stopped before the first step; run the same command again with --resume")
        if wish > _SAVE:
            self._obey(trainer, wish)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state at the beginning of the next epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt` and say what it cost; all ranks must call it."""
        if trainer.is_global_zero:
            keep_as_previous(self._folder)
        save_and_say(trainer, self._folder / LAST_NAME, str(self._counter.state))
        self._saved_at_s, self._saved_step = time.monotonic(), self._counter.state.steps

    def _agree(self, trainer: Trainer) -> float:
        """The largest wish of all ranks: 0 for none, `_SAVE`, or the number of a signal."""
        wish = float(self._stop.received or 0)
        if wish == 0 and trainer.is_global_zero and self._due():
            wish = _SAVE
        if trainer.world_size == 1:
            return wish
        return float(trainer.strategy.reduce(torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"))

    def _due(self) -> bool:
        return self._cadence.due(self._counter.state.steps - self._saved_step, time.monotonic() - self._saved_at_s)

    def _obey(self, trainer: Trainer, wish: float) -> None:
        if wish:
            self.save(trainer)
        if wish > _SAVE:
            raise Interrupted(int(wish), f"stopped at {self._counter.state}, saved; run the same command with --resume")
