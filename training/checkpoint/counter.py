"""Counting the samples that a trainer has consumed, and starting a resumed run at the very next one."""

import warnings
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from sharding.errors import DataError
from training.checkpoint.form import check_optimization, check_progress
from training.checkpoint.loops import begin_epoch_anew, place_loops
from training.checkpoint.seeds import seed_generators
from training.checkpoint.state import TrainState
from training.loading.sampler import TrainSampler

# Lightning checks whether the loader has a state; here the sampler has it.
_NOT_RESUMABLE = "You're resuming from a checkpoint that ended before the epoch ended"


class SampleCounter(Callback):
    """The state of a run, counted at each step, saved in its checkpoints, and restored when the run is resumed.

    It must be the first callback, so that a callback that saves at a step or an epoch's end saves the state after it.
    Lightning's own ways are not used: it drops a loader's state when the number of steps was asked for before
    (Lightning issue 20550), and makes the first iterator before it tells the sampler which epoch it is (issue 21938).
    Here the sampler gets its resume point when the checkpoint is read, before any iterator is made.

    Also seeds the global generators at each micro-batch, see `training.checkpoint.seeds`.

    Attributes:
        seed: Seed of the run; may be set until `attach` is called.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._sampler: TrainSampler | None = None
        self._restored: TrainState | None = None
        self._loaded: dict[str, Any] | None = None  # the checkpoint, until it is restored
        self._state: TrainState | None = None

    @property
    def state(self) -> TrainState:
        """State of the run.

        Raises:
            RuntimeError: `attach` has not been called yet.
        """
        if self._state is None:
            raise RuntimeError("the state of a run is known once it has a sampler: call attach() first")
        return self._state

    def attach(self, sampler: TrainSampler) -> None:
        """Take the sampler of the training loader, before or after a checkpoint is loaded.

        Raises:
            UsageError: The checkpoint is of other samples, another seed or another batch size.
        """
        self._sampler = sampler
        self._begin()

    def _begin(self) -> None:
        """Start at the first sample, or at the resume point of the checkpoint, once the sampler is there."""
        if self._sampler is None:
            return
        fresh = TrainState(seed=self.seed, batch_size=self._sampler.batch_size, num_samples=self._sampler.num_samples)
        if self._restored is not None:
            self._restored.check_same_run(fresh)
        self._state = self._restored or fresh
        self._sampler.resume(self._state.epoch, self._state.samples_consumed)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last optimizer step."""
        return self.state.to_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the state, and set Lightning's counters by it.

        Raises:
            DataError: The checkpoint contains no state, or is not that of such a trainer.
            UsageError: As `attach`.
        """
        check_progress(checkpoint, trainer, self)
        self._restored, self._loaded = saved_state(checkpoint), checkpoint
        if trainer.max_epochs is not None and 0 <= trainer.max_epochs < self._restored.epoch:
            raise DataError(f"the checkpoint is at {self._restored}, and the run has {trainer.max_epochs} epochs")
        if self._restored.is_epoch_trained and not trainer.enable_validation:
            # Without validation only the epoch's end is left, which would log metrics that died with the process.
            self._restored = self._restored.after_epoch()
        warnings.filterwarnings("ignore", message=_NOT_RESUMABLE)
        loops: dict[str, Any] = checkpoint["loops"]["fit_loop"]
        place_loops(loops, self._restored, trainer.accumulate_grad_batches)
        self._begin()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that all ranks resume from the same place, before they start to train together.

        Raises:
            DataError: They read different checkpoints, or some found none; or optimizer or schedule are others.
        """
        if self._loaded is not None:
            check_optimization(self._loaded, trainer)
            self._loaded = None
        place = (0, 0) if self._restored is None else (self._restored.epoch, self._restored.samples_consumed)
        # Component by component: least and most are equal exactly if all ranks have the same place.
        least, most = (tuple(_reduce(trainer, place, how)) for how in ("min", "max"))
        if least != most:
            raise DataError(
                f"the ranks read different checkpoints: from epoch {least[0]}, sample {least[1]} to epoch {most[0]}, "
                f"sample {most[1]} (0, 0: no checkpoint); the run folder must be one that all nodes share"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell Lightning that the epoch is new, if the checkpoint was saved at the end of one."""
        if self._restored is not None and self.state.samples_consumed == 0:
            begin_epoch_anew(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators for this micro-batch."""
        # A global batch is the shares of the ranks, one after the other; each share is cut into micro-batches.
        share = self.state.batch_size // trainer.world_size
        turn = batch_idx % trainer.accumulate_grad_batches
        offset = trainer.global_rank * share + turn * (share // trainer.accumulate_grad_batches)
        seed_generators(self.seed, self.state.epoch, self.state.samples_consumed + offset)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of a step, at its last micro-batch."""
        if stepped(trainer, batch_idx):
            self._state = self.state.after_step()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        self._state = self.state.after_epoch()


def stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether micro-batch `batch_idx` of the epoch, from 0, ended with an optimizer step."""
    # Lightning also steps at the last batch of an epoch, but an epoch consists of whole global batches.
    return (batch_idx + 1) % int(trainer.accumulate_grad_batches) == 0


def saved_state(checkpoint: dict[str, Any]) -> TrainState:
    """Return the state that a `SampleCounter` put into a checkpoint.

    Raises:
        DataError: The checkpoint contains none.
    """
    content = checkpoint.get("callbacks", {}).get(SampleCounter.__qualname__)
    if content is None:
        raise DataError(
            "the checkpoint does not record which samples it was trained on, so no run can resume from it exactly "
            "(the best one, for instance, holds weights only); resume from the last one, or begin another run"
        )
    return TrainState.from_dict(content)


def _reduce(trainer: Trainer, values: tuple[int, ...], how: str) -> list[int]:
    tensor = torch.tensor(values, device=trainer.strategy.root_device)  # NCCL reduces on GPUs only
    reduced: torch.Tensor = trainer.strategy.reduce(tensor, reduce_op=how)
    return [int(value) for value in reduced]
