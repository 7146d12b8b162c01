"""Finds a loss that is not finite, without a wait for the device in a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from sharding.errors import DataError

LOOK_EVERY_STEPS = 50
"""Optimizer steps after which the device is waited for at the latest; Lightning's interval of logging, by default."""


@dataclass(frozen=True)
class _Part:
    """A micro-batch: the step it belongs to, its samples, and its loss (a detached scalar on the device)."""

    step: int
    keys: Sequence[str]
    total: Tensor


class FiniteCheck:
    """The losses of the steps since the last look at them.

    A bad loss is found when the step's values are logged, by all ranks at the same step, since it is the loss of the
    whole step that is looked at. The weights are spoiled by then: `require` must be called before they are saved or
    validated.
    """

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forget all steps."""
        self._parts: list[_Part] = []
        self._steps: list[tuple[list[_Part], Tensor]] = []

    def add(self, step: int, keys: Sequence[str], total: Tensor) -> None:
        """Add the loss of a micro-batch of this rank."""
        self._parts.append(_Part(step, keys, total.detach()))

    def finish_step(self, loss: Tensor, *, look: bool) -> None:
        """End a step.

        Args:
            loss: Of the whole step, over all micro-batches and ranks: a scalar on the device.
            look: Whether to wait for the device, and look at all steps so far.

        Raises:
            DataError: The loss of a step is not finite; the message names the samples of this rank's part.
        """
        self._steps.append((self._parts, loss.detach()))
        self._parts = []
        if look:
            self.require()

    def require(self) -> None:
        """Look at all steps so far; the unfinished one as far as this rank has computed it.

        Raises:
            DataError: A loss is not finite; the message names the samples of this rank's part.
        """
        losses = [loss for _, loss in self._steps] + [part.total for part in self._parts]
        if losses and not bool(torch.stack([loss.float() for loss in losses]).isfinite().all()):
            parts = next((parts for parts, loss in self._steps if not torch.isfinite(loss)), self._parts)
            raise DataError(_explain(parts))
        self._steps = []


def _explain(parts: Sequence[_Part]) -> str:
    """Name the first micro-batch of a step whose loss is not finite."""
    bad = [part for part in parts if not torch.isfinite(part.total)]
    if not bad:
        step = f" at step {parts[0].step}" if parts else ""
        return f"the loss is not finite{step}, in a batch of another rank, which names its samples"
    return (
        f"the loss is {bad[0].total.item()} at step {bad[0].step}, in the batch of {', '.join(bad[0].keys)}: look at "
        "these samples with `depthstream inspect`; if they are valid, lower the learning rate"
    )


def is_logged(trainer: Trainer, steps: int) -> bool:
    """Tell whether Lightning logs the step with which `steps` optimizer steps are done, and waits for the device."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set where a Trainer's loggers are
    return every > 0 and steps % every == 0


def is_looked_at(trainer: Trainer, steps: int) -> bool:
    """Tell whether the losses are looked at: when values are logged, and at least every `LOOK_EVERY_STEPS`."""
    return is_logged(trainer, steps) or steps % LOOK_EVERY_STEPS == 0


def require_finite_weights(network: nn.Module) -> None:
    """Check all weights: a finite loss may have had a gradient that is not.

    Raises:
        DataError: Some are not finite.
    """
    norms = torch.stack(torch._foreach_norm([parameter.detach() for parameter in network.parameters()]))
    if not bool(norms.isfinite().all()):
        raise DataError(
            "the weights are not finite, though the loss was: a gradient has overflowed; begin another run with a "
            "lower --learning-rate, or with --precision 32-true"
        )
