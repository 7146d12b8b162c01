"""Progress of training on stderr, of both trainers."""

from collections.abc import Callable, Iterator
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from sharding.progress import track
from training.monitoring.run_clock import RunClock


class TrainProgress(Callback):
    """A bar over the training steps of each epoch, on stderr, with the time that is left of the whole run.

    Args:
        describe: Says in a few words how good the network is by now; "" if that is not known.
        clock: Measures the run; by default a new one.
    """

    def __init__(self, describe: Callable[[], str] | None = None, clock: RunClock | None = None) -> None:
        self._describe, self._clock = describe, clock or RunClock()
        self._bar: Iterator[int] | None = None
        self._left: tuple[int, int] | None = None  # batches and ends of epochs; None: no end is known

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the bar of the epoch before."""
        self._bar = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the bar at the first batch: Lightning reports no epoch start when it resumes midway."""
        self._clock.begin_batch()
        if self._bar is None:
            total = int(trainer.num_training_batches)
            label = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            items = range(batch_idx, total)
            self._bar = track(items, total=total, unit="batches", label=label, done=batch_idx, note=self._note)
            next(self._bar, None)  # draws the bar; each further `next` advances it by a batch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar; it ends after the last batch."""
        total = int(trainer.num_training_batches)
        self._clock.end_batch(is_last=batch_idx + 1 == total)
        self._left = None
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:  # -1: no end is set
            epochs = trainer.max_epochs - trainer.current_epoch
            self._left = epochs * total - batch_idx - 1, epochs
        next(self._bar or iter(()), None)

    def _note(self) -> str:
        left = self._clock.describe(*self._left) if self._left else ""
        return "; ".join(filter(None, (left, self._describe() if self._describe else "")))


def replace_bar(trainer: Any) -> None:
    """Show `TrainProgress` in place of Lightning's bar, which rewrites one line even in a log file."""
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.disable()
    trainer.callbacks.append(TrainProgress())
