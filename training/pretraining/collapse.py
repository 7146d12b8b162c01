"""Notices that a pretraining run learns nothing: a loss that is not finite, or always 0, or features all alike."""

from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, distributed, nn
from torch.func import functional_call

from sharding.errors import DataError
from sharding.format.strict_json import to_type
from sharding.progress import say
from training.checkpoint.counter import stepped
from training.losses.finite import FiniteCheck, is_looked_at

_ENCODER = "EmbeddingModel"  # name of the class of LightlyTrain's encoders: a method has one, or student and teacher
_LEAST_SPREAD = 1e-6
_RESOLUTION = 1e-7  # about that of float32 for features around 1: less is rounding
_REMEDY = "begin another run with a larger --batch-size, a lower learning rate, or another --method"


class _Seen(msgspec.Struct, forbid_unknown_fields=True):
    largest_loss: float | None
    first_spread: float | None
    spread: float | None


class CollapseGuard(Callback):
    """Ends a run with an error: at once if its loss is not finite, at the end if it was always 0 or features collapsed.

    The loss is summed up on the device, and looked at when values are logged, so that no step waits for the device.

    The features are those that the encoder gives for the last batch of an epoch, in evaluation mode, as the exported
    encoder will be used. (What passes through it in training does not tell: batch normalisation spreads features again
    that hardly differ. And methods call different parts of it, so that no forward hook sees the same in all of them.)
    That is a forward pass an epoch, which draws no random number and changes no state. One more at the beginning tells
    what the model started with: features of a fresh vision transformer, whose layers are scaled by 1e-5, may differ by
    less than those of a collapsed one.

    What was seen is kept in the run's checkpoints: a collapsed run that is resumed after its last step still fails.
    """

    def __init__(self) -> None:
        self._finite = FiniteCheck()
        self._step_loss: Tensor | None = None  # sum of the magnitudes in the present step
        self._largest: Tensor | None = None  # largest loss of a step, in magnitude; None before the first
        self._first_spread: float | None = None  # of the features before the first step
        self._spread: float | None = None  # of those at the end of the last epoch
        self._view: Tensor | None = None  # of the last batch: (B, 3, H, W)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen: `largest_loss`, `first_spread` and `spread`, each None if not known yet."""
        largest = None if self._largest is None else float(self._largest)
        return {"largest_loss": largest, "first_spread": self._first_spread, "spread": self._spread}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` returned.

        Raises:
            DataError: It is something else.
        """
        seen = to_type(state_dict, _Seen, "the checkpoint", f"callbacks/{self.state_key}")
        self._largest = None if seen.largest_loss is None else torch.tensor(seen.largest_loss)
        self._first_spread, self._spread = seen.first_spread, seen.spread

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the method has encoders to look at.

        Raises:
            DataError: It has none.
        """
        if not any(_encoders(pl_module)):
            raise DataError(
                f"expected a method with an {_ENCODER}, found none in {type(pl_module).__name__}: this is not how "
                "LightlyTrain 0.18 makes its methods; install that release"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Measure the features before the first step."""
        if self._first_spread is None:
            self._first_spread = _measure(trainer, batch["views"][0])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss of a micro-batch; look at all steps so far when values are logged.

        Raises:
            DataError: The loss of a step is not finite.
        """
        loss: Tensor = outputs["loss"].detach().float()
        self._view = batch["views"][0]
        ended = stepped(trainer, batch_idx)  # and Lightning has counted the step
        self._finite.add(trainer.global_step - ended, batch["filename"], loss)
        self._step_loss = loss.abs() if self._step_loss is None else self._step_loss + loss.abs()
        if ended:
            if trainer.world_size > 1:
                distributed.all_reduce(self._step_loss)  # all ranks must end at the same step
            self._finite.finish_step(self._step_loss, look=is_looked_at(trainer, trainer.global_step))
            before = self._step_loss if self._largest is None else self._largest.to(loss.device)
            self._largest, self._step_loss = torch.maximum(before, self._step_loss), None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the features, before the run is saved.

        Raises:
            DataError: The loss of the last step is not finite.
        """
        self._finite.require()
        if self._view is not None:
            self._spread, self._view = _measure(trainer, self._view), None
            if self._has_collapsed():
                say(f"pretrain: epoch {trainer.current_epoch + 1}: {self._describe()}")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check the last loss, before weights that it has spoiled are written.

        Raises:
            DataError: It is not finite.
        """
        self._finite.require()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the run; before an encoder of the command is written, and also if no step was left to be done.

        Raises:
            DataError: The loss was 0 in every step, or the features have collapsed.
        """
        if self._largest is not None and float(self._largest) == 0:
            raise DataError(
                "the loss was exactly 0 in every step, so nothing was learned: the method found nothing to compare, as "
                f"with a single image in a batch; {_REMEDY}"
            )
        if self._has_collapsed():
            raise DataError(f"{self._describe()}; {_REMEDY}")

    def _has_collapsed(self) -> bool:
        return self._spread is not None and not self._spread >= self._least_spread()  # nan, too

    def _least_spread(self) -> float:
        """Return how much features must differ: less where the model itself began with less."""
        first = torch.inf if self._first_spread is None else self._first_spread
        return min(_LEAST_SPREAD, max(first / 10, _RESOLUTION))

    def _describe(self) -> str:
        return (
            "the encoder has collapsed: expected features that differ from image to image, with a standard deviation "
            f"of at least {self._least_spread():.0e} over the last batch, found {self._spread:.1e}"
        )


def _measure(trainer: Trainer, images: Tensor) -> float:
    """Return the spread of features over a batch: of the encoder with the least, on the rank with the largest."""
    spreads = [measure_spread(encoder, images) for encoder in _encoders(trainer.lightning_module)]
    return float(trainer.strategy.reduce(torch.stack(spreads).min(), reduce_op="max"))


def measure_spread(encoder: nn.Module, images: Tensor) -> Tensor:
    """Return the largest standard deviation of a feature over images; infinity for less than two images.

    Args:
        encoder: Gives features (B, D, ...); its mode and state are afterwards as before.
        images: A batch, float (B, 3, H, W), on the encoder's device.
    """
    if len(images) < 2:
        return torch.full((), torch.inf, device=images.device)
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        with torch.no_grad():
            # In float32 whatever the weights are in: 16 bits overflow, or make alike what differs little.
            state = {
                name: _to_float32(value) for name, value in (*encoder.named_parameters(), *encoder.named_buffers())
            }
            like = state[next(encoder.named_parameters())[0]]
            features: Tensor = functional_call(encoder.eval(), state, (images.to(like.dtype),)).flatten(1)  # (B, D)
    finally:
        for module, mode in modes:
            module.training = mode
    return features.std(dim=0).max()


def _to_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() and value.itemsize < 4 else value


def _encoders(method: nn.Module) -> Iterator[nn.Module]:
    return (module for module in method.modules() if type(module).__name__ == _ENCODER)
