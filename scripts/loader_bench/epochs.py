"""A measured epoch of any loader: its consumer reads every byte of every batch."""

import os
import resource
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from process_stat import read_tree
from torch import Tensor

from loader_bench.task import Epoch


class Meter:
    """Measures an epoch from now on: the thread that makes the meter is the consumer, all else are workers (Linux)."""

    def __init__(self) -> None:
        self._workers = _workers()
        self._consumer = _consumer()  # last, and first at the end: to look at processes is no work of the consumer

    def epoch(self, samples: int, wall_s: float) -> Epoch:
        """Return what the epoch cost, which ends now."""
        consumer_s, consumer_faults = _consumer()
        workers_s, worker_faults = _workers()
        return Epoch(
            samples=samples,
            wall_s=wall_s,
            workers_s=workers_s - self._workers[0],
            consumer_s=consumer_s - self._consumer[0],
            worker_faults=worker_faults - self._workers[1],
            consumer_faults=consumer_faults - self._consumer[1],
        )


def _consumer() -> tuple[float, int]:
    """Return CPU seconds and page faults of this thread."""
    return _used(resource.RUSAGE_THREAD)


def _workers() -> tuple[float, int]:
    """Return CPU seconds and page faults of the other threads of this process, and of all processes below it.

    The time of processes comes in ticks of 10 ms.
    """
    members = read_tree(os.getpid())
    own = members.pop(os.getpid())
    below = members.values()
    (whole_s, whole_faults), (mine_s, mine_faults) = _used(resource.RUSAGE_SELF), _consumer()
    # What has ended has been waited for by a process that lives.
    spent = own.waited_cpu_s + sum(one.cpu_s + one.waited_cpu_s for one in below)
    faults = own.waited_faults + sum(one.faults + one.waited_faults for one in below)
    return spent + whole_s - mine_s, faults + whole_faults - mine_faults


def _used(who: int) -> tuple[float, int]:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_minflt


def run_epoch(loader: Iterable[Mapping[str, Any]]) -> Epoch:
    """Consume an epoch."""
    meter, begin, samples = Meter(), time.perf_counter(), 0
    for batch in loader:
        samples += read_batch(batch)
        del batch  # its memory is free while the next one is awaited, as in a training loop
    return meter.epoch(samples, time.perf_counter() - begin)


def read_batch(batch: Mapping[str, Any]) -> int:
    """Read every byte of the tensors of a batch, at the speed of memory; return its number of samples."""
    for value in batch.values():
        if isinstance(value, Tensor) and value.numel():
            value.contiguous().reshape(-1).view(torch.uint8).numpy().max()
    return len(batch["image"])
