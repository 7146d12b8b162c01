"""Counting the samples that a trainer has consumed, and beginning a resumed run at the very next one."""

import warnings
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from sharding.errors import DataError
from training.checkpoint.loops import begin_epoch_afresh, place_loops
from training.checkpoint.seeds import seed_generators
from training.checkpoint.state import TrainState
from training.loading.sampler import TrainSampler

_NOT_RESUMABLE = "You're resuming from a checkpoint that ended before the epoch ended"  # it asks the loader, not us


class SampleCounter(Callback):
    """Keeps the state of a run, puts it into its checkpoints, and makes a run that goes on stand where it says.

    It must be the first callback, so that whoever saves a checkpoint at a step or an epoch's end saves the state of
    after it. Lightning's own ways are not used: it drops a loader's state when the number of steps was asked for
    before (Lightning issue 20550), and makes the first iterator before it tells the sampler which epoch it is (issue
    21938). Here the sampler is told the place when the checkpoint is read, before any iterator is made.

    Also seeds the global generators at each micro-batch, see `training.checkpoint.seeds`.

    Args:
        seed: The run's.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler: TrainSampler | None = None
        self._restored: TrainState | None = None
        self._state: TrainState | None = None

    @property
    def state(self) -> TrainState:
        """Where the run stands.

        Raises:
            RuntimeError: There is no sampler yet.
        """
        if self._state is None:
            raise RuntimeError("the state of a run is known once it has a sampler: call attach() first")
        return self._state

    def attach(self, sampler: TrainSampler) -> None:
        """Take the sampler of the training loader; before or after a checkpoint is loaded.

        Raises:
            UsageError: The checkpoint counts other samples.
        """
        self._sampler = sampler
        self._begin()

    def _begin(self) -> None:
        """Start at the first sample, or where the checkpoint says, as soon as there are both sampler and place."""
        if self._sampler is None:
            return
        fresh = TrainState(seed=self._seed, batch_size=self._sampler.batch_size, num_samples=self._sampler.num_samples)
        if self._restored is not None:
            self._restored.check_same_run(fresh)
        self._state = self._restored or fresh
        self._sampler.resume(self._state.epoch, self._state.samples_consumed)

    def state_dict(self) -> dict[str, Any]:
        """The state at the last optimizer step."""
        return self.state.to_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the state, and derive Lightning's counters from it.

        Raises:
            DataError: The checkpoint holds no state.
        """
        self._restored = saved_state(checkpoint)
        if self._restored.is_epoch_trained and not trainer.enable_validation:
            self._restored = self._restored.after_epoch()  # its end would want metrics that died with the process
        warnings.filterwarnings("ignore", message=_NOT_RESUMABLE)
        loops: dict[str, Any] = checkpoint["loops"]["fit_loop"]
        place_loops(loops, self._restored, trainer.accumulate_grad_batches)
        self._begin()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that all ranks stand at the same place, before they do anything together.

        Raises:
            DataError: They do not: they read different checkpoints, or some found none.
        """
        place = (0, 0) if self._restored is None else (self._restored.epoch, self._restored.samples_consumed)
        least, most = (tuple(_reduce(trainer, place, how)) for how in ("min", "max"))
        if least != most:
            raise DataError(
                f"the ranks read different checkpoints: from epoch {least[0]}, sample {least[1]} to epoch {most[0]}, "
                f"sample {most[1]} (0, 0 is none); the run folder must be one that all nodes share"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the epoch where the checkpoint says."""
        if self._restored is not None and self.state.samples_consumed == 0:
            begin_epoch_afresh(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators for this micro-batch."""
        share = self.state.batch_size // trainer.world_size
        turn = batch_idx % trainer.accumulate_grad_batches
        offset = trainer.global_rank * share + turn * (share // trainer.accumulate_grad_batches)
        seed_generators(self._seed, self.state.epoch, self.state.samples_consumed + offset)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of a step."""
        if stepped(trainer, batch_idx):
            self._state = self.state.after_step()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the next epoch."""
        self._state = self.state.after_epoch()


def stepped(trainer: Trainer, batch_idx: int) -> bool:
    """Whether an optimizer step followed on micro-batch `batch_idx` of the epoch."""
    return (batch_idx + 1) % int(trainer.accumulate_grad_batches) == 0


def saved_state(checkpoint: dict[str, Any]) -> TrainState:
    """The state that a `SampleCounter` put into a checkpoint.

    Raises:
        DataError: There is none.
    """
    content = checkpoint.get("callbacks", {}).get(SampleCounter.__qualname__)
    if content is None:
        raise DataError(
            "the checkpoint does not say which samples it was trained on: it is none that a run can go on from "
            "exactly (the best one, for instance, holds weights only); resume with the last one, or begin another run"
        )
    return TrainState.from_dict(content)


def _reduce(trainer: Trainer, values: tuple[int, ...], how: str) -> list[int]:
    tensor = torch.tensor(values, device=trainer.strategy.root_device)
    reduced: torch.Tensor = trainer.strategy.reduce(tensor, reduce_op=how)
    return [int(value) for value in reduced]
