"""Write the weights of the best epoch."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from training.checkpoint.counter import SampleCounter
from training.checkpoint.writer import save_and_say
from training.finetuning.record import RunRecord
from training.lightning.averaging import validated_weights
from training.runfolder import checkpoint_path


class BestWeights(Checkpoint):
    """Writer of RUN/checkpoints/best.ckpt: weights and hyper-parameters of the best epoch so far, no optimizer state.

    It must come after the `CheckpointKeeper`. A run that is killed between the two writes best.ckpt when it resumes,
    from the same weights: so the file always belongs to the best row of the record.

    Args:
        out: Run folder.
        record: Record of the run; its rows tell which epoch is the best.
        counter: Sample counter of the run; its state is the position in the run.
    """

    def __init__(self, out: Path, record: RunRecord, counter: SampleCounter) -> None:
        self._path, self._record, self._counter = checkpoint_path(out, "best"), record, counter

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file that a killed run may have missed, if it resumes at the end of an epoch."""
        # No sample consumed: the checkpoint is that of an epoch's end, so its weights belong to the last row.
        if self._record.rows and self._counter.state.samples_consumed == 0:
            self._save_if_best(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file if this epoch is the best so far."""
        self._save_if_best(trainer)

    def _save_if_best(self, trainer: Trainer) -> None:
        record = self._record
        # Saving is a collective operation, so rank 0 decides for all ranks.
        if trainer.strategy.broadcast(record.best is record.rows[-1]):
            what = f"weights of epoch {len(record.rows)}, the best by {record.monitor}"
            with validated_weights(trainer):
                save_and_say(trainer, self._path, what, weights_only=True)
