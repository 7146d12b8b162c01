"""The clock by which the work on a device is timed.

**Why a GPU needs its own clock.** The training loop only queues work on a GPU and continues at once. While it then
waits in the loader, the GPU still computes: data that arrive in the meantime delay nothing. What counts is the time for
which the GPU was idle because the loop was in the loader, max(0, r - max(q, d)): the loop asks at q and has the batch
at r, and at d the GPU has done all work queued before. An event that is recorded in the GPU's stream happens when the
work before it is done: one recorded at q happens at max(q, d), one recorded at r, with no work between them, at
max(r, q, d). The difference of the two is the formula above, and both times come from the GPU's own clock. So a
`Timeline` of such events replaces the host's clock, and all else is the same. Where a loop waits for the result of each
step, as with a loss that is printed, both clocks give the same.

            q             d            r
    loop    |--- waits in the loader --|- queues work -
    GPU     -- computes --|--- idle ---|-- computes ---        wait = r - d; 0 if d is after r
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Timeline(Protocol):
    """A clock whose marks may become known later than they are made."""

    def mark(self) -> Any:
        """Mark this moment, or the one at which all work queued before is done."""
        ...

    def is_past(self, mark: Any) -> bool:
        """Return whether the moment of the mark is known."""
        ...

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the time from one mark to another, seconds; both must be past."""
        ...


class HostTimeline:
    """The host's clock: for a device that has done its work when the loop continues, such as a CPU.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def mark(self) -> float:
        """Return the present time."""
        return self._clock()

    def is_past(self, mark: float) -> bool:
        """Return True: the time of a mark is known at once."""
        return True

    def seconds(self, begin: float, end: float) -> float:
        """Return the difference."""
        return end - begin


class CudaTimeline:
    """The clock of a CUDA device, marked by events in its current stream.

    Args:
        device: The CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        """Record an event behind all work queued in the stream; the host does not wait for it."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def is_past(self, mark: torch.cuda.Event) -> bool:
        """Return whether the device has reached the event."""
        return bool(mark.query())

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return seconds by the device's clock, whose resolution is about a microsecond."""
        return float(begin.elapsed_time(end)) / 1000  # from ms


def timeline_of(device: torch.device) -> Timeline:
    """Return the clock by which work on `device` is timed."""
    return CudaTimeline(device) if device.type == "cuda" else HostTimeline()
