"""A number that a device computes, read later, so that nobody waits for the device."""

import torch
from torch import Tensor


class LateValue:
    """A scalar on its way from a device to this process.

    `tensor.item()` waits until the device has done all work queued so far. Here the copy is queued at once, behind the
    work that computes the number, and `read` waits for that copy alone: nothing, if it is called a step later.

    Args:
        value: Tensor with one element, on any device.
    """

    def __init__(self, value: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._host = value.detach()
        if value.device.type == "cuda":
            # Page-locked, without which the copy would block the host.
            self._host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._host.copy_(value.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(value.device))

    def read(self) -> float:
        """Return the number, as soon as the device has computed it."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._host)
