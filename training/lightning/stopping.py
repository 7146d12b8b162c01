"""An early end of a run, which holds when the run is resumed."""

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from sharding.progress import say


class EarlyEnd(EarlyStopping):
    """Lightning's `EarlyStopping`, which says why it ends a run.

    Lightning keeps its state in checkpoints, but not that the run was to end: a run that is killed between its last
    checkpoint and its end would train for another epoch when it is resumed.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a resumed run that was about to end."""
        if self.stopping_reason_message is not None:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether to end, and say so."""
        had_reason = self.stopping_reason_message is not None
        super().on_train_epoch_end(trainer, pl_module)
        if self.stopping_reason_message is not None and not had_reason:
            reason = self.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
            last = max(trainer.current_epoch + 1, trainer.min_epochs or 0)
            say(f"epoch {last} is the last: {reason}")
