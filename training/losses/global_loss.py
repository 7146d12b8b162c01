"""The training loss per valid pixel of the global batch, however it is split into micro-batches and ranks.

The mean of the parts' means is not the mean of the whole batch if the parts have different numbers of valid pixels. So
every part is divided by one constant D before it is differentiated, and the gradients are corrected once per step, when
the number N of valid pixels of all parts is known:

    sum over parts of grad(total / D)  *  D / N  =  grad(sum of totals / N)
"""

import torch
from torch import Tensor

from training.losses.pixel_losses import LossSum


class GlobalLoss:
    """Sums of the current optimizer step, and of the finished steps of the epoch."""

    def __init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        """Reset all sums."""
        self._epoch = LossSum.zero()
        self.start_step()

    def start_step(self) -> None:
        """Discard the parts of an unfinished step."""
        self._step, self._divisor = LossSum.zero(), 0

    def add(self, part: LossSum, num_pixels: int) -> Tensor:
        """Add a micro-batch.

        Args:
            part: Loss over its valid pixels.
            num_pixels: All its pixels, valid or not; on every rank the same for the first micro-batch of a step.

        Returns:
            float32 scalar to differentiate: the total / D, where D is the number of pixels of the step's first
            micro-batch. It has the magnitude of a mean, so half precision does not overflow; no mask changes D.
        """
        self._step = self._step + part.detached()
        self._divisor = self._divisor or num_pixels  # set by the first micro-batch of a step
        return part.total / self._divisor

    def finish_step(self) -> tuple[Tensor, Tensor]:
        """Sum the step over the ranks; all of them must call this.

        Returns:
            float32 scalars on the device: the loss per valid pixel of the global batch; and D / N, the factor that
            turns the sum of all parts' gradients into the gradient of that loss. Does not synchronise with the device.
        """
        whole, divisor = self._step.over_ranks(), self._divisor
        self._epoch = self._epoch + whole
        self.start_step()
        # clamp: without any valid pixel the gradients are 0, and stay so.
        return whole.mean().float(), (divisor / whole.count.clamp(min=1).double()).float()

    def epoch_mean(self) -> Tensor:
        """Return the loss per valid pixel of the epoch's finished steps over all ranks, a float32 scalar."""
        return self._epoch.mean().float()

    def state_dict(self) -> dict[str, float]:
        """Return the epoch's sums as plain numbers; synchronises with the device."""
        return {"total": self._epoch.total.item(), "count": self._epoch.count.item()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from the sums that `state_dict` returned."""
        self.start_epoch()
        self._epoch = LossSum(torch.tensor(state["total"], dtype=torch.float64), torch.tensor(int(state["count"])))
