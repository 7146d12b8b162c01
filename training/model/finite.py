"""Finds a loss that is not finite, without a wait for the device in every micro-batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sharding.errors import DataError
from training.launch.late_value import LateValue


@dataclass(frozen=True)
class _Part:
    """A micro-batch: the step it belongs to, its samples, and its loss (a detached scalar on the device)."""

    step: int
    keys: Sequence[str]
    total: Tensor


class FiniteCheck:
    """The losses of the present optimizer step and of the one before, whose check may still be on its way.

    A bad loss is found one step late, by all ranks at the same step, since it is the loss of the whole step that is
    checked. The weights are spoiled by then: `require` must be called before they are saved or validated.
    """

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forget all steps."""
        self._parts: list[_Part] = []
        self._before: tuple[list[_Part], LateValue] | None = None

    def add(self, step: int, keys: Sequence[str], total: Tensor) -> None:
        """Add the loss of a micro-batch of this rank."""
        self._parts.append(_Part(step, keys, total.detach()))

    def finish_step(self, loss: Tensor) -> None:
        """Queue the check of the present step, and look at the result of the one before.

        Args:
            loss: Of the whole step, over all micro-batches and ranks: a scalar on the device.

        Raises:
            DataError: The loss of the step before is not finite; the message names the samples of this rank's part.
        """
        before, self._before, self._parts = self._before, (self._parts, LateValue(loss.isfinite())), []
        _require(before)

    def require(self) -> None:
        """Look at all steps so far; the unfinished one as far as this rank has computed it.

        Raises:
            DataError: A loss is not finite; the message names the samples of this rank's part.
        """
        _require(self._before)
        if self._parts:
            totals = torch.stack([part.total for part in self._parts])
            _require((self._parts, LateValue(totals.isfinite().all())))


def _require(checked: tuple[list[_Part], LateValue] | None) -> None:
    if checked is None or checked[1].read():
        return
    bad = [part for part in checked[0] if not torch.isfinite(part.total)]
    if not bad:
        step = f" at step {checked[0][0].step}" if checked[0] else ""
        raise DataError(f"the loss is not finite{step}, in a batch of another rank, which names its samples")
    part = bad[0]
    raise DataError(
        f"the loss is {part.total.item()} at step {part.step}, in the batch of {', '.join(part.keys)}: look at these "
        "samples with `depthstream inspect`; if they are valid, lower the learning rate"
    )


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
