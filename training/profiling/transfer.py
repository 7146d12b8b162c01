"""What it costs to copy a batch to a GPU."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.profiling.stages import Work, make_at_once
from training.profiling.stopwatch import Stopwatch, Timing

TRANSFER = "transfer"


def time_transfer(work: Work, repeats: int, device: torch.device) -> Timing | None:
    """Time the copy of one batch from this process to `device`; None unless that is a CUDA device."""
    if device.type != "cuda":
        return None
    watch = Stopwatch(repeats)
    watch(TRANSFER, partial(copy_to, device, make_at_once(work.dataset(), range(work.batch_size))))
    return watch.timings()[TRANSFER]


def copy_to(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a batch into page-locked memory, then to a CUDA device; return it when the copy is complete."""
    pinned = {name: part.pin_memory() if isinstance(part, Tensor) else part for name, part in batch.items()}
    there = {
        name: part.to(device, non_blocking=True) if isinstance(part, Tensor) else part for name, part in pinned.items()
    }
    torch.cuda.synchronize(device)  # non_blocking copies have only been queued
    return there
