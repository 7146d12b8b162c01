"""What it costs to copy a batch to a GPU."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.profiling.stages import make_at_once, open_dataset
from training.profiling.stopwatch import Timing, count_bytes, time_once
from training.profiling.work import Work


def time_transfer(work: Work, repeats: int, device: torch.device) -> Timing | None:
    """Time the copy of one batch from this process to `device`; None unless that is a CUDA device."""
    if device.type != "cuda":
        return None
    batch = make_at_once(open_dataset(work), range(work.batch_size))
    copy = partial(copy_to, device, batch)
    copy()  # to warm up
    seconds, cpu_seconds = zip(*(time_once(copy) for _ in range(repeats)), strict=True)  # a pair for each repeat
    return Timing(samples=work.batch_size, bytes=count_bytes(batch), seconds=seconds, cpu_seconds=cpu_seconds)


def copy_to(device: torch.device, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a batch into page-locked memory, then to a CUDA device; return it when the copy is complete."""
    pinned = {name: part.pin_memory() if isinstance(part, Tensor) else part for name, part in batch.items()}
    there = {
        name: part.to(device, non_blocking=True) if isinstance(part, Tensor) else part for name, part in pinned.items()
    }
    torch.cuda.synchronize(device)  # non_blocking copies have only been queued
    return there
