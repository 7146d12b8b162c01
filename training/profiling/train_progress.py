"""Progress of training on stderr, of both trainers."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from sharding.progress import track


class TrainProgress(Callback):
    """A bar over the training steps of each epoch, on stderr."""

    def __init__(self) -> None:
        self._bar: Iterator[int] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the bar of the epoch before."""
        self._bar = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the bar at the first batch: Lightning reports no epoch start when it resumes midway."""
        if self._bar is None:
            total = int(trainer.num_training_batches)
            label = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar = track(range(batch_idx, total), total=total, unit="batches", label=label, done=batch_idx)
            next(self._bar, None)  # draws the bar; each further `next` advances it by a batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar; it ends after the last batch."""
        next(self._bar or iter(()), None)


def replace_bar(trainer: Any) -> None:
    """Show `TrainProgress` in place of Lightning's bar, which rewrites one line even in a log file."""
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    trainer.callbacks.append(TrainProgress())
