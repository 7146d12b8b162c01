"""DepthUnet: the Lightning module that predicts log depth, with its training loss and validation metrics.

How it predicts is in `training.model.log_depth`. Training gives it views of the resolution that it works at; validation
takes images as they are, and what is compared with the truth has its size.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from sharding.errors import DataError, UsageError
from sharding.format.strict_json import Count, to_type
from training.launch.world import World
from training.losses.finite import FiniteCheck, is_logged, is_looked_at, require_finite_weights
from training.losses.global_loss import GlobalLoss
from training.losses.pixel_losses import LossSum
from training.model.criterion import make_loss, make_protocol
from training.model.hyperparameters import Hyperparameters, as_hyperparameters
from training.model.log_depth import LogDepthModule
from training.model.optimizer import FrozenEncoder, make_optimizer
from training.model.schedule import make_schedule
from training.model.validation import ValidationSums
from training.network.colour import change_colour
from training.network.computation import Computation, align_state
from training.network.encoder import load_encoder
from training.network.saved import check_shapes, load_saved
from training.network.unet import build_unet
from training.runfolder import SCRATCH, find_checkpoint

CHECKPOINT = "a checkpoint of `depthstream finetune`"
"""What `load` expects, for messages."""

TensorBatch = dict[str, Any]
"""image uint8 (B, 3, H, W), depth float32 (B, 1, H, W), valid bool (B, 1, H, W), weight float32 (B,), key list[str];
and of a training batch colour float32 (B, 3), see `change_colour`."""


class _SavedModel(msgspec.Struct):
    hyper_parameters: Hyperparameters
    state_dict: dict[str, Any]


class _LossSums(msgspec.Struct):
    total: float
    count: Count


_PLAIN = Computation()


class DepthUnet(LogDepthModule):
    """A network that turns images into depth, with its training and validation.

    Depth is in metres, unless the network was trained on depth up to scale (`options.depth_kind`): then it has the unit
    of nothing, another one in each image, and only ratios within an image mean something.

    Args:
        unet: Network from float32 (B, 3, H, W) to (B, 1, H, W), such as `init_model` returns. None builds an untrained
            one from the hyper-parameters; `load` then fills in the weights of a checkpoint.
        hyperparameters: A `Hyperparameters`, or the dictionary of one; None for the defaults.
        computation: How training steps are computed.

    Example:
        >>> model = DepthUnet.load("runs/conservative")              # doctest: +SKIP
        >>> depth = model.predict_depth(image)                       # metres  # doctest: +SKIP
    """

    def __init__(
        self,
        unet: nn.Module | None = None,
        hyperparameters: Hyperparameters | Mapping[str, Any] | None = None,
        computation: Computation = _PLAIN,
    ) -> None:
        options = as_hyperparameters(hyperparameters)
        network = build_unet(load_encoder(SCRATCH, options.encoder_name)) if unet is None else unet
        super().__init__(network, options, computation)
        hyperparameters = asdict(options)
        # Plain values under the argument's own name, never the network: then torch.load accepts weights_only=True.
        self.save_hyperparameters(hyperparameters)
        self._frozen = FrozenEncoder(self.unet, options.freeze_epochs)
        self._criterion = make_loss(options)
        self._train_loss, self._finite = GlobalLoss(), FiniteCheck()
        self._start_sums()

    @classmethod
    def load(cls, source: str | Path) -> "DepthUnet":
        """Load a trained network in eval mode, on the CPU.

        Args:
            source: A checkpoint file, or a run folder of `finetune` (its last checkpoint is taken).

        Raises:
            DataError: There is no checkpoint, or it is not that of a DepthUnet.
        """
        file = find_checkpoint(source)
        content = load_saved(file, CHECKPOINT)
        try:
            to_type(content, _SavedModel, str(file))
            model, state = cls(None, content["hyper_parameters"]), content["state_dict"]
            check_shapes(state, model.state_dict(), "state_dict")
        except (UsageError, DataError) as error:
            raise DataError(f"{file}: expected {CHECKPOINT}; {str(error).removeprefix(f'{file}: ')}") from error
        model.load_state_dict(state)
        return model.eval()

    def loss_sum(self, log_prediction: Tensor, batch: TensorBatch) -> LossSum:
        """Compute the loss over the valid pixels of the samples whose weight is above 0.

        Args:
            log_prediction: float32 (B, 1, H, W), natural log of metres.
            batch: With "depth", "valid" and "weight".
        """
        counts = batch["valid"] & (batch["weight"] > 0)[:, None, None, None]  # bool (B, 1, H, W)
        return self._criterion(log_prediction, batch["depth"], counts)

    def training_loss(self, batch: TensorBatch) -> LossSum:
        """Compute the loss of a training batch, whose colour is changed here, if the batch says how."""
        image = change_colour(batch["image"], batch["colour"]) if "colour" in batch else batch["image"]
        return self.loss_sum(self(image), batch)

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """Compute the scalar to differentiate for a micro-batch; `on_before_optimizer_step` turns it into a mean."""
        part = self.training_loss(batch)
        self._finite.add(self.global_step, batch["key"], part.total)
        return self._train_loss.add(part, batch["valid"].numel())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Scale the gradients to those of the mean over the valid pixels of the global batch, and log that mean."""
        loss, factor = self._train_loss.finish_step()
        steps = self.global_step + 1
        self._finite.finish_step(loss, look=is_looked_at(self.trainer, steps))
        # Lightning has divided the gradients by the number of micro-batches, DDP by the number of ranks: undo both.
        # Lightning clips after this hook, so its threshold applies to the scaled gradients.
        factor = factor * (self.trainer.accumulate_grad_batches * World.current().size)
        self._frozen.drop_gradients(self.current_epoch)
        if gradients := [parameter.grad for parameter in self.parameters() if parameter.grad is not None]:
            torch._foreach_mul_(gradients, factor)  # one kernel for many tensors
        if is_logged(self.trainer, steps):  # a number given to `log` is copied to the device, which waits for it
            self.log_dict({"train_loss": loss, "lr": optimizer.param_groups[-1]["lr"]})  # lr: of the decoder

    def require_finite(self) -> None:
        """Check that the weights are worth saving.

        Raises:
            DataError: The last loss, or a weight, is not finite.
        """
        self._finite.require()
        require_finite_weights(self)

    def on_fit_start(self) -> None:
        """Forget the losses of an earlier `fit`."""
        self._finite.start()

    def on_train_start(self) -> None:
        """Prepare the network; discard the step that an earlier `fit` may have left unfinished."""
        self._train_loss.start_step()
        self.prepare_steps()
        for optimizer in self.trainer.optimizers:
            align_state(optimizer)
        self._frozen.start_epoch(self.current_epoch)

    def prepare_steps(self) -> None:
        """Prepare the network, on its device, for steps that are computed as was asked for; a Trainer's start does."""
        self._compute_step = self._computation.prepare(self.unet)

    def on_train_end(self) -> None:
        """Let go of what computed the steps: a compiled function cannot be pickled."""
        self._compute_step = None

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's sums; Lightning does not call this when a run resumes in the middle of an epoch."""
        self._train_loss.start_epoch()
        self._frozen.start_epoch(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """Log `train_loss_epoch`, per valid pixel of the whole epoch, the same on all ranks."""
        self._finite.require()
        self.log("train_loss_epoch", self._train_loss.epoch_mean(), batch_size=1)
        self._train_loss.start_epoch()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the loss sums of the unfinished epoch, if the weights are worth saving (`require_finite`)."""
        self.require_finite()
        checkpoint["train_loss"] = self._train_loss.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the loss sums of the unfinished epoch; check that the weights are those of this network.

        Raises:
            DataError: They are not.
        """
        check_shapes(checkpoint["state_dict"], self.state_dict(), "the checkpoint")
        sums = to_type(checkpoint.get("train_loss", {"total": 0.0, "count": 0}), _LossSums, "the checkpoint")
        self._train_loss.load_state_dict({"total": sums.total, "count": sums.count})

    def on_validation_epoch_start(self) -> None:
        """Reset the sums, if the last loss of training was finite."""
        self._finite.require()
        self._start_sums()

    def validation_step(self, batch: TensorBatch, batch_idx: int) -> None:
        """Add a batch to the sums: the loss, and the metrics under the protocol of `make_protocol`."""
        self._add_to_sums(batch)

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`, `val_abs_rel` and so on, except for Lightning's sanity check before training."""
        if not self.trainer.sanity_checking:
            self._log_means("val")

    def on_test_epoch_start(self) -> None:
        """Reset the sums."""
        self._start_sums()

    def test_step(self, batch: TensorBatch, batch_idx: int) -> None:
        """Add a batch to the sums, as validation does."""
        self._add_to_sums(batch)

    def on_test_epoch_end(self) -> None:
        """Log `test_loss`, `test_abs_rel` and so on."""
        self._log_means("test")

    def validation_means(self) -> dict[str, float]:
        """Reduce the sums over the ranks to means: "loss" and each of METRICS, every sample counted exactly once.

        Raises:
            DataError: No image has enough valid pixels.
        """
        return self._sums.means()

    def _start_sums(self) -> None:
        self._sums = ValidationSums(make_protocol(self.options.depth_kind))

    def _add_to_sums(self, batch: TensorBatch) -> None:
        z = self.predict_log(batch["image"])
        self._sums.add(z, self.loss_sum(z, batch), batch)

    def _log_means(self, prefix: str) -> None:
        self.log_dict({f"{prefix}_{name}": value for name, value in self.validation_means().items()})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and its schedule, counted in optimizer steps."""
        options = self.options
        optimizer = make_optimizer(self.unet, options, fused=self._computation.fused)
        schedule = make_schedule(optimizer, options.schedule, options.warmup_steps, options.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
