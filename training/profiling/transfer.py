"""What it costs to bring a batch to a GPU."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.profiling.stages import Work, make_at_once
from training.profiling.stopwatch import Stopwatch, Timing

TRANSFER = "transfer"


def time_transfer(work: Work, repeats: int, device: torch.device) -> Timing | None:
    """Time one batch on its way from a worker to `device`; None where there is no way, as to a CPU."""
    if device.type != "cuda":
        return None
    watch = Stopwatch(repeats)
    watch(TRANSFER, partial(copy_to, device, make_at_once(work.dataset(), range(work.batch_size))))
    return watch.timings()[TRANSFER]


def copy_to(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a batch into page-locked memory, then to a CUDA device; return it when it is there."""
    pinned = {name: part.pin_memory() if isinstance(part, Tensor) else part for name, part in batch.items()}
    there = {
        name: part.to(device, non_blocking=True) if isinstance(part, Tensor) else part for name, part in pinned.items()
    }
    torch.cuda.synchronize(device)
    return there
