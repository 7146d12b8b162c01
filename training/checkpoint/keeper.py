"""Saving a run while it trains: at intervals, at each epoch's end, and when it is asked to stop."""

import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import distributed

from sharding.errors import Interrupted
from training.checkpoint.cadence import Cadence
from training.checkpoint.counter import SampleCounter, stepped
from training.checkpoint.loops import leave_signals_alone
from training.checkpoint.newest import LAST_NAME, keep_as_previous, remove_leftovers
from training.checkpoint.stop import StopSignals
from training.checkpoint.writer import save_and_say
from training.launch.late_value import LateValue

_SAVE = 1.0  # less than the number of any signal in SIGNALS, so that a stop wins when ranks take the maximum


class CheckpointKeeper(Checkpoint):
    """The last two checkpoints of a run, `last.ckpt` and the one before it, `last-1.ckpt`, saved as it trains.

    All ranks save together, at the same step: after each optimizer step they agree on whether any of them was asked to
    stop, and whether rank 0 finds that a checkpoint is due by its clock. Of several ranks the answer is read one step
    later, so that none waits for its device in every step; what is due by steps all know at once. The state that
    resuming needs is put into the checkpoints by `SampleCounter`; write them with `AtomicCheckpointIO`.

    Args:
        folder: Folder of the checkpoints.
        cadence: How often to save.
        counter: Counter of the run, an earlier callback of the same trainer.
        stop: An entered context; its signals are obeyed at the end of a step from the first one on.
    """

    def __init__(self, folder: Path, cadence: Cadence, counter: SampleCounter, stop: StopSignals) -> None:
        self._folder, self._cadence, self._counter, self._stop = folder, cadence, counter, stop
        self._saved_at_s, self._saved_step = 0.0, 0
        self._asked: tuple[LateValue, int] | None = None  # what the ranks agreed on last, and after how many steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Disable Lightning's signal handlers."""
        leave_signals_alone(trainer)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Defer signals from now on; during this check, to the end of a validation batch."""
        self._stop.defer()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Defer signals, remove leftovers of a killed run, and start the clock of the cadence."""
        self._stop.defer()
        if trainer.is_global_zero:
            remove_leftovers(self._folder)
        self._saved_at_s, self._saved_step, self._asked = time.monotonic(), self._counter.state.steps, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if due, save and end if asked to stop; never between the micro-batches of a step.

        Raises:
            Interrupted: A rank was asked to stop, and the state is saved.
        """
        if stepped(trainer, batch_idx):
            self._obey(trainer, max(self._read_agreed(trainer), _SAVE * self._due_by_steps()))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, loader: int = 0
    ) -> None:
        """Save and end if asked to stop; the resumed run validates again from the first batch.

        Raises:
            Interrupted: A rank was asked to stop; the state is saved, unless this is the check before the first step.
        """
        if trainer.state.fn != "fit":
            return  # `Trainer.validate` has no state to save
        # Only a stop is obeyed here: a checkpoint that is due waits for a training step or the epoch's end.
        wish = self._agree(trainer).read()
        if wish > _SAVE and trainer.sanity_checking:
            raise Interrupted(int(wish), "stopped before the first step; run the same command again with --resume")
        if wish > _SAVE:
            self._obey(trainer, wish)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the counter, called before, is at the beginning of the next epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt` and report its size and time; all ranks must call this.

        A model may have `require_finite()`, which raises if its weights are not worth saving.
        """
        if check := getattr(trainer.lightning_module, "require_finite", None):
            check()  # before the checkpoint that is good gives way
        if trainer.is_global_zero:
            # First: whatever happens to the write, the checkpoint before it is whole under one name at least.
            keep_as_previous(self._folder)
        save_and_say(trainer, self._folder / LAST_NAME, str(self._counter.state))
        self._saved_at_s, self._saved_step = time.monotonic(), self._counter.state.steps

    def _read_agreed(self, trainer: Trainer) -> float:
        """Return what the ranks agreed on: alone after this step, of several after the step before."""
        now = self._agree(trainer)
        if trainer.world_size == 1:
            return now.read()
        before, self._asked = self._asked, (now, self._counter.state.steps)
        if before is None:
            return 0.0
        wish, asked_step = before[0].read(), before[1]
        # A stop is never forgotten; a checkpoint may have been saved since it was asked for.
        return 0.0 if wish == _SAVE and asked_step <= self._saved_step else wish

    def _agree(self, trainer: Trainer) -> LateValue:
        """Return the most urgent request of all ranks: 0 for none, `_SAVE`, or the number of a signal."""
        wish = float(self._stop.received or 0)
        # Only rank 0 looks at the clock: clocks differ, and all ranks must save at the same step.
        if wish == 0 and trainer.is_global_zero and self._due_by_time():
            wish = _SAVE
        if trainer.world_size == 1:
            return LateValue(torch.tensor(wish))
        # A collective: every rank calls this after the same batches, whatever its own request. Filled by a kernel, as a
        # copy from this process would block it; and not by `Strategy.reduce`, which waits at a barrier first.
        most = torch.full((), wish, device=trainer.strategy.root_device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        return LateValue(most)

    def _due_by_time(self) -> bool:
        return self._cadence.due(0, time.monotonic() - self._saved_at_s)

    def _due_by_steps(self) -> bool:
        return self._cadence.due(self._counter.state.steps - self._saved_step, 0.0)

    def _obey(self, trainer: Trainer, wish: float) -> None:
        if wish:
            self.save(trainer)
        if wish > _SAVE:
            raise Interrupted(int(wish), f"stopped at {self._counter.state}, saved; run the same command with --resume")
