"""The training loss per valid pixel of the global batch, however it is cut into micro-batches and ranks.

A mean over parts of unequal numbers of valid pixels is not the mean over the whole. So each part is differentiated
after division by one constant, and when all are in, the gradients are multiplied by that constant / valid pixels.
"""

import torch
from torch import Tensor

from training.model.losses import LossSum


class GlobalLoss:
    """Sums of the optimizer step at hand, and of the finished steps of the epoch."""

    def __init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget everything."""
        self._epoch = LossSum.zero()
        self.start_step()

    def start_step(self) -> None:
        """Forget the parts of a step that was not finished."""
        self._step, self._divisor = LossSum.zero(), 0

    def add(self, part: LossSum, num_pixels: int) -> Tensor:
        """Take in a micro-batch.

        Args:
            part: The loss of its valid pixels.
            num_pixels: All its pixels, valid or not; the same for each rank's first one of a step.

        Returns:
            float32 scalar to differentiate: the total by the pixels of the step's first micro-batch. The size of a
            mean, so that half precision holds it, but by a divisor that no mask changes.
        """
        self._step = self._step + part.detached()
        self._divisor = self._divisor or num_pixels
        return part.total / self._divisor

    def finish_step(self) -> tuple[Tensor, Tensor]:
        """Sum the step over the ranks; all of them must call this.

        Returns:
            float32 scalars on the device: the loss, per valid pixel of the global batch; and what the sum of all
            parts' gradients must be multiplied by to be the gradient of that. Nothing waits for the device.
        """
        whole, divisor = self._step.over_ranks(), self._divisor
        self._epoch = self._epoch + whole
        self.start_step()
        return whole.mean().float(), (divisor / whole.count.clamp(min=1).double()).float()

    def epoch_mean(self) -> Tensor:
        """float32 scalar: the loss per valid pixel of the epoch's finished steps, over all ranks."""
        return self._epoch.mean().float()

    def state_dict(self) -> dict[str, float]:
        """The epoch's sums as plain numbers; waits for the device."""
        return {"total": self._epoch.total.item(), "count": self._epoch.count.item()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from the sums of `state_dict`."""
        self.start_epoch()
        self._epoch = LossSum(torch.tensor(state["total"], dtype=torch.float64), torch.tensor(int(state["count"])))
