"""Keeping the weights of the best epoch."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from training.checkpoint.counter import SampleCounter
from training.checkpoint.writer import save_and_say
from training.finetuning.record import RunRecord, best_row
from training.runfolder import checkpoint_path


class BestWeights(Checkpoint):
    """Keeps RUN/checkpoints/best.ckpt: weights and hyper-parameters of the best epoch so far, no optimizer.

    It must come after the `CheckpointKeeper`. A run that is killed between the two writes this one when it goes on,
    from the same weights: so it is always that of the best row.

    Args:
        out: Run folder.
        record: Of the run; says which epoch is the best.
        counter: Of the run; says where it stands.
    """

    def __init__(self, out: Path, record: RunRecord, counter: SampleCounter) -> None:
        self._path, self._record, self._counter = checkpoint_path(out, "best"), record, counter

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what a killed run may not have come to; its weights are those of the end of an epoch."""
        if self._record.rows and self._counter.state.samples_consumed == 0:
            self._save_if_best(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it if this epoch is the best."""
        self._save_if_best(trainer)

    def _save_if_best(self, trainer: Trainer) -> None:
        rows = self._record.rows
        # Saving is a collective operation: all ranks do what rank 0 decides.
        if trainer.strategy.broadcast(best_row(rows) is rows[-1]):
            save_and_say(trainer, self._path, f"weights of epoch {len(rows)}, the best", weights_only=True)
