"""Weight averaging: the weights that are validated and kept are an average over the steps of training.

Takes the names and arguments of Lightning's `WeightAveraging` and `EMAWeightAveraging`, and computes the same averages.
Those of Lightning 2.6 are not used, since with them

- a checkpoint of weights alone (best.ckpt) holds weights that are not averaged, so not those that were validated;
- a run that is stopped during a validation saves current and averaged weights in each other's place;
- before the first update, the untrained weights are validated and saved;
- constant buffers drift by rounding, and a resumed run begins without the drift;
- the average of a model on a GPU is on the CPU, which takes a copy of all weights there at each step.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sharding.errors import DataError
from sharding.format.strict_json import Count, to_type
from training.network.saved import check_shapes

CURRENT = "current_model_state"
"""Entry of a checkpoint, named as by Lightning: the weights that training goes on with; the average is `state_dict`."""


class _AverageState(msgspec.Struct):
    averaged: Count
    latest_step: Count


class AveragedWeights(Callback):
    """The average of a module's weights, in their place while it is validated, saved as best, and after training.

    It must come after callbacks that look at the module in `on_validation_end`.

    Args:
        decay: Share of the average that each update keeps; None for the equally weighted mean of all updates.
        every: Steps from one update to the next.
        start: Steps before the first update; until then the current weights are validated and saved.
        use_buffers: Whether floating-point buffers, such as BatchNorm's statistics, are averaged too; else they are
            the current ones.
        device: Where the average is kept; None for the device of training.
    """

    def __init__(
        self,
        decay: float | None = None,
        every: int = 1,
        start: int = 0,
        use_buffers: bool = True,
        device: str | None = None,
    ) -> None:
        self._decay, self._every, self._start = decay, every, start
        self._use_buffers, self._device = use_buffers, device
        self._average: dict[str, Tensor] = {}  # by name in the module's state dict; empty before the first update
        self._averaged, self._latest_step = 0, 0
        self._is_swapped = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average of a checkpoint to its device."""
        device = self._device or trainer.strategy.root_device
        self._average = {name: value.to(device) for name, value in self._average.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average, after the optimizer steps that ask for it."""
        step = trainer.global_step - 1  # the last one, from 0
        if trainer.global_step > self._latest_step and step >= self._start and step % self._every == 0:
            self._update(pl_module)
            self._latest_step = trainer.global_step

    @torch.no_grad()
    def _update(self, module: LightningModule) -> None:
        current = module.state_dict()
        if not self._average:
            device = self._device or module.device
            self._average = {name: value.detach().to(device, copy=True) for name, value in current.items()}
        else:
            buffers = {name for name, _ in module.named_buffers()}
            mean = [
                name
                for name, value in current.items()
                if value.is_floating_point() and (self._use_buffers or name not in buffers)
            ]
            share = 1 / (self._averaged + 1) if self._decay is None else 1 - self._decay
            averages = [self._average[name] for name in mean]
            torch._foreach_lerp_(averages, [current[name].to(self._average[name].device) for name in mean], share)
            for name in current.keys() - set(mean):
                self._average[name].copy_(current[name])
        self._averaged += 1

    @contextlib.contextmanager
    def in_place(self, module: LightningModule) -> Iterator[None]:
        """Put the average into the module for as long as the context lasts."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: LightningModule) -> None:
        """Exchange the values of the module and of the average, tensor by tensor."""
        current = module.state_dict()
        for name, average in self._average.items():
            kept = average.clone()
            average.copy_(current[name])
            current[name].copy_(kept)
        self._is_swapped = bool(self._average) and not self._is_swapped

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the current weights; not before, since panels are drawn of what was validated."""
        self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the module."""
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates, and of the steps that were done at the last one."""
        return {"averaged": self._averaged, "latest_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them.

        Raises:
            DataError: The checkpoint has an average and no updates, or the other way.
        """
        state = to_type(state_dict, _AverageState, "the checkpoint")
        if bool(state.averaged) != bool(self._average):
            raise DataError(f"the checkpoint: expected {CURRENT} if and only if the weights were averaged")
        self._averaged, self._latest_step = state.averaged, state.latest_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average into `state_dict`, as what evaluation reads, and the current weights beside it."""
        if self._average:
            inside = checkpoint["state_dict"]  # of the module
            average, current = (inside, self._average) if self._is_swapped else (self._average, inside)
            checkpoint["state_dict"], checkpoint[CURRENT] = average, current

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the average, which the module has loaded, and load the current weights.

        Raises:
            DataError: They are not those of this network.
        """
        if (current := checkpoint.get(CURRENT)) is None:
            return
        wanted = pl_module.state_dict()
        check_shapes(to_type(current, dict[str, Any], "the checkpoint", CURRENT), wanted, f"the checkpoint: {CURRENT}")
        self._average = {name: value.detach().clone() for name, value in wanted.items()}
        pl_module.load_state_dict(current)


@contextlib.contextmanager
def validated_weights(trainer: Any) -> Iterator[None]:
    """Put the weights that validation saw into the module of a Lightning trainer for as long as the context lasts."""
    with contextlib.ExitStack() as stack:
        for callback in trainer.callbacks:
            if isinstance(callback, AveragedWeights):
                stack.enter_context(callback.in_place(trainer.lightning_module))
        yield
