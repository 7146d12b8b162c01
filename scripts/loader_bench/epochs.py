"""A measured epoch of any loader: its consumer reads every byte of every batch."""

import os
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from process_stat import read_tree
from torch import Tensor

from loader_bench.task import Epoch


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What this process has used so far: the thread that asks is the consumer, all else are workers.

    The time of processes comes in ticks of 10 ms, that of threads of this process is exact.
    """

    consumer_s: float
    consumer_faults: int
    workers_s: float
    worker_faults: int

    @classmethod
    def now(cls) -> "Usage":
        """Read the clocks of this thread, of the others of this process, and of all processes below it (Linux)."""
        mine, whole = (resource.getrusage(who) for who in (resource.RUSAGE_THREAD, resource.RUSAGE_SELF))
        members = read_tree(os.getpid())
        own = members.pop(os.getpid())
        below = members.values()
        others_s = (whole.ru_utime + whole.ru_stime) - (mine.ru_utime + mine.ru_stime)
        return cls(
            consumer_s=mine.ru_utime + mine.ru_stime,
            consumer_faults=mine.ru_minflt,
            # What has ended has been waited for by a process that lives.
            workers_s=others_s + own.waited_cpu_s + sum(one.cpu_s + one.waited_cpu_s for one in below),
            worker_faults=(whole.ru_minflt - mine.ru_minflt)
            + own.waited_faults
            + sum(one.faults + one.waited_faults for one in below),
        )

    def epoch(self, before: "Usage", samples: int, wall_s: float) -> Epoch:
        """Return what an epoch cost that began at `before` and ended at this moment."""
        return Epoch(
            samples=samples,
            wall_s=wall_s,
            workers_s=self.workers_s - before.workers_s,
            consumer_s=self.consumer_s - before.consumer_s,
            worker_faults=self.worker_faults - before.worker_faults,
            consumer_faults=self.consumer_faults - before.consumer_faults,
        )


def run_epoch(loader: Iterable[Mapping[str, Any]]) -> Epoch:
    """Consume an epoch."""
    before, begin, samples = Usage.now(), time.perf_counter(), 0
    for batch in loader:
        samples += read_batch(batch)
        del batch  # its memory is free while the next one is awaited, as in a training loop
    wall_s = time.perf_counter() - begin
    return Usage.now().epoch(before, samples, wall_s)


def read_batch(batch: Mapping[str, Any]) -> int:
    """Read every byte of the tensors of a batch, at the speed of memory; return its number of samples."""
    for value in batch.values():
        if isinstance(value, Tensor) and value.numel():
            value.contiguous().reshape(-1).view(torch.uint8).numpy().max()
    return len(batch["image"])
